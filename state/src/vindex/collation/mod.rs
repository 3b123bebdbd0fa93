//! Primary collation keys: texts that differ only in case and accents have the same one. Exactly
//! those that Vitess hashes, which come from Go's `golang.org/x/text/collate` with its root
//! table; its ways of finding contractions over gaps and of reordering combining characters while
//! it reads are followed too, since a key that differs in one byte is another shard.

mod table;

use table::{Element, Entry, Node, TABLE, Table};

/// Go gives up reordering after so many combining characters in a row.
const MAX_COMBINING: usize = 30;

/// The key of a text.
pub(super) fn primary_key(text: &str) -> Vec<u8> {
    let mut elements = Elements {
        table: &TABLE,
        rest: text,
        pending: Vec::new(),
        ready: 0,
    };
    let mut key = Vec::with_capacity(text.len() * 2);
    while elements.next() {
        for element in &elements.pending[..elements.ready] {
            push_weight(&mut key, element.weight);
        }
        elements.pending.drain(..elements.ready);
        elements.ready = 0;
    }
    key
}

/// Weights have two bytes, or three with the high bit set.
fn push_weight(key: &mut Vec<u8>, weight: u32) {
    let [_, high, middle, low] = weight.to_be_bytes();
    match weight {
        0 => {}
        1..=0x7fff => key.extend([middle, low]),
        _ => key.extend([high | 0x80, middle, low]),
    }
}

/// The elements of a text, in the order they would have if it were normalized first.
struct Elements<'a> {
    table: &'a Table,
    rest: &'a str,
    pending: Vec<Element>,
    /// How many of `pending` are in their final order.
    ready: usize,
}

impl Elements<'_> {
    fn read(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        let size = append(self.table, self.rest, &mut self.pending);
        self.rest = &self.rest[size..];
        true
    }

    /// Makes at least one more element ready; false at the end.
    fn next(&mut self) -> bool {
        if self.ready == self.pending.len() && !self.read() {
            return false;
        }
        let mut last_class = self.pending.last().map_or(0, |e| e.class);
        if last_class == 0 {
            self.ready = self.pending.len();
            return true;
        }
        if self.pending[self.ready].class == 0 {
            let starters = self.pending[self.ready..].iter();
            self.ready += starters.take_while(|e| e.class == 0).count();
            return true;
        }
        // Combining characters: all that follow are needed to order them.
        loop {
            let start = self.pending.len();
            if !self.read() {
                break;
            }
            let class = self.pending[start].class;
            if class == 0 || self.pending.len() - self.ready > MAX_COMBINING {
                self.ready = start;
                return true;
            }
            if class < last_class {
                self.insert(start, class);
            } else {
                last_class = class;
            }
        }
        let more = self.pending.len() != self.ready;
        self.ready = self.pending.len();
        more
    }

    /// Moves what was read from `start` on before the elements of a higher class.
    fn insert(&mut self, start: usize, class: u8) {
        // The element right before is not compared: it is known to be of a higher class.
        let mut to = start - 1;
        while to > self.ready && class < self.pending[to - 1].class {
            to -= 1;
        }
        let moved = self.pending.len() - start;
        self.pending[to..].rotate_right(moved);
    }
}

/// Appends the elements of the first character of `text`, or of the contraction that starts
/// there; gives how many bytes that was.
fn append(table: &Table, text: &str, out: &mut Vec<Element>) -> usize {
    let Some(c) = text.chars().next() else {
        return 0;
    };
    let size = c.len_utf8();
    match table.entry(c) {
        Entry::One(element) => out.push(element),
        Entry::List(start, end) => {
            out.extend_from_slice(&table.lists[start as usize..end as usize]);
        }
        Entry::Contraction(at) => {
            let root = &table.contractions[at as usize];
            return size + append_contraction(table, root, &text[size..], out);
        }
        Entry::Missing => match hangul(c) {
            Some(parts) => {
                for part in parts.into_iter().flatten() {
                    append(table, part.encode_utf8(&mut [0; 4]), out);
                }
            }
            None => out.push(implicit(table, c)),
        },
    }
    size
}

/// The weight of a character that the table does not have.
fn implicit(table: &Table, c: char) -> Element {
    let number = c as u32;
    let offset = match number {
        _ if !table.is_ideograph(c) => 0x5_0000,
        0x4e00..=0x9fff | 0xf900..=0xfaff => 0x1_0000,
        _ => 0x2_0000,
    };
    Element {
        weight: number + offset,
        class: 0,
    }
}

/// The two or three parts of a Hangul syllable (Unicode Standard, section 3.12).
fn hangul(c: char) -> Option<[Option<char>; 3]> {
    let index = (c as u32).checked_sub(0xac00).filter(|i| *i < 11_172)?;
    let tail = index % 28;
    Some([
        char::from_u32(0x1100 + index / 588),
        char::from_u32(0x1161 + index % 588 / 28),
        char::from_u32(0x11a7 + tail).filter(|_| tail > 0),
    ])
}

/// The way through a tree of suffixes.
struct Scan<'a> {
    node: &'a Node,
    /// The longest suffix found so far, and where it ends.
    found: &'a [Element],
    found_end: usize,
    /// Nothing longer can be found.
    done: bool,
}

impl Scan<'_> {
    /// Goes on with the characters at `at`; gives where it stopped.
    fn advance(&mut self, text: &str, mut at: usize) -> usize {
        for c in text[at..].chars() {
            let Some(next) = self.node.next.get(&c) else {
                break;
            };
            at += c.len_utf8();
            if let Some(elements) = &next.elements {
                self.found = elements;
                self.found_end = at;
            }
            if next.next.is_empty() {
                self.done = true;
                break;
            }
            self.node = next;
        }
        at
    }
}

/// Appends the elements of the longest contraction with a suffix at the start of `text`. Combining
/// characters may stand in between that do not block it (UTS #10, S2.1); their elements follow.
fn append_contraction(table: &Table, root: &Node, text: &str, out: &mut Vec<Element>) -> usize {
    let mut scan = Scan {
        node: root,
        found: root.elements.as_deref().unwrap_or_default(),
        found_end: 0,
        done: false,
    };
    let mut between = String::new();
    let mut used_between = 0;
    let mut at = scan.advance(text, 0);
    if let Some(first) = text[at..]
        .chars()
        .next()
        .filter(|c| !scan.done && !c.is_ascii())
    {
        let mut unmatched = at;
        at += first.len_utf8();
        let (lead, mut last_class) = table.classes(first);
        if lead != 0 {
            let segment = &text[..at + segment_end(table, &text[at..])];
            while !scan.done {
                let Some(c) = text[at..].chars().next().filter(|c| !c.is_ascii()) else {
                    break;
                };
                let (lead, trail) = table.classes(c);
                if lead == 0 || last_class >= lead {
                    break;
                }
                last_class = trail;
                // Past the segment nothing is matched.
                let to = if at < segment.len() {
                    scan.advance(segment, at)
                } else {
                    at
                };
                if to == at {
                    at += c.len_utf8();
                } else {
                    between.push_str(&text[unmatched..at]);
                    if scan.found_end == to {
                        used_between = between.len();
                    }
                    at = to;
                    unmatched = to;
                }
            }
        }
    }
    out.extend_from_slice(scan.found);
    let mut rest = &between[..used_between];
    while !rest.is_empty() {
        rest = &rest[append(table, rest, out)..];
    }
    scan.found_end
}

/// Where the combining characters at the start of `text` end.
fn segment_end(table: &Table, text: &str) -> usize {
    let mut combining = 0;
    for (at, c) in text.char_indices() {
        combining += 1;
        if table.classes(c).0 == 0 || combining > MAX_COMBINING {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_make_no_difference_and_letters_do() {
        let key = |text| primary_key(text);
        assert_eq!(key("Test"), key("tést"));
        assert_eq!(key("e\u{301}"), key("\u{e9}"));
        assert_ne!(key("Test"), key("Best"));
        assert_ne!(key(" Test"), key("Test"));
        assert!(key("").is_empty());
    }

    #[test]
    fn characters_without_an_entry_are_ordered_by_their_number() {
        assert_eq!(primary_key("\u{4e00}"), [0x81, 0x4e, 0x00]);
        assert_eq!(primary_key("\u{10ffff}"), [0x95, 0xff, 0xff]);
    }
}
