//! The answer to `COM_STMT_PREPARE`.

use super::codec::{Reader, Truncated};

/// The first packet of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareOk {
    pub statement_id: u32,
    pub columns: u16,
    pub params: u16,
    pub warnings: u16,
}

impl PrepareOk {
    pub fn parse(payload: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != 0 {
            return Err(Truncated);
        }
        let (statement_id, columns, params) = (reader.u32()?, reader.u16()?, reader.u16()?);
        reader.u8()?;
        Ok(Self {
            statement_id,
            columns,
            params,
            warnings: reader.u16().unwrap_or_default(),
        })
    }

    pub fn put_payload(&self, out: &mut Vec<u8>) {
        out.push(0);
        out.extend_from_slice(&self.statement_id.to_le_bytes());
        out.extend_from_slice(&self.columns.to_le_bytes());
        out.extend_from_slice(&self.params.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&self.warnings.to_le_bytes());
    }

    /// How many packets follow this one.
    pub fn packets_after(&self, deprecate_eof: bool) -> usize {
        let group = |count: u16| match count {
            0 => 0,
            _ if deprecate_eof => usize::from(count),
            _ => usize::from(count) + 1,
        };
        group(self.params) + group(self.columns)
    }
}
