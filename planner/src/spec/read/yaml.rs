//! YAML into a tree, from the parser's events. Refused, as a spec does not need them and they
//! hide what it says: anchors and aliases, tags, several documents in a file, keys that are not
//! scalars. Recursion is bounded and duplicate keys are errors.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::spec::diag::Problems;
use crate::spec::source::{SourceFile, Sp, Span};
use crate::spec::tree::{Entry, Form, MAX_DEPTH, Node, Scalar, Style, Value, is_null};

/// Reads one file. `None` (with a problem reported) when it is not YAML.
pub fn read(file: u32, source: &SourceFile, problems: &mut Problems) -> Option<Node> {
    let mut reader = Reader {
        file,
        offsets: Offsets::new(&source.text),
        text: &source.text,
        problems,
        stack: Vec::new(),
        root: None,
    };
    let mut parser = Parser::new_from_str(&source.text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if !reader.event(event, span) {
                    return None;
                }
            }
            Err(e) => {
                let at = reader.offsets.byte(e.marker().index());
                reader.scan_error(at, e.info());
                return None;
            }
        }
    }
    let empty = Node::null(Span::new(file, 0, 0));
    Some(reader.root.unwrap_or(empty))
}

/// A collection that is not complete yet.
enum Open {
    Seq(Vec<Node>, Span),
    Map {
        entries: Vec<Entry>,
        key: Option<Sp<String>>,
        start: Span,
        seen: std::collections::HashMap<String, Span>,
    },
}

struct Reader<'a> {
    file: u32,
    offsets: Offsets,
    text: &'a str,
    problems: &'a mut Problems,
    stack: Vec<Open>,
    root: Option<Node>,
}

impl Reader<'_> {
    /// Takes one event; false: reading cannot go on.
    fn event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> bool {
        let start = self.offsets.byte(span.start.index());
        let end = self.offsets.byte(span.end.index());
        let span = Span::new(self.file, start, end);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                if self.root.is_some() {
                    self.problems
                        .error("yaml", span, "a second document in one file")
                        .help("write each document into a file of its own; the files of a folder are merged");
                    return false;
                }
            }
            Event::Alias(_) => {
                self.no_anchor(span, "aliases (`*name`)");
                return false;
            }
            Event::Scalar(text, style, anchor, tag) => {
                if !self.plain_node(anchor, tag.is_some(), span) {
                    return false;
                }
                let (form, style) = match style {
                    ScalarStyle::Plain => (Form::Plain, Style::Block),
                    ScalarStyle::SingleQuoted => (Form::Text, Style::SingleQuoted),
                    ScalarStyle::DoubleQuoted => (Form::Text, Style::DoubleQuoted),
                    ScalarStyle::Literal => (Form::Text, Style::Literal),
                    ScalarStyle::Folded => (Form::Text, Style::Folded),
                };
                return self.scalar(text.into_owned(), form, style, span);
            }
            Event::SequenceStart(anchor, tag) => {
                return self.plain_node(anchor, tag.is_some(), span)
                    && self.open(Open::Seq(Vec::new(), span), span);
            }
            Event::MappingStart(anchor, tag) => {
                let open = Open::Map {
                    entries: Vec::new(),
                    key: None,
                    start: span,
                    seen: std::collections::HashMap::new(),
                };
                return self.plain_node(anchor, tag.is_some(), span) && self.open(open, span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (value, start) = match self.stack.pop() {
                    Some(Open::Seq(items, start)) => (Value::Seq(items), start),
                    Some(Open::Map { entries, start, .. }) => (Value::Map(entries), start),
                    None => return false,
                };
                let style = match self.text.as_bytes().get(start.start as usize) {
                    Some(b'[' | b'{') => Style::Flow,
                    _ => Style::Block,
                };
                // The event's own end may be past the blanks and comments that follow.
                let last = match style {
                    Style::Flow => {
                        Span::new(self.file, span.start as usize, span.start as usize + 1)
                    }
                    _ => span,
                };
                let node = Node {
                    span: start.to(last),
                    value,
                    style,
                };
                self.put(node);
            }
        }
        true
    }

    fn no_anchor(&mut self, span: Span, what: &str) {
        self.problems
            .error("yaml", span, format!("{what} are not read in specs"))
            .help("write the value out; what many keyspaces share can be in files of one folder");
    }

    fn plain_node(&mut self, anchor: usize, tagged: bool, span: Span) -> bool {
        if anchor != 0 {
            self.no_anchor(span, "anchors (`&name`)");
            return false;
        }
        if tagged {
            self.problems
                .error("yaml", span, "tags (`!name`) are not read in specs")
                .help("leave the tag out; a value's type follows from its field");
            return false;
        }
        true
    }

    fn open(&mut self, open: Open, span: Span) -> bool {
        if let Some(Open::Map { key: None, .. }) = self.stack.last() {
            self.problems
                .error("yaml", span, "a key is a name, not a list or mapping");
            return false;
        }
        if self.stack.len() >= MAX_DEPTH {
            self.problems.error(
                "too-deep",
                span,
                format!("nested deeper than {MAX_DEPTH} levels"),
            );
            return false;
        }
        self.stack.push(open);
        true
    }

    fn scalar(&mut self, text: String, form: Form, style: Style, span: Span) -> bool {
        if let Some(Open::Map { key, seen, .. }) = self.stack.last_mut()
            && key.is_none()
        {
            if let Some(first) = seen.get(&text) {
                let first = *first;
                self.problems
                    .error("duplicate-field", span, format!("`{text}` is given twice"))
                    .related(first, "first given here")
                    .help("remove one of them");
            } else {
                seen.insert(text.clone(), span);
            }
            *key = Some(Sp::new(text, span));
            return true;
        }
        let value = if form == Form::Plain && is_null(&text) {
            Value::Null
        } else {
            Value::Scalar(Scalar { text, form })
        };
        self.put(Node { span, value, style });
        true
    }

    fn put(&mut self, node: Node) {
        match self.stack.last_mut() {
            Some(Open::Seq(items, _)) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                // `open` and `scalar` see to it that a key came before.
                if let Some(key) = key.take() {
                    entries.push(Entry { key, value: node });
                }
            }
            None => self.root = Some(node),
        }
    }

    fn scan_error(&mut self, at: usize, info: &str) {
        let at = at.min(self.text.len());
        let line_start = self.text[..at].rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let span = Span::new(self.file, at, at + 1);
        let problem = self
            .problems
            .error("yaml", span, format!("this is not YAML: {info}"));
        if indent.contains('\t') || info.contains("tab") {
            problem.help("YAML is indented with spaces, not with tabs");
        } else if line[(at - line_start).min(line.len())..].starts_with(['%', '@', '`']) {
            problem.help("a text that starts with this character needs quotes");
        }
    }
}

/// From the parser's character counts to byte offsets.
enum Offsets {
    Ascii,
    Table(Vec<u32>),
}

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii;
        }
        let mut table: Vec<_> = text
            .char_indices()
            .map(|(i, _)| u32::try_from(i).unwrap_or(u32::MAX))
            .collect();
        table.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        Self::Table(table)
    }

    fn byte(&self, index: usize) -> usize {
        match self {
            Self::Ascii => index,
            Self::Table(table) => table
                .get(index)
                .or(table.last())
                .map_or(0, |at| *at as usize),
        }
    }
}
