//! Formats KDL: four blanks a level, a node a line, comments and blank lines kept.

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use super::comments::{Comment, Layout};
use super::scalar;

const INDENT: &str = "    ";

/// A document's comments and blank lines. `None`: it has a `/-` comment, whose place in the
/// document cannot be kept.
pub fn layout<'a>(text: &'a str, document: &KdlDocument) -> Option<Layout<'a>> {
    let mut scalars = Vec::new();
    collect(document, &mut scalars);
    let slashdash = std::cell::Cell::new(false);
    let layout = Layout::new(text, scalars, |text, at| {
        let rest = &text[at..];
        if rest.starts_with("/-") {
            slashdash.set(true);
        }
        comment_length(rest)
    });
    (!slashdash.get()).then_some(layout)
}

fn collect(document: &KdlDocument, scalars: &mut Vec<(usize, usize)>) {
    for node in document.nodes() {
        let name = node.name().span();
        scalars.push((name.offset(), name.offset() + name.len()));
        for entry in node.entries() {
            // An entry's span may begin with the blanks and comments before it.
            let span = entry.span();
            let end = span.offset() + span.len();
            let written = entry.format().map_or(span.len(), |f| f.value_repr.len());
            scalars.push((end.saturating_sub(written), end));
            if let Some(name) = entry.name() {
                let span = name.span();
                scalars.push((span.offset(), span.offset() + span.len()));
            }
        }
        if let Some(children) = node.children() {
            collect(children, scalars);
        }
    }
}

/// The length of the comment that a text starts with.
fn comment_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    Some(rest.len())
}

/// Writes a document.
pub fn write(document: &KdlDocument, layout: Layout<'_>) -> String {
    let mut writer = Writer {
        out: String::new(),
        layout,
        block_start: true,
    };
    writer.nodes(document, 0);
    writer.comments_before(usize::MAX, 0);
    writer.out
}

struct Writer<'a> {
    out: String,
    layout: Layout<'a>,
    block_start: bool,
}

impl Writer<'_> {
    fn nodes(&mut self, document: &KdlDocument, level: usize) {
        for node in document.nodes() {
            let start = node.name().span().offset();
            self.comments_before(start, level);
            if self.layout.blank_above(start) && !self.block_start {
                self.out.push('\n');
            }
            self.block_start = false;
            self.node(node, start, level);
        }
    }

    fn node(&mut self, node: &KdlNode, start: usize, level: usize) {
        let indent = INDENT.repeat(level);
        self.out.push_str(&indent);
        self.out.push_str(&scalar::kdl_name(node.name().value()));
        let inner = INDENT.repeat(level + 1);
        let mut end = start + node.name().span().len();
        for entry in node.entries() {
            self.out.push(' ');
            if let Some(name) = entry.name() {
                self.out.push_str(&scalar::kdl_name(name.value()));
                self.out.push('=');
            }
            self.out.push_str(&value(entry, &inner));
            end = end.max(entry.span().offset() + entry.span().len());
        }
        let Some(children) = node.children() else {
            self.end_line(start, end);
            return;
        };
        self.out.push_str(" {");
        // The brace is on the line on which the last entry ends, or is moved there.
        let open = children.span().offset();
        self.end_line(start, end.max(start));
        self.block_start = true;
        self.nodes(children, level + 1);
        let close = close_brace(node, open);
        self.comments_before(close, level + 1);
        self.block_start = false;
        self.out.push_str(&indent);
        self.out.push('}');
        self.end_line(close, close);
    }

    /// Ends a line with the comment that ends one of the lines of `first` to `last` in the text.
    fn end_line(&mut self, first: usize, last: usize) {
        let lines = self.layout.line_of(first)..=self.layout.line_of(last);
        let fits = |c: &Comment| !c.own_line && lines.contains(&c.line) && !c.text.contains('\n');
        if let Some(comment) = self.layout.take_if(fits) {
            self.out.push(' ');
            self.out.push_str(&comment.text);
        }
        self.out.push('\n');
    }

    fn comments_before(&mut self, offset: usize, level: usize) {
        while let Some(comment) = self.layout.take_if(|c| c.start < offset) {
            if comment.own_line && comment.blank_above && !self.block_start {
                self.out.push('\n');
            }
            for line in comment.text.lines() {
                self.out.push_str(&INDENT.repeat(level));
                self.out.push_str(line.trim());
                self.out.push('\n');
            }
            self.block_start = false;
        }
    }
}

fn value(entry: &KdlEntry, indent: &str) -> String {
    match entry.value() {
        KdlValue::String(text) => scalar::kdl_text(text, indent),
        KdlValue::Bool(truth) => format!("#{truth}"),
        KdlValue::Null => "#null".to_owned(),
        // Numbers are kept as they are written: `0xff`, `1_000`.
        KdlValue::Integer(number) => written(entry).unwrap_or_else(|| number.to_string()),
        KdlValue::Float(number) => written(entry).unwrap_or_else(|| number.to_string()),
    }
}

fn written(entry: &KdlEntry) -> Option<String> {
    let text = entry.format()?.value_repr.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Offset of the brace that closes a node's block.
fn close_brace(node: &KdlNode, open: usize) -> usize {
    let span = node.span();
    let children = node.children().map_or(0, |c| c.span().len());
    (span.offset() + span.len())
        .saturating_sub(1)
        .max(open + children)
}
