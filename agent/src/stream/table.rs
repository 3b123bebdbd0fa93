//! The shape of a table: what a stream has to know of it.

use vtplan_state::model::{KeyspaceName, TableName};

/// A table of a server, as its `information_schema` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The database, which has the keyspace's name.
    pub keyspace: KeyspaceName,
    pub name: TableName,
    /// The columns that are written, in the table's order: all but generated ones. A
    /// [`super::Row`] has a value for each.
    pub columns: Vec<ColumnShape>,
    /// Generated columns with their places in the table, counted from 0.
    pub generated: Vec<(usize, ColumnShape)>,
    /// The columns of the key that rows are read in the order of, as places in `columns`.
    pub key: Vec<usize>,
    pub key_kind: KeyKind,
    /// The name of that key's index.
    pub key_name: String,
    /// All keys in which no two rows may be alike, `key` among them.
    pub unique_keys: Vec<UniqueKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Primary,
    /// There is no primary key: a unique one over columns that cannot be NULL.
    Unique,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    pub name: String,
    /// Places in [`TableShape::columns`]. `None` if the key is over something else than columns as
    /// they stand: parts of them, generated columns, expressions. Rows may then be in each
    /// other's way whatever their values.
    pub columns: Option<Vec<usize>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnShape {
    pub name: String,
    pub kind: ColumnKind,
    /// As the server writes it: `int(10) unsigned zerofill`.
    pub column_type: String,
    pub unsigned: bool,
    pub zerofill: bool,
    pub nullable: bool,
    /// Text columns, ENUM and SET.
    pub charset: Option<String>,
    pub collation: Option<String>,
    pub auto_increment: bool,
}

/// A column's type, as far as values are read and written in different ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    TinyInt,
    SmallInt,
    MediumInt,
    Int,
    BigInt,
    /// Digits in all and behind the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    Bit {
        bits: u8,
    },
    Year,
    Date,
    /// `fraction`: digits of the seconds' fraction.
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    /// Length in characters.
    Char {
        length: u32,
    },
    VarChar {
        length: u32,
    },
    Text,
    /// Length in bytes.
    Binary {
        length: u32,
    },
    VarBinary {
        length: u32,
    },
    Blob,
    Enum {
        members: Vec<String>,
    },
    Set {
        members: Vec<String>,
    },
    /// MySQL's. MariaDB's JSON is a `Text`.
    Json,
    Geometry,
    /// Of MySQL 9 and MariaDB 11.7.
    Vector,
    /// MariaDB's.
    Uuid,
    Inet4,
    Inet6,
}

impl TableShape {
    /// The column of a name, in any case.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.name.to_lowercase() == name.to_lowercase())
    }

    /// `` `ks`.`table` ``.
    pub fn quoted(&self) -> String {
        use crate::flavor::identifier;
        format!(
            "{}.{}",
            identifier(self.keyspace.as_str()),
            identifier(self.name.as_str())
        )
    }

    /// A row's key as people read it: `customer_id=5, day=2024-01-01`.
    pub fn key_text(&self, row: &[super::Cell]) -> String {
        let parts: Vec<String> = self
            .key
            .iter()
            .map(|&i| {
                let column = &self.columns[i];
                let value = row.get(i).and_then(Option::as_deref);
                format!("{}={}", column.name, column.readable(value))
            })
            .collect();
        parts.join(", ")
    }
}

impl ColumnShape {
    /// The name, quoted.
    pub fn quoted(&self) -> String {
        crate::flavor::identifier(&self.name)
    }

    /// What to SELECT so that the server gives the value as [`super::row`] says.
    pub fn select_expression(&self) -> String {
        let name = self.quoted();
        match self.kind {
            // Floating point numbers are printed with the digits that identify them only as
            // doubles without a number of decimals of their own.
            ColumnKind::Float | ColumnKind::Double => format!("{name}+0e0"),
            ColumnKind::Enum { .. } | ColumnKind::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
            ColumnKind::Year | ColumnKind::Bit { .. } => name,
            _ if self.zerofill => format!("{name}+0"),
            _ => name,
        }
    }

    /// Whether two values are alike for the server (and in a unique key) exactly if their bytes
    /// are. Otherwise the collation decides.
    pub fn equal_is_bytewise(&self) -> bool {
        !matches!(
            self.kind,
            ColumnKind::Char { .. } | ColumnKind::VarChar { .. } | ColumnKind::Text
        )
    }

    /// Whether the value is a number, without quotes in SQL.
    pub fn is_number(&self) -> bool {
        matches!(
            self.kind,
            ColumnKind::TinyInt
                | ColumnKind::SmallInt
                | ColumnKind::MediumInt
                | ColumnKind::Int
                | ColumnKind::BigInt
                | ColumnKind::Decimal { .. }
                | ColumnKind::Float
                | ColumnKind::Double
                | ColumnKind::Year
                | ColumnKind::Enum { .. }
                | ColumnKind::Set { .. }
        )
    }

    /// A value as people read it, for messages: text as it is, other bytes as hex.
    pub fn readable(&self, value: Option<&[u8]>) -> String {
        let Some(value) = value else {
            return "NULL".to_owned();
        };
        let hex = || {
            let digits: String = value.iter().map(|b| format!("{b:02x}")).collect();
            format!("0x{digits}")
        };
        let binary = matches!(
            self.kind,
            ColumnKind::Bit { .. }
                | ColumnKind::Binary { .. }
                | ColumnKind::VarBinary { .. }
                | ColumnKind::Blob
                | ColumnKind::Geometry
                | ColumnKind::Vector
        );
        match (&self.kind, std::str::from_utf8(value)) {
            (ColumnKind::Enum { members }, Ok(number)) => number
                .parse::<usize>()
                .ok()
                .and_then(|n| members.get(n.checked_sub(1)?))
                .map_or_else(|| number.to_owned(), |member| format!("'{member}'")),
            (_, Ok(text)) if !binary && !text.contains(char::is_control) => text.to_owned(),
            _ => hex(),
        }
    }
}
