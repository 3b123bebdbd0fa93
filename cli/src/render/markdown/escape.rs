//! Text from specs and servers in a comment: it must neither become markup, nor end a table's cell,
//! nor call for people (`@name`).

/// As running text: on one line, shown as it is.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    for (at, &c) in chars.iter().enumerate() {
        let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            // Within a word it is no emphasis.
            '_' if at > 0 && word(chars.get(at - 1)) && word(chars.get(at + 1)) => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Running text in which a pair of backticks, as our own sentences have them, stays code.
pub fn sentence(sentence: &str) -> String {
    let parts: Vec<&str> = sentence.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return text(sentence);
    }
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at % 2 == 1 {
            out.push_str(&code(part));
            continue;
        }
        // The spaces around code are the sentence's.
        let (start, end) = (
            part.starts_with(char::is_whitespace),
            part.ends_with(char::is_whitespace),
        );
        let inner = text(part);
        if start && at > 0 {
            out.push(' ');
        }
        out.push_str(&inner);
        if end && at + 1 < parts.len() && !inner.is_empty() {
            out.push(' ');
        }
    }
    out
}

/// As code within a line. A bar is escaped as in a table's cell, where code does not protect it.
pub fn code(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}").replace('|', "\\|")
}

/// As text within HTML.
pub fn html(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('@', "&#64;")
        .replace('`', "&#96;")
        .replace('*', "&#42;")
        .replace('[', "&#91;")
}

/// A block of code: a fence that no run of backticks in the text closes.
pub fn block(language: &str, body: &str) -> String {
    let fence = "`".repeat(3.max(longest_run(body) + 1));
    format!(
        "{fence}{language}\n{}\n{fence}\n",
        body.trim_end_matches('\n')
    )
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// The beginning of a text, no longer than `bytes`.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        assert_eq!(
            text("a|b `c` <img src=x> **d** @team #12\nnext"),
            "a\\|b \\`c\\` &lt;img src=x&gt; \\*\\*d\\*\\* &#64;team &#35;12 next"
        );
        assert_eq!(text("switch_writes _x_"), "switch_writes \\_x\\_");
        assert_eq!(code("a`b|c"), "``a`b\\|c``");
        assert_eq!(code("`x`"), "`` `x` ``");
        assert_eq!(html("</summary><b>"), "&lt;/summary&gt;&lt;b&gt;");
        assert_eq!(block("sql", "a\n````\n"), "`````sql\na\n````\n`````\n");
    }

    #[test]
    fn sentences_keep_their_own_code() {
        assert_eq!(
            sentence("set `on_remove: drop` for a_b, or `x` then <b>"),
            "set `on_remove: drop` for a_b, or `x` then &lt;b&gt;"
        );
        assert_eq!(sentence("one ` alone"), "one \\` alone");
    }

    #[test]
    fn a_cut_is_between_characters() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöüß", 6), "ä…");
        assert_eq!(cut("äöüß", 7), "äö…");
    }
}
