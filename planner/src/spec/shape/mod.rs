//! The one description of the spec language, as data: which fields there are, what they hold,
//! how KDL spells them, and what they are for. The checker ([`check`]), the KDL reader and
//! writer, and the JSON Schema for editors are all driven by it, so they cannot disagree.

pub mod check;
mod extra;
pub mod json_schema;
pub mod kinds;
pub mod language;

use super::diag::Problems;
use super::tree::Node;

pub use kinds::Kind;
pub use language::SPEC;

/// What a node may be.
#[derive(Debug)]
pub enum Shape {
    Scalar(Kind),
    List(&'static Shape),
    /// Names of the spec's author to values.
    Map(Kind, &'static Shape),
    Struct(&'static Struct),
    /// Told apart by form: a scalar, a list, a mapping.
    OneOf(&'static [Shape]),
    /// May be left empty (`product:`).
    OrNull(&'static Shape),
}

/// A mapping with fixed fields.
#[derive(Debug)]
pub struct Struct {
    /// What it describes, with its article: `a keyspace`.
    pub what: &'static str,
    pub fields: &'static [Field],
    /// What is to be said of the fields together.
    pub check: Option<fn(&Node, &mut Problems)>,
    /// KDL writes the scalar fields as properties of the node, not as nodes of their own.
    pub inline: bool,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub kdl: Kdl,
    /// For editors and documentation.
    pub doc: &'static str,
}

/// How KDL spells a field. The field's own name is written with dashes.
#[derive(Debug, Clone, Copy)]
pub enum Kdl {
    /// One node `name value`, or a property where the node has those.
    Plain,
    /// Nodes `name item item ...`; a node with properties or children is one item.
    Args,
    /// A mapping: a node `NAME "key" ...` for each entry.
    Named(&'static str),
    /// A list of structs: a node `NAME ...` for each, whose one argument is the field given.
    Items {
        node: &'static str,
        argument: Option<&'static str>,
    },
    /// `tablets "cell" replica=2` for counts, `tablet host="..." ...` for pinned ones.
    Tablets,
}

impl Struct {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

impl Field {
    /// The names of the KDL nodes (or properties) that spell it.
    pub fn kdl_names(&self) -> Vec<String> {
        match self.kdl {
            Kdl::Plain | Kdl::Args => vec![self.name.replace('_', "-")],
            Kdl::Named(node) | Kdl::Items { node, .. } => vec![node.to_owned()],
            Kdl::Tablets => vec!["tablets".into(), "tablet".into()],
        }
    }
}

impl Shape {
    /// The struct that this shape is, if it can be one.
    pub fn as_struct(&self) -> Option<&'static Struct> {
        match self {
            Shape::Struct(s) => Some(s),
            Shape::OrNull(inner) => inner.as_struct(),
            Shape::OneOf(shapes) => shapes.iter().find_map(Shape::as_struct),
            _ => None,
        }
    }

    /// The item of the list that this shape is, if it can be one.
    pub fn as_list(&self) -> Option<&'static Shape> {
        match self {
            Shape::List(item) => Some(item),
            Shape::OrNull(inner) => inner.as_list(),
            Shape::OneOf(shapes) => shapes.iter().find_map(Shape::as_list),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<(Kind, &'static Shape)> {
        match self {
            Shape::Map(key, value) => Some((*key, value)),
            Shape::OrNull(inner) => inner.as_map(),
            Shape::OneOf(shapes) => shapes.iter().find_map(Shape::as_map),
            _ => None,
        }
    }

    /// The kinds of scalar that this shape can be.
    pub fn scalars(&self) -> Vec<Kind> {
        match self {
            Shape::Scalar(kind) => vec![*kind],
            Shape::OrNull(inner) => inner.scalars(),
            Shape::OneOf(shapes) => shapes.iter().flat_map(Shape::scalars).collect(),
            _ => Vec::new(),
        }
    }

    pub fn may_be_null(&self) -> bool {
        match self {
            Shape::OrNull(_) => true,
            Shape::OneOf(shapes) => shapes.iter().any(Shape::may_be_null),
            _ => false,
        }
    }

    /// What is expected, for messages: `a list or a number`.
    pub fn what(&self) -> String {
        match self {
            Shape::Scalar(kind) => kind.what().to_owned(),
            Shape::List(item) => match item.scalars().first() {
                Some(kind) => format!("a list ({} each)", kind.what()),
                None => "a list".to_owned(),
            },
            Shape::Map(..) => "a mapping".to_owned(),
            Shape::Struct(s) => format!("the fields of {}", s.what),
            Shape::OneOf(shapes) => {
                let all: Vec<_> = shapes.iter().map(Shape::what).collect();
                all.join(" or ")
            }
            Shape::OrNull(inner) => inner.what(),
        }
    }
}
