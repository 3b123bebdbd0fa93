//! Writes a tree as YAML: two blanks a level, lists indented under their key, flow collections
//! (`{ a: 1 }`) kept where they fit on a line and written as blocks where they do not.

use super::comments::{Comment, Layout};
use super::scalar;
use crate::spec::tree::{Entry, Node, Style, Value};

/// Flow collections are written as blocks when their line would be longer.
const MAX_WIDTH: usize = 100;

/// The text of a tree; `layout` gives back the comments and blank lines of the text it was read
/// from.
pub fn write(root: &Node, layout: Option<Layout<'_>>) -> String {
    let mut writer = Writer {
        out: String::new(),
        layout,
        block_start: true,
        after_block: false,
    };
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => writer.map(entries, 0, false, usize::MAX),
        Value::Seq(items) if !items.is_empty() => writer.seq(items, 0, usize::MAX),
        Value::Null => {}
        _ => {
            let text = writer.inline(root, false);
            writer.out.push_str(&text);
            writer.out.push('\n');
        }
    }
    writer.comments_before(usize::MAX, 0);
    writer.out
}

struct Writer<'a> {
    out: String,
    layout: Option<Layout<'a>>,
    /// Nothing was written yet in this block, so no blank line goes before what comes.
    block_start: bool,
    /// What was written last takes several lines.
    after_block: bool,
}

impl Writer<'_> {
    /// `limit` is the offset of what follows the block.
    fn map(&mut self, entries: &[Entry], indent: usize, mut after_dash: bool, limit: usize) {
        for (i, entry) in entries.iter().enumerate() {
            let next = entries.get(i + 1);
            let next = next.map_or(limit, |e| e.key.span.start as usize);
            let at = entry.key.span.start as usize;
            if !after_dash {
                self.comments_before(at, indent);
                self.blank_before(at, indent, &entry.value);
                self.indent(indent);
            }
            after_dash = false;
            let key = scalar::yaml_key(&entry.key, false);
            self.out.push_str(&key);
            self.out.push(':');
            self.value(&entry.value, indent, entry.key.span.end as usize, next);
        }
        if let Some(first) = entries.first() {
            self.comments_of_block(first.key.span.start as usize, indent, limit);
        }
    }

    fn seq(&mut self, items: &[Node], indent: usize, limit: usize) {
        for (i, item) in items.iter().enumerate() {
            let next = items.get(i + 1).map_or(limit, |n| n.span.start as usize);
            let at = item.span.start as usize;
            self.comments_before(at, indent);
            self.blank_before(at, indent, item);
            self.indent(indent);
            self.out.push('-');
            match &item.value {
                Value::Map(entries) if !self.fits(item, indent + 2) && !entries.is_empty() => {
                    self.out.push(' ');
                    self.map(entries, indent + 2, true, next);
                }
                _ => self.value(item, indent, at, next),
            }
        }
        if let Some(first) = items.first() {
            // The dash stands two columns before its item.
            self.comments_of_block((first.span.start as usize).saturating_sub(2), indent, limit);
        }
    }

    /// What stands after a key or a dash, and the end of its line.
    fn value(&mut self, node: &Node, indent: usize, key_end: usize, limit: usize) {
        let column = self.out.len() - self.out.rfind('\n').map_or(0, |i| i + 1);
        match &node.value {
            Value::Null => self.end_line(key_end, key_end),
            Value::Scalar(s) => {
                let literal = match node.style {
                    Style::Literal | Style::Folded => scalar::yaml_literal(&s.text),
                    _ if s.text.contains('\n') => scalar::yaml_literal(&s.text),
                    _ => None,
                };
                self.out.push(' ');
                if let Some((header, lines)) = literal {
                    self.out.push_str(header);
                    let start = node.span.start as usize;
                    self.end_line(key_end, start);
                    for line in lines {
                        if !line.is_empty() {
                            self.indent(indent + 2);
                            self.out.push_str(line);
                        }
                        self.out.push('\n');
                    }
                } else {
                    self.out.push_str(&scalar::yaml(s, node.style, false));
                    self.end_line(key_end, (node.span.end as usize).saturating_sub(1));
                }
            }
            Value::Seq(_) | Value::Map(_) if self.fits(node, column + 1) => {
                let text = self.inline(node, false);
                self.out.push(' ');
                self.out.push_str(&text);
                self.end_line(key_end, (node.span.end as usize).saturating_sub(1));
            }
            Value::Map(entries) => {
                self.end_line(key_end, key_end);
                self.block_start = true;
                self.map(entries, indent + 2, false, limit);
                self.inner_comments(node, indent + 2);
            }
            Value::Seq(items) => {
                self.end_line(key_end, key_end);
                self.block_start = true;
                self.seq(items, indent + 2, limit);
                self.inner_comments(node, indent + 2);
            }
        }
    }

    /// Whether a collection is to be written on one line, and can be.
    fn fits(&self, node: &Node, column: usize) -> bool {
        let empty = match &node.value {
            Value::Map(entries) => entries.is_empty(),
            Value::Seq(items) => items.is_empty(),
            _ => return true,
        };
        if empty {
            return true;
        }
        let (start, end) = (node.span.start as usize, node.span.end as usize);
        let comments = self
            .layout
            .as_ref()
            .is_some_and(|l| l.has_within(start, end));
        node.style == Style::Flow
            && !comments
            && column + self.inline(node, false).chars().count() <= MAX_WIDTH
    }

    fn inline(&self, node: &Node, in_flow: bool) -> String {
        match &node.value {
            Value::Null if in_flow => "null".into(),
            Value::Null => String::new(),
            Value::Scalar(s) => scalar::yaml(s, node.style, in_flow),
            Value::Seq(items) => {
                let items: Vec<_> = items.iter().map(|i| self.inline(i, true)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) if entries.is_empty() => "{}".into(),
            Value::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|e| {
                        let key = scalar::yaml_key(&e.key, true);
                        match &e.value.value {
                            Value::Null => format!("{key}: null"),
                            _ => format!("{key}: {}", self.inline(&e.value, true)),
                        }
                    })
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }

    /// Ends a line with the comments that end the lines of `first` or `last` in the text.
    fn end_line(&mut self, first: usize, last: usize) {
        if let Some(layout) = &mut self.layout {
            let lines = layout.line_of(first)..=layout.line_of(last);
            // A comment ends its line; a second one cannot follow on it.
            let fits = |c: &Comment| !c.own_line && lines.contains(&c.line);
            if let Some(comment) = layout.take_if(fits) {
                self.out.push_str("  ");
                self.out.push_str(&comment.text);
            }
        }
        self.out.push('\n');
        self.block_start = false;
    }

    /// Comments before an offset, each on a line of its own.
    fn comments_before(&mut self, offset: usize, indent: usize) {
        while let Some(comment) = self.take(|c| c.start < offset) {
            self.comment_line(&comment, indent);
        }
    }

    /// Comments after a block's last entry that are indented like the block.
    fn comments_of_block(&mut self, first: usize, indent: usize, limit: usize) {
        let Some(layout) = &self.layout else {
            return;
        };
        let line = layout.line_of(first);
        let column = first - layout.line_start(line);
        if column == 0 {
            return;
        }
        while let Some(comment) = self.take(|c| c.own_line && c.column >= column && c.start < limit)
        {
            self.comment_line(&comment, indent);
        }
    }

    /// Comments before the bracket that closes what was a flow collection.
    fn inner_comments(&mut self, node: &Node, indent: usize) {
        if node.style == Style::Flow {
            self.comments_before(node.span.end as usize, indent);
        }
    }

    fn take(&mut self, fits: impl Fn(&Comment) -> bool) -> Option<Comment> {
        self.layout.as_mut()?.take_if(fits)
    }

    fn comment_line(&mut self, comment: &Comment, indent: usize) {
        if comment.own_line && comment.blank_above && !self.block_start {
            self.out.push('\n');
        }
        self.indent(indent);
        self.out.push_str(&comment.text);
        self.out.push('\n');
        self.block_start = false;
    }

    fn blank_before(&mut self, offset: usize, indent: usize, node: &Node) {
        let is_block = matches!(node.value, Value::Map(_) | Value::Seq(_)) && !self.fits(node, 0);
        let blank = match &self.layout {
            Some(layout) => layout.blank_above(offset),
            // Made from another language: sections are set apart.
            None => indent == 0 && (is_block || std::mem::take(&mut self.after_block)),
        };
        self.after_block = is_block;
        if blank && !self.block_start {
            self.out.push('\n');
        }
        self.block_start = false;
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}
