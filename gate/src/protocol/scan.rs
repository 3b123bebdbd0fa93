//! Finds the end of a server's answer in the bytes that are passed through, without decoding rows:
//! only packet headers, the first packet and the closing one are looked at.

use super::codec::Reader;
use super::constants::{MAX_PACKET, status};
use super::error::SqlError;
use super::framing::{HEADER, payload_length};
use super::messages::{OkPacket, parse_error};

/// What an answer said, as far as it concerns the session.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// From the last OK or EOF packet.
    pub ok: OkPacket,
    /// The ERR packet that ended it. It has been passed on like everything else.
    pub error: Option<SqlError>,
    /// Rows of the last result set; `None` when the last answer was an OK packet.
    pub rows: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// An OK, an ERR or the number of columns comes.
    First,
    Columns(u64),
    /// The EOF packet after the columns.
    ColumnsEnd,
    Rows,
    Done,
}

/// A server's answer that makes no sense: the connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("the server's answer is malformed")]
    Malformed,
    #[error(
        "LOAD DATA LOCAL INFILE is not supported by vtplan's gate; use LOAD DATA INFILE or INSERT"
    )]
    LocalInfile,
}

/// Follows one answer over as many reads as it takes.
#[derive(Debug)]
pub struct Scanner {
    phase: Phase,
    deprecate_eof: bool,
    /// The sequence number that the answer's first packet must have for the client.
    first: u8,
    /// Added to each packet's sequence number; known when the first has come.
    shift: Option<u8>,
    /// More statements of a multi-statement follow: the closing packet must say so.
    more_follow: bool,
    /// Payload bytes of the current packet still to come.
    skip: usize,
    /// The current packet goes on in the next one.
    continued: bool,
    /// The number that the packet after the answer has.
    next_sequence: u8,
    answer: Answer,
}

impl Scanner {
    pub fn new(deprecate_eof: bool, first: u8, more_follow: bool) -> Self {
        Self {
            phase: Phase::First,
            deprecate_eof,
            first,
            shift: None,
            more_follow,
            skip: 0,
            continued: false,
            next_sequence: first,
            answer: Answer::default(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    pub fn next_sequence(&self) -> u8 {
        self.next_sequence
    }

    pub fn into_answer(self) -> Answer {
        self.answer
    }

    /// Looks at bytes that came and were not consumed before; changes sequence numbers and flags
    /// in place where asked to. Returns how many may be passed on now; the others must be given
    /// again, with more behind them.
    pub fn feed(&mut self, data: &mut [u8]) -> Result<usize, ScanError> {
        let mut at = 0;
        while self.phase != Phase::Done {
            if self.skip > 0 {
                let taken = self.skip.min(data.len() - at);
                at += taken;
                self.skip -= taken;
                if self.skip > 0 {
                    break;
                }
                continue;
            }
            let rest = &mut data[at..];
            // A header, and the byte that tells what the packet is (none: an empty one).
            if rest.len() < HEADER {
                break;
            }
            let length = payload_length(rest);
            if rest.len() == HEADER && length > 0 {
                break;
            }
            let kind = if length > 0 { rest[HEADER] } else { 0 };
            let special = !self.continued
                && match self.phase {
                    Phase::First | Phase::ColumnsEnd => true,
                    Phase::Columns(_) => kind == 0xff,
                    Phase::Rows => (kind == 0xfe && length < MAX_PACKET) || kind == 0xff,
                    Phase::Done => false,
                };
            if special && rest.len() < HEADER + length.min(MAX_PACKET - 1) {
                // All of it is needed. It is short, or else an error message.
                break;
            }
            let shift = *self
                .shift
                .get_or_insert_with(|| self.first.wrapping_sub(rest[3]));
            rest[3] = rest[3].wrapping_add(shift);
            self.next_sequence = rest[3].wrapping_add(1);
            if special {
                self.special(kind, &mut rest[HEADER..HEADER + length])?;
                at += HEADER + length;
                continue;
            }
            if !self.continued {
                match &mut self.phase {
                    Phase::Columns(left) => {
                        *left -= 1;
                        if *left == 0 {
                            self.phase = if self.deprecate_eof {
                                Phase::Rows
                            } else {
                                Phase::ColumnsEnd
                            };
                        }
                    }
                    Phase::Rows => {
                        if let Some(rows) = &mut self.answer.rows {
                            *rows += 1;
                        }
                    }
                    _ => {}
                }
            }
            self.continued = length == MAX_PACKET;
            self.skip = length;
            at += HEADER;
        }
        Ok(at)
    }

    /// A packet that changes the phase.
    fn special(&mut self, kind: u8, payload: &mut [u8]) -> Result<(), ScanError> {
        match (self.phase, kind) {
            (_, 0xff) => {
                self.answer.error = Some(parse_error(payload));
                self.phase = Phase::Done;
            }
            (Phase::First, 0x00) => {
                self.answer.rows = None;
                self.end(payload, false)?;
            }
            (Phase::First, 0xfb) => return Err(ScanError::LocalInfile),
            (Phase::First, _) => {
                let mut reader = Reader::new(payload);
                let columns = reader.lenenc().map_err(|_| ScanError::Malformed)?;
                if columns == 0 {
                    return Err(ScanError::Malformed);
                }
                self.answer.rows = Some(0);
                self.phase = Phase::Columns(columns);
            }
            (Phase::ColumnsEnd, 0xfe) => self.phase = Phase::Rows,
            (Phase::Rows, 0xfe) => self.end(payload, !self.deprecate_eof)?,
            _ => return Err(ScanError::Malformed),
        }
        Ok(())
    }

    /// An OK or EOF packet that ends a result.
    fn end(&mut self, payload: &mut [u8], eof: bool) -> Result<(), ScanError> {
        let at = if eof {
            3
        } else {
            let mut reader = Reader::new(payload);
            let head = reader
                .u8()
                .and_then(|_| reader.lenenc())
                .and_then(|_| reader.lenenc());
            head.map_err(|_| ScanError::Malformed)?;
            payload.len() - reader.rest().len()
        };
        let Some(bytes) = payload.get(at..at + 2) else {
            return Err(ScanError::Malformed);
        };
        let flags = u16::from_le_bytes([bytes[0], bytes[1]]);
        self.answer.ok = if eof {
            OkPacket {
                status: flags,
                warnings: u16::from_le_bytes([payload[1], payload[2]]),
                ..OkPacket::default()
            }
        } else {
            OkPacket::parse(payload).map_err(|_| ScanError::Malformed)?
        };
        if flags & status::MORE_RESULTS_EXISTS != 0 {
            self.phase = Phase::First;
            return Ok(());
        }
        if self.more_follow {
            let flags = flags | status::MORE_RESULTS_EXISTS;
            payload[at..at + 2].copy_from_slice(&flags.to_le_bytes());
        }
        self.phase = Phase::Done;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::constants::caps;
    use super::super::framing::{put_message, put_with};
    use super::super::messages::{Rows, put_error, put_ok};
    use super::*;

    fn result(capabilities: u32, count: usize, status: u16) -> Vec<u8> {
        let mut rows = Rows::text(&["a", "b"]);
        rows.rows = vec![vec![Some("x".repeat(300)), None]; count];
        let end = OkPacket {
            status,
            warnings: 2,
            ..OkPacket::default()
        };
        let mut out = Vec::new();
        rows.put(&mut out, &mut 1, capabilities, false, &end);
        out
    }

    /// Feeds `data` in pieces of `step` bytes; returns what was passed on and the scanner.
    fn run(mut scanner: Scanner, data: &[u8], step: usize) -> (Vec<u8>, Scanner) {
        let (mut passed, mut held) = (Vec::new(), Vec::new());
        for piece in data.chunks(step) {
            held.extend_from_slice(piece);
            let used = scanner.feed(&mut held).unwrap();
            passed.extend(held.drain(..used));
        }
        (passed, scanner)
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_the_bytes_are_cut(
            deprecate: bool, count in 0usize..20, step in 1usize..400, tail: Vec<u8>,
        ) {
            let capabilities = if deprecate { caps::DEPRECATE_EOF } else { 0 };
            let whole = result(capabilities, count, status::AUTOCOMMIT);
            let mut data = whole.clone();
            data.extend_from_slice(&tail);
            let (passed, scanner) = run(Scanner::new(deprecate, 1, false), &data, step);
            prop_assert!(scanner.is_done());
            prop_assert_eq!(passed, whole);
            let answer = scanner.into_answer();
            prop_assert_eq!(answer.rows, Some(count as u64));
            prop_assert_eq!(answer.ok.warnings, 2);
            prop_assert_eq!(answer.ok.status, status::AUTOCOMMIT);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, deprecate: bool) {
            let _ = Scanner::new(deprecate, 1, true).feed(&mut bytes);
        }
    }

    #[test]
    fn results_of_a_call_are_followed_to_the_last() {
        let mut data = result(0, 2, status::MORE_RESULTS_EXISTS);
        put_ok(
            &mut data,
            &mut 9,
            &OkPacket {
                affected_rows: 5,
                ..OkPacket::default()
            },
        );
        let (passed, scanner) = run(Scanner::new(false, 1, false), &data, 7);
        assert_eq!(passed, data);
        let answer = scanner.into_answer();
        assert_eq!((answer.rows, answer.ok.affected_rows), (None, 5));
    }

    #[test]
    fn an_error_within_rows_ends_the_answer() {
        let whole = result(caps::DEPRECATE_EOF, 3, 0);
        // Without the closing packet (header, 0xfe, two lengths, status, warnings).
        let mut data = whole[..whole.len() - 11].to_vec();
        let error = SqlError::new(1317, b"70100", "interrupted");
        put_error(&mut data, &mut 6, &error);
        let (_, scanner) = run(Scanner::new(true, 1, false), &data, 50);
        assert!(scanner.is_done());
        let answer = scanner.into_answer();
        assert_eq!((answer.rows, answer.error), (Some(3), Some(error)));
    }

    #[test]
    fn sequence_numbers_and_the_flag_of_more_results_are_changed_in_place() {
        let mut data = Vec::new();
        put_ok(&mut data, &mut 1, &OkPacket::default());
        let mut scanner = Scanner::new(true, 5, true);
        assert_eq!(scanner.feed(&mut data).unwrap(), data.len());
        assert_eq!((data[3], scanner.next_sequence()), (5, 6));
        let ok = OkPacket::parse(&data[HEADER..]).unwrap();
        assert_eq!(ok.status, status::MORE_RESULTS_EXISTS);
    }

    #[test]
    fn a_row_of_16_mib_that_goes_on_in_a_next_packet_is_one_row() {
        let mut data = Vec::new();
        let mut seq = 1;
        put_with(&mut data, &mut seq, |out| out.push(1));
        put_message(&mut data, &mut seq, b"column");
        put_message(&mut data, &mut seq, &vec![0xfe; MAX_PACKET + 10]);
        super::super::messages::put_rows_end(
            &mut data,
            &mut seq,
            caps::DEPRECATE_EOF,
            &OkPacket::default(),
        );
        let (passed, scanner) = run(Scanner::new(true, 1, false), &data, 1 << 20);
        assert!(passed == data && scanner.is_done());
        assert_eq!(scanner.into_answer().rows, Some(1));
    }

    #[test]
    fn local_infile_is_refused() {
        let mut data = Vec::new();
        put_message(&mut data, &mut 1, b"\xfb/etc/passwd");
        let result = Scanner::new(true, 1, false).feed(&mut data);
        assert_eq!(result, Err(ScanError::LocalInfile));
    }
}
