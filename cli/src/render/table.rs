//! Columns of text, aligned.

use owo_colors::OwoColorize as _;

/// Rows under a heading. Cells may be styled: styles take no room.
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            heading: heading.iter().map(|h| (*h).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each line begins with `indent` spaces. A column in which no row has anything is left out.
    pub fn render(&self, indent: usize) -> String {
        let shown: Vec<usize> = (0..self.heading.len())
            .filter(|&c| self.rows.iter().any(|r| !r[c].is_empty()))
            .collect();
        let widths: Vec<usize> = shown
            .iter()
            .map(|&c| {
                let cells = self.rows.iter().map(|r| width(&r[c]));
                cells.chain([width(&self.heading[c])]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|h| h.bold().to_string()).collect();
        let mut text = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = " ".repeat(indent);
            for (i, &c) in shown.iter().enumerate() {
                line.push_str(&row[c]);
                if i + 1 < shown.len() {
                    line.push_str(&" ".repeat(widths[i] - width(&row[c]) + 2));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// How many columns a text takes on a terminal, styles left out.
pub fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .count()
}

/// `text` and as many spaces as it lacks to `to` columns.
pub fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `1,234 rows`.
pub fn rows(n: u64) -> String {
    let noun = if n == 1 { "row" } else { "rows" };
    format!("{} {noun}", number(n))
}

/// `1 tablet`, `3 tablets`.
pub fn count(n: usize, noun: &str) -> String {
    let plural = match noun {
        "primary" => "primaries".to_owned(),
        "copy" => "copies".to_owned(),
        "traffic switch" => "traffic switches".to_owned(),
        _ if n == 1 => noun.to_owned(),
        _ => format!("{noun}s"),
    };
    format!("{n} {}", if n == 1 { noun } else { &plural })
}
