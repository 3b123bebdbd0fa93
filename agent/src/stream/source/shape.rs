//! Reads the shapes of tables from a server's `information_schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use vtplan_state::model::{FlavorKind, KeyspaceName, TableName};

use crate::stream::error::StreamError;
use crate::stream::row::Row;
use crate::stream::table::{ColumnKind, ColumnShape, KeyKind, TableShape, UniqueKey};
use crate::stream::wire::Connection;

/// The shapes of tables, in the order asked for.
pub(super) async fn read(
    conn: &mut Connection,
    flavor: FlavorKind,
    keyspace: &KeyspaceName,
    tables: &[TableName],
) -> Result<Vec<Arc<TableShape>>, StreamError> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let server = conn.server().to_owned();
    let names: Vec<String> = tables.iter().map(|t| text_literal(t.as_str())).collect();
    let filter = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME IN ({})",
        text_literal(keyspace.as_str()),
        names.join(", ")
    );
    let what = "reading the definitions of tables";
    let kinds = conn
        .rows(
            what,
            format!("SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE {filter}"),
        )
        .await?;
    let columns = conn
        .rows(
            what,
            format!(
                "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, \
                 CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, \
                 CHARACTER_SET_NAME, COLLATION_NAME, EXTRA \
                 FROM information_schema.COLUMNS WHERE {filter} ORDER BY TABLE_NAME, ORDINAL_POSITION"
            ),
        )
        .await?;
    // An index that the server may not use is of no use here.
    let usable = match flavor {
        FlavorKind::MariaDb => "IGNORED = 'NO'",
        FlavorKind::MySql => "IS_VISIBLE = 'YES'",
    };
    let indexes = conn
        .rows(
            what,
            format!(
                "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, INDEX_TYPE, {usable} \
                 FROM information_schema.STATISTICS WHERE {filter} AND NON_UNIQUE = 0 \
                 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
            ),
        )
        .await?;
    let mut shapes = Vec::new();
    for name in tables {
        let of_table = |row: &&Row| text(row, 0) == name.as_str();
        let kind = kinds.iter().find(of_table);
        check_kind(kind, name, keyspace, &server)?;
        let columns: Vec<&Row> = columns.iter().filter(of_table).collect();
        let indexes: Vec<&Row> = indexes.iter().filter(of_table).collect();
        shapes.push(Arc::new(shape(keyspace, name, &columns, &indexes)?));
    }
    Ok(shapes)
}

fn check_kind(
    kind: Option<&Row>,
    name: &TableName,
    keyspace: &KeyspaceName,
    server: &str,
) -> Result<(), StreamError> {
    let Some(kind) = kind else {
        return Err(StreamError::Refused(format!(
            "there is no table `{name}` in keyspace {keyspace} on {server}"
        )));
    };
    let why = match (
        text(kind, 1).as_str(),
        text(kind, 2).to_lowercase().as_str(),
    ) {
        ("BASE TABLE", "innodb" | "rocksdb") => return Ok(()),
        ("BASE TABLE", engine) => format!(
            "it is a table of engine {engine}, which has no transactions; convert it with ALTER TABLE ... ENGINE=InnoDB"
        ),
        ("VIEW", _) => "it is a view".to_owned(),
        (other, _) => format!("it is a {}", other.to_lowercase()),
    };
    Err(StreamError::Refused(format!(
        "`{name}` in keyspace {keyspace} on {server} cannot be moved: {why}"
    )))
}

fn shape(
    keyspace: &KeyspaceName,
    name: &TableName,
    rows: &[&Row],
    indexes: &[&Row],
) -> Result<TableShape, StreamError> {
    let mut columns = Vec::new();
    let mut generated = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let column = column(name, row)?;
        let extra = text(row, 11).to_uppercase();
        let is_generated = ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"]
            .iter()
            .any(|word| extra.contains(word));
        if is_generated {
            generated.push((place, column));
        } else {
            columns.push(column);
        }
    }
    let place_of = |column: &str| columns.iter().position(|c: &ColumnShape| c.name == column);

    let mut by_name: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in indexes {
        by_name.entry(text(row, 1)).or_default().push(row);
    }
    let mut unique_keys = Vec::new();
    // Keys that rows can be read in the order of, the best first: the primary one, then few columns.
    let mut ordering: Vec<(bool, usize, String, Vec<usize>)> = Vec::new();
    for (index, parts) in by_name {
        let places: Option<Vec<usize>> =
            parts.iter().map(|part| place_of(&text(part, 2))).collect();
        let whole = parts.iter().all(|part| part[3].is_none());
        let btree = parts
            .iter()
            .all(|part| text(part, 4) == "BTREE" && text(part, 5) == "1");
        if let Some(places) = &places {
            let never_null = places.iter().all(|&p| !columns[p].nullable);
            if never_null && btree {
                let other = index != "PRIMARY";
                // A key over the beginnings of values is unique over the values too.
                ordering.push((other, places.len(), index.clone(), places.clone()));
            }
        }
        unique_keys.push(UniqueKey {
            name: index,
            columns: places.filter(|_| whole),
        });
    }
    ordering.sort();
    let Some((other, _, key_name, key)) = ordering.into_iter().next() else {
        return Err(StreamError::Refused(format!(
            "table `{keyspace}.{name}` cannot be moved: it has neither a primary key nor a unique key over columns that are NOT NULL and not generated; give it one with ALTER TABLE"
        )));
    };
    Ok(TableShape {
        keyspace: keyspace.clone(),
        name: name.clone(),
        columns,
        generated,
        key,
        key_kind: if other {
            KeyKind::Unique
        } else {
            KeyKind::Primary
        },
        key_name,
        unique_keys,
    })
}

fn column(table: &TableName, row: &Row) -> Result<ColumnShape, StreamError> {
    let name = text(row, 1);
    let column_type = text(row, 3);
    let lower = column_type.to_lowercase();
    let number = |i: usize| text(row, i).parse::<u64>().unwrap_or(0);
    let small = |i: usize| u8::try_from(number(i)).unwrap_or(u8::MAX);
    let length = u32::try_from(number(5)).unwrap_or(u32::MAX);
    let refused = |why: String| {
        StreamError::Refused(format!(
            "column `{name}` of table `{table}` cannot be moved: {why}"
        ))
    };
    if lower.contains("compressed") {
        return Err(refused(
            "it is COMPRESSED; change it with ALTER TABLE ... MODIFY".to_owned(),
        ));
    }
    let fraction = small(8);
    let kind = match text(row, 2).to_lowercase().as_str() {
        "tinyint" => ColumnKind::TinyInt,
        "smallint" => ColumnKind::SmallInt,
        "mediumint" => ColumnKind::MediumInt,
        "int" => ColumnKind::Int,
        "bigint" => ColumnKind::BigInt,
        "decimal" => ColumnKind::Decimal {
            precision: small(6),
            scale: small(7),
        },
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit { bits: small(6) },
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time { fraction },
        "datetime" => ColumnKind::DateTime { fraction },
        "timestamp" => ColumnKind::Timestamp { fraction },
        "char" => ColumnKind::Char { length },
        "varchar" => ColumnKind::VarChar { length },
        "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" => ColumnKind::Binary { length },
        "varbinary" => ColumnKind::VarBinary { length },
        "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Blob,
        "enum" => ColumnKind::Enum {
            members: members(&column_type),
        },
        "set" => ColumnKind::Set {
            members: members(&column_type),
        },
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => ColumnKind::Geometry,
        "vector" => ColumnKind::Vector,
        "uuid" => ColumnKind::Uuid,
        "inet4" => ColumnKind::Inet4,
        "inet6" => ColumnKind::Inet6,
        other => return Err(refused(format!("its type `{other}` is not known"))),
    };
    let some = |i: usize| Some(text(row, i)).filter(|t| !t.is_empty());
    // Old names of one character set.
    let charset = some(9).map(|c| if c == "utf8" { "utf8mb3".into() } else { c });
    Ok(ColumnShape {
        unsigned: lower.contains("unsigned"),
        zerofill: lower.contains("zerofill"),
        nullable: text(row, 4) == "YES",
        // Binary columns have none; some versions say `binary`.
        charset: charset.filter(|c| c != "binary"),
        collation: some(10),
        auto_increment: text(row, 11).to_lowercase().contains("auto_increment"),
        name,
        kind,
        column_type,
    })
}

/// The members of `enum('a','it''s')`.
fn members(column_type: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut rest = column_type.chars().skip_while(|c| *c != '\'').peekable();
    while rest.next_if_eq(&'\'').is_some() {
        let mut member = String::new();
        while let Some(c) = rest.next() {
            if c != '\'' {
                member.push(c);
            } else if rest.next_if_eq(&'\'').is_some() {
                member.push('\'');
            } else {
                break;
            }
        }
        members.push(member);
        rest.next_if_eq(&',');
    }
    members
}

pub(super) fn text(row: &Row, column: usize) -> String {
    row.get(column)
        .and_then(Option::as_deref)
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default()
}

/// A text as a literal, whatever the session's character set.
pub(super) fn text_literal(text: &str) -> String {
    format!("_utf8mb4{}", crate::flavor::literal(text))
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_of_an_enum_are_read_with_quotes_and_commas_in_them() {
        assert_eq!(
            members("enum('a','it''s','x,y','')"),
            ["a", "it's", "x,y", ""]
        );
        assert_eq!(members("set('a')"), ["a"]);
    }
}
