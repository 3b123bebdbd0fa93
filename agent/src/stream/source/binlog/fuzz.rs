//! Bytes that no server would send: they give an error or nothing, and never a panic.

use std::sync::Arc;

use proptest::prelude::*;
use vtplan_state::model::{FlavorKind, KeyspaceName, TableName};

use super::assemble::{Assembler, Trouble};
use super::event::kind;
use super::table_map::TableMap;
use super::{SourceEvent, jsonb};
use crate::stream::position::Position;
use crate::stream::row::Change;
use crate::stream::table::{ColumnKind, ColumnShape, KeyKind, TableShape};

/// A column of each kind, with its type's code and metadata in a table map.
fn columns() -> Vec<(ColumnKind, u8, Vec<u8>)> {
    use ColumnKind as K;
    let members = || vec!["a".to_owned(), "b".to_owned()];
    vec![
        (K::TinyInt, 1, vec![]),
        (K::SmallInt, 2, vec![]),
        (K::MediumInt, 9, vec![]),
        (K::Int, 3, vec![]),
        (K::BigInt, 8, vec![]),
        (
            K::Decimal {
                precision: 20,
                scale: 7,
            },
            246,
            vec![20, 7],
        ),
        (K::Float, 4, vec![4]),
        (K::Double, 5, vec![8]),
        (K::Bit { bits: 10 }, 16, vec![2, 1]),
        (K::Year, 13, vec![]),
        (K::Date, 10, vec![]),
        (K::Time { fraction: 0 }, 11, vec![]),
        (K::DateTime { fraction: 0 }, 12, vec![]),
        (K::Timestamp { fraction: 0 }, 7, vec![]),
        (K::Time { fraction: 5 }, 19, vec![5]),
        (K::DateTime { fraction: 3 }, 18, vec![3]),
        (K::Timestamp { fraction: 6 }, 17, vec![6]),
        (K::Char { length: 10 }, 254, vec![254, 40]),
        (K::VarChar { length: 300 }, 15, vec![0xb0, 4]),
        (K::Text, 252, vec![2]),
        (K::Binary { length: 4 }, 254, vec![254, 4]),
        (K::VarBinary { length: 9 }, 15, vec![9, 0]),
        (K::Blob, 252, vec![4]),
        (K::Enum { members: members() }, 254, vec![247, 1]),
        (K::Set { members: members() }, 254, vec![248, 8]),
        (K::Json, 245, vec![4]),
        (K::Geometry, 255, vec![4]),
        (K::Uuid, 254, vec![254, 16]),
        (K::Inet4, 254, vec![254, 4]),
        (K::Inet6, 254, vec![254, 16]),
    ]
}

fn shape() -> TableShape {
    let columns = columns().into_iter().enumerate();
    let columns = columns.map(|(i, (kind, ..))| ColumnShape {
        name: format!("c{i}"),
        kind,
        column_type: String::new(),
        unsigned: false,
        zerofill: false,
        nullable: true,
        charset: None,
        collation: None,
        auto_increment: false,
    });
    TableShape {
        keyspace: KeyspaceName::new("ks").unwrap(),
        name: TableName::new("t").unwrap(),
        columns: columns.collect(),
        generated: Vec::new(),
        key: vec![0],
        key_kind: KeyKind::Primary,
        key_name: "PRIMARY".to_owned(),
        unique_keys: Vec::new(),
    }
}

fn event(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.push(kind);
    out.extend_from_slice(&7u32.to_le_bytes());
    out.extend_from_slice(&(19 + body.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(body);
    out
}

fn gtid() -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&[0x11; 16]);
    body.extend_from_slice(&5u64.to_le_bytes());
    event(kind::GTID, &body)
}

fn table_map() -> Vec<u8> {
    let columns = columns();
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(b"\x02ks\0\x01t\0");
    body.push(columns.len() as u8);
    body.extend(columns.iter().map(|(_, code, _)| *code));
    let metadata: Vec<u8> = columns.iter().flat_map(|(_, _, m)| m.clone()).collect();
    body.push(metadata.len() as u8);
    body.extend(metadata);
    body.extend(vec![0xff; columns.len().div_ceil(8)]);
    body
}

/// The start of a row event that is about the table, with all columns in it.
fn rows_head(updates: bool) -> Vec<u8> {
    let count = columns().len();
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0, 2, 0, count as u8];
    for _ in 0..=usize::from(updates) {
        body.extend(vec![0xff; count.div_ceil(8)]);
    }
    body
}

fn assembler() -> Assembler {
    let position = Position::parse(FlavorKind::MySql, "").unwrap();
    let keyspace = KeyspaceName::new("ks").unwrap();
    let mut assembler = Assembler::new(keyspace, vec![Arc::new(shape())], position);
    assembler.event(&gtid()).unwrap();
    assembler
        .event(&event(kind::QUERY, &query("BEGIN")))
        .unwrap();
    assembler
        .event(&event(kind::TABLE_MAP, &table_map()))
        .unwrap();
    assembler
}

fn query(statement: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[2, 0, 0, 0, 0]);
    body.extend_from_slice(b"ks\0");
    body.extend_from_slice(statement.as_bytes());
    body
}

/// Bytes of a row in which small lengths are likely, so that much of it is read.
fn row_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0u8), Just(0xff), 0u8..6, any::<u8>()];
    prop::collection::vec(byte, 0..400)
}

proptest! {
    #[test]
    fn any_bytes_are_no_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = assembler().event(&bytes);
    }

    #[test]
    fn any_body_of_any_kind_is_no_more_than_an_error(kind: u8, body in row_bytes()) {
        let mut assembler = assembler();
        let _ = assembler.event(&event(kind, &body));
        // And with the checksums that were never announced.
        let _ = assembler.event(&event(kind, &body));
    }

    #[test]
    fn any_bytes_of_rows_are_rows_or_an_error(
        which in prop::sample::select(vec![kind::WRITE_ROWS, kind::UPDATE_ROWS, kind::DELETE_ROWS]),
        rows in row_bytes(),
    ) {
        let mut body = rows_head(which == kind::UPDATE_ROWS);
        body.extend(rows);
        let _ = assembler().event(&event(which, &body));
    }

    #[test]
    fn a_cut_or_changed_table_map_is_no_more_than_an_error(
        at in 0usize..120, with: u8, cut in 0usize..120,
    ) {
        let mut body = table_map();
        if let Some(byte) = body.get_mut(at) {
            *byte = with;
        }
        body.truncate(body.len() - cut.min(body.len()));
        let _ = assembler().event(&event(kind::TABLE_MAP, &body));
        if let Ok(map) = TableMap::parse(&body) {
            let _ = map.matched(&shape());
        }
    }

    #[test]
    fn any_bytes_of_json_are_text_or_an_error(bytes in row_bytes()) {
        let mut out = Vec::new();
        let _ = jsonb::write_text(&bytes, &mut out);
    }

    #[test]
    fn numbers_of_each_width_are_what_was_logged(number: i64) {
        let mut assembler = assembler();
        let mut body = rows_head(false);
        let count = columns().len();
        // All NULL but the five whole numbers.
        let mut nulls = vec![0xff; count.div_ceil(8)];
        nulls[0] = 0b1110_0000;
        body.extend(nulls);
        for bytes in [1, 2, 3, 4, 8] {
            body.extend_from_slice(&number.to_le_bytes()[..bytes]);
        }
        assembler.event(&event(kind::WRITE_ROWS, &body)).unwrap();
        assembler.event(&event(kind::XID, &[0; 8])).unwrap();
        let Some(SourceEvent::Transaction(transaction)) = assembler.next() else {
            panic!("no transaction");
        };
        let Change::Insert { row, .. } = &transaction.changes[0] else {
            panic!("no insert");
        };
        for (i, bits) in [8, 16, 24, 32, 64].into_iter().enumerate() {
            let wanted = (number << (64 - bits) >> (64 - bits)).to_string();
            prop_assert_eq!(row[i].as_deref(), Some(wanted.as_bytes()));
        }
        prop_assert!(row[5..].iter().all(Option::is_none));
    }
}

#[test]
fn json_whose_values_overlap_is_refused() {
    // An array of two, both of which are the array itself.
    let mut bytes = vec![2, 2, 0, 10, 0];
    bytes.extend_from_slice(&[2, 0, 0, 2, 0, 0]);
    let mut out = Vec::new();
    assert!(jsonb::write_text(&bytes, &mut out).is_err());
    assert!(out.len() < 1000);
}

#[test]
fn an_event_with_a_wrong_checksum_is_told() {
    let mut assembler = assembler();
    // A description that announces checksums: the algorithm, then its own sum.
    let description = event(kind::FORMAT_DESCRIPTION, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assembler.event(&description).unwrap();
    let mut event = event(kind::XID, &[0; 12]);
    let error = assembler.event(&event).unwrap_err();
    assert!(
        matches!(&error, Trouble::Unreadable(why) if why.contains("checksum")),
        "{error:?}"
    );
    let length = event.len();
    let sum = crc32fast::hash(&event[..length - 4]);
    event[length - 4..].copy_from_slice(&sum.to_le_bytes());
    assembler.event(&event).unwrap();
}

/// What a source's transaction does.
#[derive(Debug, Clone)]
enum Deed {
    Row,
    Savepoint(char),
    /// Where there is such a savepoint.
    GoBack(char),
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = || prop::sample::select(vec!['a', 'b', 'c']);
    prop_oneof![
        4 => Just(Deed::Row),
        1 => name().prop_map(Deed::Savepoint),
        1 => name().prop_map(Deed::GoBack),
    ]
}

fn row_of(number: u32) -> Vec<u8> {
    let mut body = rows_head(false);
    let mut nulls = vec![0xff; columns().len().div_ceil(8)];
    nulls[0] = 0b1111_0111;
    body.extend(nulls);
    body.extend_from_slice(&number.to_le_bytes());
    event(kind::WRITE_ROWS, &body)
}

proptest! {
    #[test]
    fn parts_that_are_not_undone_are_what_the_transaction_did(
        deeds in prop::collection::vec(deed(), 0..60), part in 1usize..600, end in 0..3,
    ) {
        let mut assembler = assembler();
        assembler.part = part;
        let mut did: Vec<u32> = Vec::new();
        let mut savepoints: Vec<(char, usize)> = Vec::new();
        for (number, deed) in (0..).zip(deeds) {
            let event = match deed {
                Deed::Row => {
                    did.push(number);
                    row_of(number)
                }
                Deed::Savepoint(name) => {
                    savepoints.retain(|(n, _)| *n != name);
                    savepoints.push((name, did.len()));
                    event(kind::QUERY, &query(&format!("SAVEPOINT `{name}`")))
                }
                Deed::GoBack(name) => {
                    let Some(at) = savepoints.iter().position(|(n, _)| *n == name) else { continue };
                    did.truncate(savepoints[at].1);
                    savepoints.truncate(at + 1);
                    event(kind::QUERY, &query(&format!("ROLLBACK TO `{name}`")))
                }
            };
            assembler.event(&event).unwrap();
        }
        let (end, is_committed) = match end {
            0 => (event(kind::XID, &[0; 8]), true),
            1 => (event(kind::QUERY, &query("ROLLBACK")), false),
            // The server has crashed: its next file begins.
            _ => (event(kind::FORMAT_DESCRIPTION, &[0; 8]), false),
        };
        assembler.event(&end).unwrap();
        if !is_committed {
            did.clear();
        }
        let mut parts: Vec<Vec<Change>> = Vec::new();
        while let Some(event) = assembler.next() {
            match event {
                SourceEvent::Transaction(t) => parts.push(t.changes),
                SourceEvent::Undo { parts: left, .. } => {
                    prop_assert!(left < parts.len());
                    parts.truncate(left);
                }
                other => panic!("{other:?}"),
            }
        }
        let given = parts.concat().into_iter().map(|change| {
            let Change::Insert { row, .. } = change else { panic!("no insert") };
            let text = row[3].clone().unwrap();
            std::str::from_utf8(&text).unwrap().parse::<u32>().unwrap()
        });
        prop_assert_eq!(given.collect::<Vec<_>>(), did);
    }
}
