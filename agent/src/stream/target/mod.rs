//! The side that a stream writes to: what stands in `_vt` there, and the transactions that write
//! rows together with the position that they are as of.

pub mod vt_tables;
