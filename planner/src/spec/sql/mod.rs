//! Schema files: SQL text into `CREATE TABLE` statements.
//!
//! Only as much is understood as is needed to find names: what a statement means, and whether it
//! is right, the server says. So nothing is refused because our own parser would not know it.

pub mod create_table;
pub mod lexer;

pub use create_table::{Column, CreateTable, Key, read_statements};
