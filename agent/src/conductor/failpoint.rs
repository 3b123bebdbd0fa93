//! Named moments at which tests make this process die, hang or dawdle.
//!
//! Only the environment variable `VTPLAN_FAILPOINTS` turns them on:
//! `NAME=ACTION[@N][,NAME=ACTION...]`. The action happens the N-th time the moment is reached (from
//! 1), or each time without `@N`. Actions:
//!
//! - `kill`: the process kills itself with SIGKILL, as a machine that loses power does;
//! - `pause`: what reaches the moment never goes on, the rest of the process does;
//! - `sleep:MS`: it goes on after so many milliseconds.
//!
//! `VTPLAN_FAILPOINTS_FILE` names a file that is looked for at each moment: when it holds
//! `NAME=ACTION` for the moment that is reached, it is renamed (`.hit` is appended to its name) and the
//! action happens. So it happens once in all processes, and whoever wrote the file sees when.
//!
//! The moments of the conductor (a KIND is that of the step, such as `init-primary`):
//!
//! - `conductor.locked`: it has the apply lock;
//! - `conductor.before-step`, `conductor.before-step:KIND`: the step is recorded as running, and
//!   nothing of it is done;
//! - `conductor.after-step`, `conductor.after-step:KIND`: its writes and calls are done; what
//!   they cause may be still to come;
//! - `conductor.before-write`, `conductor.after-write`: around each transaction on records;
//! - `conductor.reparent-read-only`: the old primary takes no more writes, the new one is not
//!   primary yet;
//! - a switch of writes, in this order: `conductor.switch:holding` (the hold is written),
//!   `:draining` (gates are waited for), `:drained`, `:fencing` (written, and nothing is fenced
//!   yet), `:fenced` (the positions are written), `:before-flip` (streams have caught up),
//!   `:flipped` (nothing more than the flip is done), `:acked` (gates have acknowledged, old streams
//!   are sealed), `:opened` (the servers take writes), `:released` (it is over); when it is undone,
//!   `conductor.switch:undoing` (written, and nothing is opened yet) and `:undone`;
//! - the end of a workflow: `conductor.complete:ending` or `conductor.cancel:ending` (written, and
//!   nothing is removed yet), `conductor.end:sealed`, `conductor.end:dropped` (a MoveTables' tables),
//!   `conductor.end:cleared` (all but the records);
//! - a VSchema that brings sequences: `conductor.vschema:holding`, `conductor.vschema:raised`;
//! - a backup: `backup.copying` (files are being copied, or just were, and none is published);
//! - `conductor.before-end`: all is done, and the plan is still recorded as running.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Kill,
    Pause,
    Sleep(Duration),
}

#[derive(Debug)]
struct Failpoint {
    what: What,
    /// The time at which it happens, from 1; `None`: each time.
    at: Option<u32>,
    reached: Mutex<u32>,
}

/// Tells that a moment is reached. Returns at once unless a test wants something else.
pub async fn hit(name: &str) {
    static POINTS: OnceLock<HashMap<String, Failpoint>> = OnceLock::new();
    let points = POINTS.get_or_init(|| match std::env::var("VTPLAN_FAILPOINTS") {
        Ok(text) => parse(&text).unwrap_or_else(|why| {
            tracing::error!("VTPLAN_FAILPOINTS is ignored: {why}");
            HashMap::new()
        }),
        Err(_) => HashMap::new(),
    });
    let from_file = in_file(name);
    let listed = points.get(name).filter(|point| point.happens());
    let Some(what) = from_file.or(listed.map(|point| point.what)) else {
        return;
    };
    tracing::warn!(name, ?what, "failpoint");
    match what {
        What::Kill => {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
            // The signal comes at any moment now.
            std::future::pending::<()>().await;
        }
        What::Pause => std::future::pending::<()>().await,
        What::Sleep(time) => tokio::time::sleep(time).await,
    }
}

/// What the file of failpoints wants at a moment. The one process that can rename the file does it.
fn in_file(name: &str) -> Option<What> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("VTPLAN_FAILPOINTS_FILE").map(PathBuf::from));
    let file = file.as_ref()?;
    let text = std::fs::read_to_string(file).ok()?;
    let what = parse(&text).ok()?.get(name)?.what;
    let mut hit = file.clone().into_os_string();
    hit.push(".hit");
    std::fs::rename(file, hit).ok()?;
    Some(what)
}

impl Failpoint {
    fn happens(&self) -> bool {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        *reached += 1;
        self.at.is_none_or(|at| at == *reached)
    }
}

fn parse(text: &str) -> Result<HashMap<String, Failpoint>, String> {
    let mut points = HashMap::new();
    for item in text.split(',').filter(|item| !item.trim().is_empty()) {
        let (name, action) = item
            .trim()
            .split_once('=')
            .ok_or_else(|| format!("`{item}` is not NAME=ACTION"))?;
        let (action, at) = match action.split_once('@') {
            None => (action, None),
            Some((action, at)) => {
                let at = at.parse().ok().filter(|at| *at > 0);
                let at = at.ok_or_else(|| format!("in `{item}` a number is to follow `@`"))?;
                (action, Some(at))
            }
        };
        let what = match action.split_once(':') {
            None if action == "kill" => What::Kill,
            None if action == "pause" => What::Pause,
            Some(("sleep", ms)) => {
                let ms = ms.parse().ok();
                What::Sleep(Duration::from_millis(ms.ok_or_else(|| {
                    format!("in `{item}` milliseconds are to follow `sleep:`")
                })?))
            }
            _ => return Err(format!("`{action}` is not kill, pause or sleep:MS")),
        };
        let reached = Mutex::new(0);
        points.insert(name.to_owned(), Failpoint { what, at, reached });
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_moments_actions_and_times() {
        let points = parse("a=kill, b:x=pause@2,c=sleep:50").unwrap();
        assert_eq!(points["a"].what, What::Kill);
        assert_eq!(points["c"].what, What::Sleep(Duration::from_millis(50)));
        let b = &points["b:x"];
        assert_eq!(b.what, What::Pause);
        assert_eq!(
            [b.happens(), b.happens(), b.happens()],
            [false, true, false]
        );
        for bad in ["a", "a=explode", "a=sleep:x", "a=kill@0"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
