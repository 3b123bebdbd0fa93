//! Texts with a grammar of their own, a file for each: durations, cron lines, change windows,
//! backup locations.

pub mod cron;
pub mod duration;
pub mod location;
pub mod window;
