//! KDL into a tree. KDL's nodes are shaped otherwise than YAML's mappings (`keyspace "customer"
//! { ... }`), so the reader goes along the description of the language to know what a node is.

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::spec::diag::Problems;
use crate::spec::shape::check::unknown_field;
use crate::spec::shape::{Field, Kdl, SPEC, Shape, Struct};
use crate::spec::source::{SourceFile, Sp, Span};
use crate::spec::tree::{Entry, Form, MAX_DEPTH, Node, Value};

/// Reads one file. `None` (with a problem reported) when it is not KDL.
pub fn read(file: u32, source: &SourceFile, problems: &mut Problems) -> Option<Node> {
    let document = parse(file, source, problems)?;
    let text = &source.text;
    let mut reader = Reader {
        file,
        text,
        problems,
        broken: Vec::new(),
    };
    let entries = reader.body(&[], document.nodes(), &SPEC);
    Some(Node::new(
        Value::Map(entries),
        Span::new(file, 0, text.len()),
    ))
}

/// The document of a text. `None` (with a problem reported) when it is not KDL.
pub fn parse(file: u32, source: &SourceFile, problems: &mut Problems) -> Option<KdlDocument> {
    let text = &source.text;
    if let Some(at) = too_deep(text) {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        problems.error("too-deep", Span::new(file, at, at + 1), message);
        return None;
    }
    match KdlDocument::parse_v2(text) {
        Ok(document) => Some(document),
        Err(error) => {
            syntax_errors(file, text, &error, problems);
            None
        }
    }
}

/// The parser recurses for each brace and each comment in a comment, so their depth is bounded
/// before it runs. Braces in texts count too; a spec has no use for so many.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut braces, mut comments) = (0usize, 0usize);
    for (at, byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        match byte {
            b'{' => braces += 1,
            b'}' => braces = braces.saturating_sub(1),
            b'/' if next == Some(&b'*') => comments += 1,
            b'*' if next == Some(&b'/') => comments = comments.saturating_sub(1),
            _ => {}
        }
        if braces > MAX_DEPTH || comments > MAX_DEPTH {
            return Some(at);
        }
    }
    None
}

fn syntax_errors(file: u32, text: &str, error: &kdl::KdlError, problems: &mut Problems) {
    let version_1 = KdlDocument::parse_v1(text).is_ok();
    let mut lines = std::collections::HashSet::new();
    for diagnostic in &error.diagnostics {
        let start = diagnostic.span.offset().min(text.len());
        let line = text.as_bytes()[..start]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        // One mistake makes the parser report several things about its line.
        if !lines.insert(line) {
            continue;
        }
        let end = start + diagnostic.span.len();
        let what = diagnostic.message.as_deref().unwrap_or("unexpected text");
        let problem = problems.error(
            "kdl",
            Span::new(file, start, end),
            format!("this is not KDL: {what}"),
        );
        if version_1 {
            problem.help("this is KDL 1; in KDL 2, which specs are written in, it is `#true`, `#false`, `#null` and `#\"raw\"#`");
            return;
        }
        problem.maybe_help(diagnostic.help.clone());
    }
}

/// What has been read of a field; some are spread over several nodes.
enum Found {
    Whole(Node),
    /// Items of a list that may also be one item.
    Args(Vec<Node>),
    Items(Vec<Node>),
    Named(Vec<Entry>),
    /// Counts have their cell and fields, pinned ones are whole nodes.
    Tablets(Vec<Tablets>),
}

enum Tablets {
    Counts(Sp<String>, Vec<Entry>),
    Pinned(Node),
}

struct Reader<'a> {
    file: u32,
    text: &'a str,
    problems: &'a mut Problems,
    /// Fields, of the node that is being read, with mistakes in them.
    broken: Vec<&'static str>,
}

/// A node's entries, sorted out.
struct Parts<'a> {
    arguments: Vec<&'a KdlEntry>,
    properties: Vec<&'a KdlEntry>,
    children: &'a [KdlNode],
    has_block: bool,
}

impl<'a> Parts<'a> {
    fn of(node: &'a KdlNode) -> Self {
        let (properties, arguments) = node.entries().iter().partition(|e| e.name().is_some());
        Self {
            arguments,
            properties,
            children: node.children().map_or(&[], KdlDocument::nodes),
            has_block: node.children().is_some(),
        }
    }

    fn has_fields(&self) -> bool {
        self.has_block || !self.properties.is_empty()
    }
}

impl Reader<'_> {
    /// The fields of a struct, from properties and nodes.
    fn body(
        &mut self,
        properties: &[&KdlEntry],
        nodes: &[KdlNode],
        fields: &'static Struct,
    ) -> Vec<Entry> {
        let mut found: Vec<(&'static Field, Span, Found)> = Vec::new();
        for property in properties {
            let Some(name) = property.name() else {
                continue;
            };
            let key = self.name_span(name);
            let Some(field) = self.field(name.value(), key, fields) else {
                continue;
            };
            let value = self.scalar(property);
            let value = match field.kdl {
                Kdl::Plain => Found::Whole(value),
                Kdl::Args => Found::Args(vec![value]),
                _ => {
                    let message = format!("`{}` is a node of its own here", name.value());
                    self.problems.error("kdl", key, message);
                    continue;
                }
            };
            self.keep(&mut found, field, key, value);
        }
        for node in nodes {
            let key = self.name_span(node.name());
            if let Some(ty) = node.ty() {
                self.no_type(ty);
            }
            let name = node.name().value();
            let Some(field) = self.field(name, key, fields) else {
                continue;
            };
            let before = self.problems.error_count();
            let outer = std::mem::take(&mut self.broken);
            if let Some(value) = self.node(node, field, key) {
                self.keep(&mut found, field, key, value);
            }
            // Broken parts of the parts have been noted by name where they matter.
            self.broken = outer;
            if self.problems.error_count() > before {
                self.broken.push(field.name);
            }
        }
        found
            .into_iter()
            .map(|(field, key, found)| Entry {
                key: Sp::new(field.name.to_owned(), key),
                value: finish(found, &field.shape, key),
            })
            .collect()
    }

    fn field(&mut self, name: &str, at: Span, fields: &'static Struct) -> Option<&'static Field> {
        let named = |f: &&'static Field| f.kdl_names().iter().any(|n| n == name);
        let found = fields.fields.iter().find(named);
        if found.is_none() {
            let names: Vec<_> = fields.fields.iter().flat_map(Field::kdl_names).collect();
            let names = names.iter().map(String::as_str);
            let meant = unknown_field(name, at, fields.what, names, self.problems);
            if let Some(meant) = meant {
                let meant = |f: &&Field| f.kdl_names().iter().any(|n| n == meant);
                let field = fields.fields.iter().find(meant);
                self.broken.extend(field.map(|f| f.name));
            }
        }
        found
    }

    /// Adds what was read to what is there of the field.
    fn keep(
        &mut self,
        found: &mut Vec<(&'static Field, Span, Found)>,
        field: &'static Field,
        key: Span,
        new: Found,
    ) {
        let known = found.iter_mut().find(|(f, _, _)| f.name == field.name);
        let Some((_, first, known)) = known else {
            found.push((field, key, new));
            return;
        };
        match (known, new) {
            (Found::Args(all), Found::Args(new)) | (Found::Items(all), Found::Items(new)) => {
                all.extend(new);
            }
            (Found::Named(all), Found::Named(new)) => {
                for entry in new {
                    if let Some(other) = all.iter().find(|e| e.key == entry.key) {
                        let (first, name) = (other.key.span, entry.key.value.clone());
                        self.twice(&name, entry.key.span, first);
                    }
                    all.push(entry);
                }
            }
            (Found::Tablets(all), Found::Tablets(new)) => all.extend(new),
            _ => {
                let first = *first;
                self.twice(&field.name.replace('_', "-"), key, first);
            }
        }
    }

    fn twice(&mut self, name: &str, at: Span, first: Span) {
        self.problems
            .error("duplicate-field", at, format!("`{name}` is given twice"))
            .related(first, "first given here")
            .help("remove one of them");
    }

    /// One node of a field.
    fn node(&mut self, node: &KdlNode, field: &'static Field, key: Span) -> Option<Found> {
        let parts = Parts::of(node);
        match field.kdl {
            Kdl::Plain => self.plain(&parts, &field.shape, key).map(Found::Whole),
            Kdl::Args => {
                let mut items: Vec<_> = parts.arguments.iter().map(|a| self.scalar(a)).collect();
                if parts.has_fields() {
                    let item = field.shape.as_list().and_then(Shape::as_struct);
                    let Some(fields) = item else {
                        self.no_fields(&parts, key);
                        return None;
                    };
                    let entries = self.body(&parts.properties, parts.children, fields);
                    items.push(Node::new(Value::Map(entries), key));
                }
                Some(Found::Args(items))
            }
            Kdl::Named(_) => {
                let (_, value_shape) = field.shape.as_map()?;
                let name = self.one_name(&parts, key)?;
                let value = self.fields_of(&parts, value_shape, name.span);
                for part in std::mem::take(&mut self.broken) {
                    self.problems
                        .mark_broken(format!("{}.{}.{part}", field.name, *name));
                }
                Some(Found::Named(vec![Entry { key: name, value }]))
            }
            Kdl::Items { argument, .. } => {
                let shape = field.shape.as_list()?;
                Some(Found::Items(vec![self.item(&parts, shape, argument, key)?]))
            }
            Kdl::Tablets => self.tablets(node, &parts, &field.shape, key),
        }
    }

    /// A node that spells one field.
    fn plain(&mut self, parts: &Parts<'_>, shape: &'static Shape, key: Span) -> Option<Node> {
        if parts.arguments.len() > 1 {
            let second = self.entry_span(parts.arguments[1]);
            self.problems
                .error("kdl", second, "one value is enough here")
                .help("remove the others");
            return None;
        }
        if let Some(argument) = parts.arguments.first() {
            if parts.has_fields() {
                self.no_fields(parts, key);
                return None;
            }
            return Some(self.scalar(argument));
        }
        if let Some((_, value_shape)) = shape.as_map() {
            return Some(self.raw_map(parts, value_shape, key));
        }
        if parts.has_fields() && shape.as_struct().is_none() {
            self.no_fields(parts, key);
            return None;
        }
        Some(self.fields_of(parts, shape, key))
    }

    /// The fields of a node that is a struct, or nothing.
    fn fields_of(&mut self, parts: &Parts<'_>, shape: &'static Shape, at: Span) -> Node {
        match shape.as_struct() {
            Some(fields) if parts.has_fields() || !shape.may_be_null() => {
                let entries = self.body(&parts.properties, parts.children, fields);
                Node::new(Value::Map(entries), at)
            }
            _ => Node::null(at),
        }
    }

    /// A mapping whose keys are not the language's: `params table="x"`.
    fn raw_map(&mut self, parts: &Parts<'_>, value_shape: &'static Shape, at: Span) -> Node {
        let mut entries: Vec<Entry> = Vec::new();
        for property in &parts.properties {
            let Some(name) = property.name() else {
                continue;
            };
            let key = Sp::new(name.value().to_owned(), self.name_span(name));
            let value = self.scalar(property);
            entries.push(Entry { key, value });
        }
        for child in parts.children {
            let span = self.name_span(child.name());
            let key = Sp::new(child.name().value().to_owned(), span);
            if let Some(value) = self.plain(&Parts::of(child), value_shape, span) {
                entries.push(Entry { key, value });
            }
        }
        for (i, entry) in entries.iter().enumerate() {
            if let Some(other) = entries[..i].iter().find(|e| e.key == entry.key) {
                self.twice(&entry.key, entry.key.span, other.key.span);
            }
        }
        Node::new(Value::Map(entries), at)
    }

    fn item(
        &mut self,
        parts: &Parts<'_>,
        shape: &'static Shape,
        argument: Option<&'static str>,
        key: Span,
    ) -> Option<Node> {
        if let [only] = parts.arguments.as_slice()
            && !parts.has_fields()
            && !shape.scalars().is_empty()
        {
            return Some(self.scalar(only));
        }
        let fields = shape.as_struct()?;
        let mut entries = Vec::new();
        match (parts.arguments.as_slice(), argument) {
            ([], _) => {}
            ([first], Some(name)) => {
                let value = self.scalar(first);
                let key = Sp::new(name.to_owned(), value.span);
                entries.push(Entry { key, value });
            }
            ([.., last], _) => {
                let span = self.entry_span(last);
                self.problems.error("kdl", span, "a value too many");
                return None;
            }
        }
        for entry in self.body(&parts.properties, parts.children, fields) {
            if let Some(first) = entries.iter().find(|e| e.key == entry.key) {
                let (name, first) = (entry.key.value.clone(), first.key.span);
                self.twice(&name, entry.key.span, first);
            }
            entries.push(entry);
        }
        Some(Node::new(Value::Map(entries), key))
    }

    fn tablets(
        &mut self,
        node: &KdlNode,
        parts: &Parts<'_>,
        shape: &'static Shape,
        key: Span,
    ) -> Option<Found> {
        if node.name().value() == "tablet" {
            let item = self.item(parts, shape.as_list()?, None, key)?;
            return Some(Found::Tablets(vec![Tablets::Pinned(item)]));
        }
        let (_, counts) = shape.as_map()?;
        let cell = self.one_name(parts, key)?;
        let fields = counts.as_struct()?;
        let entries = self.body(&parts.properties, parts.children, fields);
        Some(Found::Tablets(vec![Tablets::Counts(cell, entries)]))
    }

    /// The one argument that is a name.
    fn one_name(&mut self, parts: &Parts<'_>, key: Span) -> Option<Sp<String>> {
        let [argument] = parts.arguments.as_slice() else {
            let at = match parts.arguments.get(1) {
                Some(second) => self.entry_span(second),
                None => key,
            };
            let message = match parts.arguments.len() {
                0 => "the name is missing",
                _ => "one name is enough here",
            };
            self.problems
                .error("kdl", at, message)
                .help("write it after the node: `keyspace \"commerce\" { ... }`");
            return None;
        };
        let node = self.scalar(argument);
        match node.text() {
            Some(text) => Some(Sp::new(text.to_owned(), node.span)),
            None => {
                self.problems.error("kdl", node.span, "the name is missing");
                None
            }
        }
    }

    fn no_fields(&mut self, parts: &Parts<'_>, key: Span) {
        let at = match (parts.properties.first(), parts.children.first()) {
            (Some(property), _) => self.entry_span(property),
            (None, Some(child)) => self.name_span(child.name()),
            (None, None) => key,
        };
        self.problems.error(
            "kdl",
            at,
            "only values are expected here, no properties and no block",
        );
    }

    fn no_type(&mut self, ty: &kdl::KdlIdentifier) {
        let span = self.name_span(ty);
        self.problems
            .error("kdl", span, "type annotations are not read in specs")
            .help("leave it out; a value's type follows from its field");
    }

    fn scalar(&mut self, entry: &KdlEntry) -> Node {
        if let Some(ty) = entry.ty() {
            self.no_type(ty);
        }
        let span = self.value_span(entry);
        match entry.value() {
            KdlValue::String(text) => Node::scalar(text, Form::Text, span),
            KdlValue::Integer(number) => Node::scalar(number.to_string(), Form::Number, span),
            KdlValue::Float(number) => Node::scalar(number.to_string(), Form::Number, span),
            KdlValue::Bool(truth) => Node::scalar(truth.to_string(), Form::Bool, span),
            KdlValue::Null => Node::null(span),
        }
    }

    fn name_span(&self, name: &kdl::KdlIdentifier) -> Span {
        self.trimmed(name.span().offset(), name.span().len())
    }

    fn entry_span(&self, entry: &KdlEntry) -> Span {
        self.trimmed(entry.span().offset(), entry.span().len())
    }

    /// The value without the property's name.
    fn value_span(&self, entry: &KdlEntry) -> Span {
        let whole = self.entry_span(entry);
        let written = entry.format().map_or(0, |f| f.value_repr.len());
        let length = u32::try_from(written).unwrap_or(0);
        match length {
            0 => whole,
            length => Span {
                start: whole.end.saturating_sub(length).max(whole.start),
                ..whole
            },
        }
    }

    /// Without the blanks around it.
    fn trimmed(&self, offset: usize, length: usize) -> Span {
        let end = (offset + length).min(self.text.len());
        let Some(text) = self.text.get(offset..end) else {
            return Span::new(self.file, offset, end);
        };
        let start = offset + (text.len() - text.trim_start().len());
        Span::new(self.file, start, start + text.trim().len())
    }
}

/// The node of a field of which everything has been read.
fn finish(found: Found, shape: &'static Shape, key: Span) -> Node {
    match found {
        Found::Whole(node) => node,
        Found::Items(items) => Node::new(Value::Seq(items), key),
        Found::Named(entries) => Node::new(Value::Map(entries), key),
        Found::Args(mut items) => {
            if items.len() == 1 && may_stand_alone(&items[0], shape) {
                return items.remove(0);
            }
            Node::new(Value::Seq(items), key)
        }
        Found::Tablets(all) => finish_tablets(all, key),
    }
}

/// A mapping by cell where that can say it, else a list.
fn finish_tablets(all: Vec<Tablets>, key: Span) -> Node {
    let mut cells = std::collections::HashSet::new();
    let by_cell = all.iter().all(|t| match t {
        Tablets::Counts(cell, _) => cells.insert(cell.value.clone()),
        Tablets::Pinned(_) => false,
    });
    let mut items = Vec::new();
    let mut entries = Vec::new();
    for tablets in all {
        match tablets {
            Tablets::Pinned(node) => items.push(node),
            Tablets::Counts(cell, fields) if by_cell => {
                let value = Node::new(Value::Map(fields), cell.span);
                entries.push(Entry { key: cell, value });
            }
            Tablets::Counts(cell, mut fields) => {
                let span = cell.span;
                let value = Node::scalar(cell.value, Form::Text, span);
                let key = Sp::new("cell".to_owned(), span);
                fields.insert(0, Entry { key, value });
                items.push(Node::new(Value::Map(fields), span));
            }
        }
    }
    let value = if by_cell {
        Value::Map(entries)
    } else {
        Value::Seq(items)
    };
    Node::new(value, key)
}

/// Whether one item is meant as itself, not as a list of one: `shards 2`.
fn may_stand_alone(item: &Node, shape: &Shape) -> bool {
    match &item.value {
        Value::Scalar(scalar) => shape.scalars().iter().any(|k| k.check(scalar).is_ok()),
        Value::Map(_) => shape.as_struct().is_some(),
        _ => false,
    }
}
