//! What the system lets this process have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many files a process of vtplan may want: connections to agents, servers and clients. Not more than
/// this is asked for, because servers that it starts inherit the limit, and some MySQL versions take
/// memory by it.
const FILES: u64 = 65_536;

/// Asks for as many open files as may be had without a privilege. The usual limit of 1024 is below what a
/// cluster of a thousand hosts takes.
pub fn raise_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let wanted = hard.min(FILES);
    if soft < wanted {
        // Where it is refused, what needs more says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}
