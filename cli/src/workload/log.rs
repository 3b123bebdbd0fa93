//! The lines of a query log: plain statements, one a line, or MySQL's and MariaDB's general query log,
//! which is told by its lines. A statement `USE x` changes the keyspace of what follows, in a general log
//! of what follows on its connection.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use vtplan_gate::plan::{Prints, SqlModes, Target, split_statements};

use super::{Found, Workload};

/// The longest line that is read, bytes.
const MAX_LINE: usize = 1 << 20;

/// How many prints of statements are remembered to know their kinds again, and their bytes.
const MAX_PRINTS: usize = 200_000;
const MAX_PRINT_BYTES: usize = 128 << 20;

/// Reads a log to its end.
///
/// # Errors
/// What the reader says.
pub fn read(reader: &mut dyn BufRead, target: Target, workload: &mut Workload) -> io::Result<()> {
    let mut log = Log {
        workload,
        known: Known::default(),
        first: target.clone(),
        target,
        connections: HashMap::new(),
        pending: None,
    };
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        if reader
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)?
            == 0
        {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() > MAX_LINE {
            skip_line(reader)?;
            let why = format!("the line is longer than {} MiB", MAX_LINE >> 20);
            log.workload.unreadable(1, Some(number), why, &line);
            continue;
        }
        log.line(&line, number);
    }
    log.end_pending();
    Ok(())
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|b| *b == b'\n');
        let (length, done) = match end {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(length);
        if done {
            return Ok(());
        }
    }
}

/// Kinds by the prints of statements, which are made faster than names.
#[derive(Default)]
struct Known {
    prints: Prints,
    of: HashMap<Target, HashMap<Box<[u8]>, Found>>,
    number: usize,
    bytes: usize,
}

impl Known {
    fn find(&mut self, workload: &mut Workload, target: &Target, sql: &[u8]) -> Found {
        let print = self.prints.of(sql, SqlModes::default());
        if let Some(found) = self.of.get(target).and_then(|of| of.get(print)) {
            return *found;
        }
        let print: Box<[u8]> = print.into();
        let found = workload.find(target, sql, None);
        let fits = self.number < MAX_PRINTS && self.bytes + print.len() <= MAX_PRINT_BYTES;
        if fits && !self.prints.is_unclear() {
            self.number += 1;
            self.bytes += print.len();
            let of = self.of.entry(target.clone()).or_default();
            of.insert(print, found);
        }
        found
    }
}

struct Log<'a> {
    workload: &'a mut Workload,
    known: Known,
    /// Where connections begin.
    first: Target,
    /// Of a plain log.
    target: Target,
    /// Of a general log.
    connections: HashMap<u64, Target>,
    /// A statement of a general log, which goes on until the next event.
    pending: Option<Pending>,
}

struct Pending {
    connection: u64,
    line: u64,
    sql: Vec<u8>,
}

impl Log<'_> {
    fn line(&mut self, line: &[u8], number: u64) {
        if let Some(event) = Event::of(line) {
            self.end_pending();
            self.event(&event, number);
            return;
        }
        if let Some(pending) = &mut self.pending {
            if pending.sql.len() + line.len() < MAX_LINE {
                pending.sql.push(b'\n');
                pending.sql.extend_from_slice(line);
            }
            return;
        }
        if is_head(line) {
            return;
        }
        let mut target = self.target.clone();
        self.statements(line, &mut target, number);
        self.target = target;
    }

    fn event(&mut self, event: &Event<'_>, line: u64) {
        let first = || self.first.clone();
        match event.command {
            "Query" | "Execute" => {
                self.pending = Some(Pending {
                    connection: event.connection,
                    line,
                    sql: event.argument.to_vec(),
                });
            }
            "Init DB" => {
                let name = String::from_utf8_lossy(event.argument.trim_ascii());
                if let Ok(target) = name.parse() {
                    self.connections.insert(event.connection, target);
                }
            }
            "Connect" => {
                // `app@localhost on customer using Socket`
                let text = String::from_utf8_lossy(event.argument);
                let name = text.split(" on ").nth(1);
                let name = name.and_then(|rest| rest.split_whitespace().next());
                let target = name.filter(|n| *n != "using").and_then(|n| n.parse().ok());
                let target = target.unwrap_or_else(first);
                self.connections.insert(event.connection, target);
            }
            "Quit" => {
                self.connections.remove(&event.connection);
            }
            // What is prepared is counted when it is executed.
            _ => {}
        }
    }

    fn end_pending(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let known = self.connections.get(&pending.connection);
        let mut target = known.unwrap_or(&self.first).clone();
        self.statements(&pending.sql, &mut target, pending.line);
        self.connections.insert(pending.connection, target);
    }

    fn statements(&mut self, text: &[u8], target: &mut Target, line: u64) {
        let text = text.trim_ascii();
        let body = text.strip_suffix(b";").unwrap_or(text);
        if body.contains(&b';') {
            for part in split_statements(text, SqlModes::default()) {
                self.statement(part, target, line);
            }
        } else if !body.is_empty() {
            self.statement(body, target, line);
        }
    }

    fn statement(&mut self, sql: &[u8], target: &mut Target, line: u64) {
        let found = self.known.find(self.workload, target, sql);
        self.workload.count(found, 1, Some(line), sql);
        if let Some(new) = used(sql) {
            *target = new;
        }
    }
}

/// Where a `USE` leads.
fn used(sql: &[u8]) -> Option<Target> {
    let sql = sql.trim_ascii();
    let (word, rest) = sql.split_at_checked(3)?;
    if !word.eq_ignore_ascii_case(b"USE") || !rest.first()?.is_ascii_whitespace() {
        return None;
    }
    let name = std::str::from_utf8(rest).ok()?;
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == ';' || c == '`');
    name.parse().ok()
}

/// Lines above a general log.
fn is_head(line: &[u8]) -> bool {
    line.starts_with(b"Tcp port: ")
        || line.starts_with(b"Time ") && line.windows(2).any(|w| w == b"Id")
        || line
            .windows(15)
            .any(|w| w == b"started with:\r\n" || w == b". started with:")
}

/// A line of a general log with which something begins.
struct Event<'a> {
    connection: u64,
    command: &'a str,
    argument: &'a [u8],
}

const COMMANDS: [&str; 16] = [
    "Query",
    "Execute",
    "Prepare",
    "Init DB",
    "Connect",
    "Quit",
    "Close stmt",
    "Reset stmt",
    "Long Data",
    "Field List",
    "Statistics",
    "Ping",
    "Change user",
    "Reset Connection",
    "Set option",
    "Fetch",
];

impl<'a> Event<'a> {
    /// `TIME \t ID COMMAND \t ARGUMENT`; MariaDB leaves the time away where it is that of the line before.
    fn of(line: &'a [u8]) -> Option<Self> {
        if !matches!(line.first(), Some(b'\t' | b'0'..=b'9')) {
            return None;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut start = 0;
        for _ in 0..3 {
            let length = line[start..].iter().position(|b| *b == b'\t');
            let end = length.map_or(line.len(), |n| start + n);
            let field = std::str::from_utf8(&line[start..end]).unwrap_or_default();
            if let Some((id, command)) = field.trim_start().split_once(' ')
                && let Ok(connection) = id.parse()
                && let Some(command) = COMMANDS.iter().find(|c| **c == command.trim())
            {
                return Some(Self {
                    connection,
                    command,
                    argument: line.get(end + 1..).unwrap_or_default(),
                });
            }
            if end == line.len() {
                return None;
            }
            start = end + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &[u8]) -> (Vec<(String, String, u64)>, Workload) {
        let mut workload = Workload::default();
        read(&mut &text[..], Target::default(), &mut workload).expect("memory is read");
        let kinds = workload.kinds.iter();
        let kinds = kinds.map(|k| (k.target.to_string(), k.statement.clone(), k.count));
        (kinds.collect(), workload)
    }

    fn kind(target: &str, statement: &str, count: u64) -> (String, String, u64) {
        (target.to_owned(), statement.to_owned(), count)
    }

    #[test]
    fn statements_of_a_plain_log_are_counted_by_kind_and_keyspace() {
        let text = b"select * from t where id = 1;\n\
            -- a comment\n# another\n\n\
            SELECT 1\r\n\
            select  *  from t where id=22\n\
            use `shop`;\n\
            select * from t where id = 3 ; update t set a = 'x;y' where id = 4;\n\
            select * from t where id = 5";
        let (kinds, workload) = kinds(text);
        assert_eq!(
            kinds,
            [
                kind("", "select * from t where id = ?", 2),
                kind("", "SELECT ?", 1),
                kind("", "use `shop`", 1),
                kind("shop", "select * from t where id = ?", 2),
                kind("shop", "update t set a = '?' where id = ?", 1),
            ]
        );
        assert_eq!((workload.unread, workload.left_out), (0, 0));
    }

    #[test]
    fn what_is_no_statement_is_counted_and_listed_without_values() {
        let long = [
            b"select 1, '",
            "x".repeat(2 << 20).as_bytes(),
            b"'\nselect 2\n",
        ]
        .concat();
        let (kinds, workload) = kinds(
            &[
                &b"hello secret1\nselect 'cut off\n\x7fELF\0\x01\x02\n"[..],
                &long,
            ]
            .concat(),
        );
        assert_eq!(kinds, [kind("", "select ?", 1)]);
        assert_eq!(workload.unread, 4);
        let samples: Vec<_> = workload
            .unread_samples
            .iter()
            .map(|u| (u.line, u.why.as_str(), u.text.as_str()))
            .collect();
        assert_eq!(
            samples,
            [
                (
                    Some(1),
                    "it does not begin as an SQL statement does",
                    "hello"
                ),
                (Some(2), "a string, name or comment has no end", "select"),
                (Some(3), "it holds bytes that are no text", ""),
                (Some(4), "the line is longer than 1 MiB", "select"),
            ]
        );
    }

    #[test]
    fn general_logs_of_both_servers_are_read_by_connection() {
        let mysql = b"/usr/sbin/mysqld, Version: 8.0.36 (MySQL). started with:\n\
            Tcp port: 3306  Unix socket: /tmp/mysql.sock\n\
            Time                 Id Command    Argument\n\
            2024-05-01T10:00:00.000001Z\t    8 Connect\tapp@localhost on shop using Socket\n\
            2024-05-01T10:00:00.000002Z\t    9 Connect\tapp@localhost on  using Socket\n\
            2024-05-01T10:00:00.000003Z\t    8 Query\tselect *\nfrom t\nwhere id = 7\n\
            2024-05-01T10:00:00.000004Z\t    9 Init DB\tother\n\
            2024-05-01T10:00:00.000005Z\t    9 Query\tselect 1\n\
            2024-05-01T10:00:00.000006Z\t    8 Prepare\tselect ?\n\
            2024-05-01T10:00:00.000007Z\t    8 Execute\tselect 5\n\
            2024-05-01T10:00:00.000008Z\t    8 Quit\t\n";
        let (kinds_of_mysql, workload) = kinds(mysql);
        assert_eq!(
            kinds_of_mysql,
            [
                kind("shop", "select * from t where id = ?", 1),
                kind("other", "select ?", 1),
                kind("shop", "select ?", 1),
            ]
        );
        assert_eq!(workload.unread, 0);
        let maria = b"240501 10:00:00\t     3 Connect\tapp@localhost on shop using Socket\n\
            \t\t     3 Query\tselect 1\n\
            240501 10:00:01\t     3 Query\tselect 2\n";
        assert_eq!(kinds(maria).0, [kind("shop", "select ?", 2)]);
    }
}
