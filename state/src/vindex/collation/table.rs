//! The collation table, read from `root.bin` when first needed.
//!
//! The file holds varints (7 bits a byte, low first) and single bytes:
//! - the length in bytes of the records; the records, by rising character. Each starts with
//!   `gap * 4 + kind`, where `gap` counts the characters left out since the last record.
//!   Kind 0: `count` characters of one element each, whose weights rise by one from `first`.
//!   Kind 1: a list of elements. Kind 2: the start of contractions: the list for the
//!   character alone, the number of suffixes, then each one's number of characters, the characters,
//!   and its list. Kind 3: `count` characters with the same list.
//! - the ideographs without a record: number of ranges; each one's distance from the end of
//!   the last, and how many characters follow its first.
//! - combining classes: number of ranges; distance, length, class of the first and of the last
//!   character of the canonical decomposition.
//!
//! A list is its length and its elements. An element is `delta * 2 + has_class`, `delta` being
//! the zigzag difference from the last weight read, and a byte for the class.

use std::collections::HashMap;
use std::sync::LazyLock;

static DATA: &[u8] = include_bytes!("root.bin");

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Reader::new(DATA).table());

/// A collation element: a primary weight (0: none) and a canonical combining class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub weight: u32,
    pub class: u8,
}

/// What the table says of a character.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// Nothing: its weight is implied by its number.
    Missing,
    One(Element),
    /// A range of [`Table::lists`].
    List(u32, u32),
    /// An index into [`Table::contractions`].
    Contraction(u32),
}

/// A node of a tree of suffixes.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What the suffix up to here stands for; `None` if it is only a part of others.
    pub elements: Option<Vec<Element>>,
    pub next: HashMap<char, Node>,
}

const PAGE: usize = 256;

#[derive(Debug)]
pub(super) struct Table {
    /// Page number of each 256 characters, 0 for those that have no entries.
    pages: Vec<u16>,
    entries: Vec<[Entry; PAGE]>,
    pub lists: Vec<Element>,
    pub contractions: Vec<Node>,
    ideographs: Vec<(u32, u32)>,
    classes: HashMap<char, (u8, u8)>,
}

impl Table {
    pub(super) fn entry(&self, c: char) -> Entry {
        let at = c as usize;
        self.entries[usize::from(self.pages[at / PAGE])][at % PAGE]
    }

    /// Whether a character without an entry is an ideograph.
    pub(super) fn is_ideograph(&self, c: char) -> bool {
        let c = c as u32;
        self.ideographs.iter().any(|(a, b)| (*a..=*b).contains(&c))
    }

    /// Canonical combining classes of the first and last character of its decomposition.
    pub(super) fn classes(&self, c: char) -> (u8, u8) {
        self.classes.get(&c).copied().unwrap_or_default()
    }

    fn set(&mut self, at: u32, entry: Entry) {
        let at = at as usize;
        let page = &mut self.pages[at / PAGE];
        if *page == 0 {
            *page = u16::try_from(self.entries.len()).expect("at most 4,352 pages");
            self.entries.push([Entry::Missing; PAGE]);
        }
        self.entries[usize::from(*page)][at % PAGE] = entry;
    }
}

/// Reads [`DATA`], which is part of the program: a mistake in it is one of the build.
struct Reader {
    data: &'static [u8],
    at: usize,
    last_weight: u32,
}

impl Reader {
    fn new(data: &'static [u8]) -> Self {
        Self {
            data,
            at: 0,
            last_weight: 0,
        }
    }

    fn byte(&mut self) -> u8 {
        let byte = self.data[self.at];
        self.at += 1;
        byte
    }

    fn number(&mut self) -> u32 {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn weight(&mut self, zigzag: u32) -> u32 {
        let delta = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        self.last_weight = self.last_weight.wrapping_add(delta);
        self.last_weight
    }

    fn element(&mut self) -> Element {
        let head = self.number();
        Element {
            weight: self.weight(head >> 1),
            class: if head & 1 == 1 { self.byte() } else { 0 },
        }
    }

    fn list(&mut self) -> Vec<Element> {
        let length = self.number();
        (0..length).map(|_| self.element()).collect()
    }

    fn character(&mut self) -> char {
        char::from_u32(self.number()).expect("the file holds characters")
    }

    fn table(mut self) -> Table {
        let mut table = Table {
            pages: vec![0; 0x11_0000 / PAGE],
            entries: vec![[Entry::Missing; PAGE]],
            lists: Vec::new(),
            contractions: Vec::new(),
            ideographs: Vec::new(),
            classes: HashMap::new(),
        };
        let length = self.number() as usize;
        let end = self.at + length;
        let mut c = 0;
        while self.at < end {
            let head = self.number();
            c += head >> 2;
            match head & 3 {
                0 => {
                    let count = self.number();
                    let zigzag = self.number();
                    let first = self.weight(zigzag);
                    for i in 0..count {
                        let weight = first + i;
                        table.set(c + i, Entry::One(Element { weight, class: 0 }));
                    }
                    self.last_weight = first + count - 1;
                    c += count;
                }
                2 => {
                    let entry = Entry::Contraction(index(&table.contractions));
                    let root = self.contraction();
                    table.contractions.push(root);
                    table.set(c, entry);
                    c += 1;
                }
                kind => {
                    let count = if kind == 3 { self.number() } else { 1 };
                    let list = self.list();
                    let entry = match list.as_slice() {
                        [one] => Entry::One(*one),
                        _ => {
                            let start = index(&table.lists);
                            table.lists.extend(list);
                            Entry::List(start, index(&table.lists))
                        }
                    };
                    for i in 0..count {
                        table.set(c + i, entry);
                    }
                    c += count;
                }
            }
        }
        let mut last = 0;
        for _ in 0..self.number() {
            let first = last + self.number();
            last = first + self.number();
            table.ideographs.push((first, last));
        }
        let mut next = 0;
        for _ in 0..self.number() {
            let first = next + self.number();
            next = first + self.number();
            let classes = (self.byte(), self.byte());
            let characters = (first..next).filter_map(char::from_u32);
            table.classes.extend(characters.map(|c| (c, classes)));
        }
        table
    }

    fn contraction(&mut self) -> Node {
        let mut root = Node {
            elements: Some(self.list()),
            next: HashMap::new(),
        };
        for _ in 0..self.number() {
            let mut node = &mut root;
            for _ in 0..self.number() {
                node = node.next.entry(self.character()).or_default();
            }
            node.elements = Some(self.list());
        }
        root
    }
}

fn index<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("the file is small")
}
