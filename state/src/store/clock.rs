//! Time for leases: a clock that all processes of a machine share, that never jumps and that goes on
//! while the machine sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::model::UnixMillis;

/// Time since the machine was booted, sleep included.
pub fn since_boot() -> Duration {
    // The call fails only for a clock that the kernel does not have; Linux has this one since 2.6.39.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    now.into()
}

/// An id of the time since the machine was booted: times of [`since_boot`] mean nothing in another.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// The time of day, for people to read.
pub fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
