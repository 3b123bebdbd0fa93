//! What makes rows of a table movable at all: columns that are the same on both sides, a key that
//! names each row, and changes that the binlog shows. What streams would refuse on their way is refused
//! before the first step.

use vtplan_state::model::{KeyspaceName, TableName, VSchemaKeyspace};

use super::columns;
use crate::live::ObservedTable;
use crate::passes::draft::Draft;
use crate::passes::foreign_keys;

pub(super) fn refuse_other_columns(draft: &mut Draft, object: &str, found: &[String]) {
    draft.error(
        "columns-differ",
        object,
        format!(
            "its rows do not fit into the table that the spec has: {}",
            found.join("; ")
        ),
        "move the table as it is, and change it afterwards: columns and primary key have to be \
         the same in the schema file (`AUTO_INCREMENT` may go or come)",
    );
}

/// Rows that nothing names cannot be followed.
pub(super) fn check_key(draft: &mut Draft, object: &str, table: &ObservedTable) -> bool {
    let has = columns::has_row_key(&table.definition);
    if !has {
        draft.error(
            "no-row-key",
            object,
            "the table has neither a primary key nor a unique one over columns that are NOT NULL and \
             not generated, so a row of it cannot be told from another and it cannot be moved while \
             it is in use",
            "give it a primary key",
        );
    }
    has
}

/// A server that follows a foreign key by itself says nothing of it in the binlog, and no trigger
/// runs: neither a stream nor a fence would see these changes. `statement`: a table as a server or as
/// the spec has it.
pub(super) fn refuse_cascades(draft: &mut Draft, object: &str, statement: &str) -> bool {
    let mut sound = true;
    for key in foreign_keys::foreign_keys(statement) {
        if key.cascades.is_empty() {
            continue;
        }
        sound = false;
        let name = key.name.map_or(String::new(), |name| format!(" `{name}`"));
        draft.error(
            "cascading-foreign-key",
            object,
            format!(
                "its foreign key{name} to `{}` says {}: what the server changes by itself for a \
                 foreign key is not in its binlog, so that the other side would not get it while \
                 the table moves",
                key.parent,
                key.cascades.join(" and ")
            ),
            "replace it by one without these actions (`ALTER TABLE ... DROP FOREIGN KEY ..., ADD \
             ...`, through a gate) and in the schema file, and let the application change the \
             child rows; after the move it can be put back",
        );
    }
    sound
}

/// A note where a row may have no place on a shard of the VSchema by which rows come to be placed.
pub(super) fn note_nullable_vindex(
    draft: &mut Draft,
    keyspace: &KeyspaceName,
    vschema: &VSchemaKeyspace,
    table: &TableName,
    seen: &ObservedTable,
) {
    let entry = vschema
        .tables
        .get(table.as_str())
        .filter(|_| vschema.sharded);
    let Some(primary) = entry.and_then(|entry| entry.column_vindexes.first()) else {
        return;
    };
    let vindex = vschema.vindexes.get(&primary.name);
    if vindex.is_some_and(|vindex| vindex.vindex_type == "null") {
        return;
    }
    for column in primary.column_names() {
        if columns::is_nullable(&seen.definition, column) == Some(true) {
            draft.note(
                format!("{keyspace}.{table}"),
                format!(
                    "`{column}`, by which the table is sharded, may be NULL, and no shard is the \
                     place of a row where it is: such rows stop the copy. Look for them first, and \
                     make the column NOT NULL"
                ),
            );
        }
    }
}
