//! Free TCP ports for servers that take a number, not a listener.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are handed out from below the kernel's ephemeral range, so that no outgoing connection
/// of another process takes one between the look and the use. Each test process begins at a
/// place of its own.
fn next(count: u16) -> u16 {
    const LOW: u16 = 10_240;
    const SPAN: u16 = 21_000;
    static OFFSET: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(397) % SPAN;
    let offset = OFFSET.fetch_add(count, Ordering::Relaxed);
    LOW + (start.wrapping_add(offset)) % (SPAN - count)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// The first of `count` neighbouring ports that nothing listens on.
pub fn free_ports(count: u16) -> u16 {
    loop {
        let first = next(count);
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

pub fn free_port() -> u16 {
    free_ports(1)
}
