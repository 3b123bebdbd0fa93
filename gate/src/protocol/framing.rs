//! Packets: a 3-byte length, a sequence number, a payload. A message longer than
//! [`MAX_PACKET`] goes over several packets; the last one is shorter.

use std::cell::RefCell;
use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::constants::MAX_PACKET;
use super::error::SqlError;

pub const HEADER: usize = 4;

/// How much is read at once. Also what an active connection's buffer takes.
pub const CHUNK: usize = 16 * 1024;

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum FramingError {
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("packets came out of order")]
    OutOfOrder,
    #[error("a message is longer than the {0} bytes allowed")]
    TooLarge(usize),
}

impl FramingError {
    /// What the other side is told, where it still can be.
    pub fn for_client(&self) -> Option<SqlError> {
        match self {
            Self::OutOfOrder => Some(SqlError::out_of_order()),
            Self::TooLarge(limit) => Some(SqlError::too_large(*limit)),
            Self::Closed | Self::Io(_) => None,
        }
    }
}

/// One message. Held as it came when it was one packet, so that it can be sent on unchanged.
#[derive(Debug)]
pub struct Message {
    /// Header and payload; the header means nothing when `joined`.
    wire: BytesMut,
    joined: bool,
}

impl Message {
    pub fn payload(&self) -> &[u8] {
        &self.wire[HEADER..]
    }

    /// Appends the message as packets that begin with sequence number 0.
    pub fn put_command(&self, out: &mut Vec<u8>) {
        if self.joined || self.wire[3] != 0 {
            put_message(out, &mut 0, self.payload());
        } else {
            out.extend_from_slice(&self.wire);
        }
    }

    /// The bytes to send as a command, when they are one packet as it came.
    pub fn as_command(&self) -> Option<&[u8]> {
        (!self.joined && self.wire[3] == 0).then_some(&self.wire)
    }
}

/// Length of the payload of the packet that `buf` begins with.
pub fn payload_length(buf: &[u8]) -> usize {
    usize::from(buf[0]) | usize::from(buf[1]) << 8 | usize::from(buf[2]) << 16
}

/// Takes a message off `buf` if it holds a whole one. `sequence` is the number expected of its
/// first packet and becomes that of the packet after it (also when it is refused: the answer's).
pub fn take_message(
    buf: &mut BytesMut,
    sequence: &mut u8,
    limit: usize,
) -> Result<Option<Message>, FramingError> {
    let (mut at, mut total, mut next) = (0, 0, *sequence);
    loop {
        let Some(header) = buf.get(at..at + HEADER) else {
            // Large messages arrive in many reads: make room for the next one at once.
            return Ok(None);
        };
        let length = payload_length(header);
        if header[3] != next {
            *sequence = header[3].wrapping_add(1);
            return Err(FramingError::OutOfOrder);
        }
        total += length;
        if total > limit {
            *sequence = next.wrapping_add(1);
            return Err(FramingError::TooLarge(limit));
        }
        next = next.wrapping_add(1);
        if buf.len() < at + HEADER + length {
            return Ok(None);
        }
        at += HEADER + length;
        if length < MAX_PACKET {
            break;
        }
    }
    *sequence = next;
    let mut wire = buf.split_to(at);
    let joined = total >= MAX_PACKET;
    if joined {
        let mut whole = BytesMut::with_capacity(HEADER + total);
        whole.extend_from_slice(&wire[..HEADER]);
        while !wire.is_empty() {
            let length = payload_length(&wire);
            whole.extend_from_slice(&wire[HEADER..HEADER + length]);
            wire.advance(HEADER + length);
        }
        wire = whole;
    }
    Ok(Some(Message { wire, joined }))
}

/// Reads some more bytes, at least one.
pub async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
) -> Result<(), FramingError> {
    if buf.capacity() - buf.len() < CHUNK / 4 {
        // The rest of a long packet is read in large pieces.
        let wanted = if buf.len() >= HEADER {
            (HEADER + payload_length(buf)).saturating_sub(buf.len())
        } else {
            0
        };
        buf.reserve(wanted.clamp(CHUNK, 1 << 20));
    }
    match stream.read_buf(buf).await? {
        0 => Err(FramingError::Closed),
        _ => Ok(()),
    }
}

/// Waits for a whole message. See [`take_message`].
pub async fn read_message<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
    sequence: &mut u8,
    limit: usize,
) -> Result<Message, FramingError> {
    loop {
        if let Some(message) = take_message(buf, sequence, limit)? {
            return Ok(message);
        }
        read_more(stream, buf).await?;
    }
}

/// Reads one packet and not a byte more, as is needed before the stream turns to TLS.
pub async fn read_exact_packet<S: AsyncRead + Unpin>(
    stream: &mut S,
    sequence: &mut u8,
    limit: usize,
) -> Result<Vec<u8>, FramingError> {
    let closed = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => FramingError::Closed,
        _ => FramingError::Io(e),
    };
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await.map_err(closed)?;
    let length = payload_length(&header);
    if header[3] != *sequence {
        return Err(FramingError::OutOfOrder);
    }
    if length > limit {
        return Err(FramingError::TooLarge(limit));
    }
    *sequence = sequence.wrapping_add(1);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.map_err(closed)?;
    Ok(payload)
}

/// Appends a message as packets from sequence number `sequence` on, which is moved past them.
pub fn put_message(out: &mut Vec<u8>, sequence: &mut u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (part, tail) = rest.split_at(rest.len().min(MAX_PACKET));
        out.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
        out.push(*sequence);
        *sequence = sequence.wrapping_add(1);
        out.extend_from_slice(part);
        rest = tail;
        if part.len() < MAX_PACKET {
            return;
        }
    }
}

/// Appends a message whose payload `write` appends: short ones need no copy.
pub fn put_with(out: &mut Vec<u8>, sequence: &mut u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    write(out);
    let length = out.len() - start - HEADER;
    if length >= MAX_PACKET {
        let payload = out.split_off(start + HEADER);
        out.truncate(start);
        put_message(out, sequence, &payload);
        return;
    }
    out[start..start + 3].copy_from_slice(&(length as u32).to_le_bytes()[..3]);
    out[start + 3] = *sequence;
    *sequence = sequence.wrapping_add(1);
}

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// How many unused buffers each thread keeps.
const SPARES: usize = 64;

/// A buffer of [`CHUNK`] bytes. Idle connections hold none: they take one when bytes come.
pub fn take_buffer() -> BytesMut {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| BytesMut::with_capacity(CHUNK))
}

/// Gives a buffer back. One that grew is freed.
pub fn give_buffer(mut buf: BytesMut) {
    buf.clear();
    if (buf.capacity() >= CHUNK || buf.try_reclaim(CHUNK)) && buf.capacity() <= 4 * CHUNK {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARES {
                spare.push(buf);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64 << 20;

    #[test]
    fn messages_around_16_mib_are_split_and_joined() {
        for length in [
            0,
            1,
            MAX_PACKET - 1,
            MAX_PACKET,
            MAX_PACKET + 1,
            2 * MAX_PACKET,
        ] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let (mut out, mut seq) = (Vec::new(), 3);
            put_message(&mut out, &mut seq, &payload);
            assert_eq!(usize::from(seq), 3 + 1 + length / MAX_PACKET);
            let (mut buf, mut seq) = (BytesMut::from(out.as_slice()), 3);
            let message = take_message(&mut buf, &mut seq, LIMIT).unwrap().unwrap();
            assert!(message.payload() == payload);
            assert!(buf.is_empty());
            let mut command = Vec::new();
            message.put_command(&mut command);
            let (mut expected, mut seq) = (Vec::new(), 0);
            put_message(&mut expected, &mut seq, &payload);
            assert!(command == expected);
            let mut with = Vec::new();
            put_with(&mut with, &mut 0, |out| out.extend_from_slice(&payload));
            assert!(with == expected);
        }
    }

    #[test]
    fn a_long_message_and_a_wrong_sequence_number_are_refused() {
        let mut out = Vec::new();
        put_message(&mut out, &mut 0, &[7; 100]);
        // Refused as soon as the header is there: no memory is spent on it.
        let mut buf = BytesMut::from(&out[..5]);
        let too_large = take_message(&mut buf, &mut 0, 99);
        assert!(matches!(too_large, Err(FramingError::TooLarge(99))));
        let mut buf = BytesMut::from(&out[..]);
        let disorder = take_message(&mut buf, &mut 1, 100);
        assert!(matches!(disorder, Err(FramingError::OutOfOrder)));
    }

    proptest! {
        #[test]
        fn a_message_is_taken_when_its_last_byte_is_there(payload: Vec<u8>, after: Vec<u8>) {
            let mut out = Vec::new();
            put_message(&mut out, &mut 0, &payload);
            for end in 0..out.len() {
                let mut buf = BytesMut::from(&out[..end]);
                prop_assert!(take_message(&mut buf, &mut 0, LIMIT).unwrap().is_none());
            }
            let mut buf = BytesMut::from(out.as_slice());
            buf.extend_from_slice(&after);
            let message = take_message(&mut buf, &mut 0, LIMIT).unwrap().unwrap();
            prop_assert_eq!(message.payload(), payload.as_slice());
            prop_assert_eq!(&buf[..], after.as_slice());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, sequence: u8) {
            let mut buf = BytesMut::from(bytes.as_slice());
            let _ = take_message(&mut buf, &mut { sequence }, 1000);
        }
    }
}
