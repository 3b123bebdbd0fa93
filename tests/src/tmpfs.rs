//! A small file system in memory, to fill up or to make read-only. Needs root.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Mounted until it is dropped: after the processes that write to it.
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// `None` where one may not be mounted. `options` as for `mount -o`.
    pub fn mount(options: &str) -> Option<Tmpfs> {
        let dir = TempDir::with_prefix("vtplan-tmpfs-").expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        run(mount.arg(dir.path())).then_some(Tmpfs { dir })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The bytes that are taken.
    pub fn used(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(self.path()).expect("it is mounted");
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    }

    /// Changes the options of what is mounted. To be read-only nobody may have a file open to write: a store
    /// that was dropped closes its file a moment later, in a thread of its own.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mut mount = Command::new("mount");
        mount.args(["-o", &options]).arg(self.path());
        let give_up = Instant::now() + Duration::from_secs(30);
        while !run(&mut mount) {
            assert!(
                Instant::now() < give_up,
                "{options} of {}",
                self.path().display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may hold a file for another moment.
        run(Command::new("umount").arg("-l").arg(self.dir.path()));
    }
}

fn run(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
