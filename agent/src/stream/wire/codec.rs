//! Integers and strings as the protocol and the binlog write them.

use std::fmt;

use super::WireError;

/// Bytes that ended before what was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it ends too early")
    }
}

impl From<Truncated> for WireError {
    fn from(_: Truncated) -> Self {
        Self::Lost("a message ended too early".to_owned())
    }
}

/// Reads from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// `n` bytes (8 at most), the lowest first.
    pub(crate) fn uint(&mut self, n: usize) -> Result<u64, Truncated> {
        let bytes = self.bytes(n)?;
        if n > 8 {
            return Err(Truncated);
        }
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }

    /// `n` bytes (8 at most), the highest first.
    pub(crate) fn uint_be(&mut self, n: usize) -> Result<u64, Truncated> {
        let bytes = self.bytes(n)?;
        if n > 8 {
            return Err(Truncated);
        }
        Ok(bytes.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }

    pub(crate) fn nul_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(Truncated)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    pub(crate) fn lenenc(&mut self) -> Result<u64, Truncated> {
        match self.u8()? {
            0xfc => self.uint(2),
            0xfd => self.uint(3),
            0xfe => self.uint(8),
            0xfb | 0xff => Err(Truncated),
            small => Ok(u64::from(small)),
        }
    }

    /// A text that may be NULL.
    #[inline]
    pub(crate) fn lenenc_text(&mut self) -> Result<Option<&'a [u8]>, Truncated> {
        let length = match *self.rest.first().ok_or(Truncated)? {
            0xfb => {
                self.rest = &self.rest[1..];
                return Ok(None);
            }
            small if small < 0xfb => {
                self.rest = &self.rest[1..];
                usize::from(small)
            }
            _ => usize::try_from(self.lenenc()?).map_err(|_| Truncated)?,
        };
        self.bytes(length).map(Some)
    }
}
