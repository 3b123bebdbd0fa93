//! Bytes on their way in, cut into messages.

use std::ops::Range;

/// What is read at once, if a message needs no more.
const READ: usize = 256 << 10;
/// A buffer that grew beyond this for one message is given back.
const KEEP: usize = 4 << 20;
/// A message's part of this length is followed by another.
const PART: usize = 0xff_ffff;

#[derive(Debug, Default)]
pub(super) struct Inbuf {
    data: Vec<u8>,
    /// What was filled and not yet taken.
    start: usize,
    end: usize,
}

impl Inbuf {
    /// The next message's payload, if all of it is there. It stands until more is filled.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        let first = self.part_at(self.start)?;
        if first.len() < PART {
            self.start = first.end;
            return Some(first);
        }
        // All parts must be there before they are put together.
        let mut parts = vec![first.clone()];
        loop {
            let last = parts.last()?;
            if last.len() < PART {
                break;
            }
            parts.push(self.part_at(last.end)?);
        }
        let mut end = first.end;
        for part in &parts[1..] {
            self.data.copy_within(part.clone(), end);
            end += part.len();
        }
        self.start = parts.last()?.end;
        Some(first.start..end)
    }

    #[inline]
    fn part_at(&self, at: usize) -> Option<Range<usize>> {
        let header = self.data[..self.end].get(at..at + 4)?;
        let length =
            usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        let start = at + 4;
        (start + length <= self.end).then(|| start..start + length)
    }

    #[inline]
    pub(super) fn get(&self, message: Range<usize>) -> &[u8] {
        &self.data[message]
    }

    /// Where more bytes may be put; [`Self::filled`] says then how many were.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && self.data.len() > KEEP {
            self.data = Vec::new();
        }
        if self.data.len() - self.end < READ {
            // Doubled, so that a long message is not copied over and over.
            let length = (self.end + READ).max(2 * self.end);
            self.data.resize(length, 0);
        }
        &mut self.data[self.end..]
    }

    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(message: &[u8], out: &mut Vec<u8>) {
        let mut rest = message;
        loop {
            let part = rest.len().min(PART);
            out.extend_from_slice(&(part as u32).to_le_bytes()[..3]);
            out.push(0);
            out.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
            if part < PART {
                return;
            }
        }
    }

    fn taken(bytes: &[u8], cut: usize) -> Vec<Vec<u8>> {
        let mut buffer = Inbuf::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(cut.max(1)) {
            let mut piece = piece;
            while !piece.is_empty() {
                let room = buffer.room();
                let n = room.len().min(piece.len());
                room[..n].copy_from_slice(&piece[..n]);
                buffer.filled(n);
                piece = &piece[n..];
                while let Some(message) = buffer.next() {
                    messages.push(buffer.get(message).to_vec());
                }
            }
        }
        messages
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_were_sent_however_they_arrive(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1usize..500,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                written(message, &mut bytes);
            }
            prop_assert_eq!(taken(&bytes, cut), messages);
        }
    }

    #[test]
    fn a_message_in_several_parts_is_put_together() {
        for length in [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 7] {
            let message: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut bytes = Vec::new();
            written(&message, &mut bytes);
            written(b"next", &mut bytes);
            let taken = taken(&bytes, 1 << 20);
            assert_eq!(taken.len(), 2);
            assert!(taken[0] == message, "{length}");
            assert_eq!(taken[1], b"next");
        }
    }
}
