//! The lab
