//! What a host has room for, as plans need it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use vtplan_planner::live::{ObservedDisk, ObservedHost};

use crate::disk;
use crate::host::Host;
use crate::mysqld::folder;

/// Tells the room of a host.
pub struct Room {
    host: Arc<Host>,
    /// What a new folder is a copy of, bytes: does not change once it is there.
    template_bytes: OnceLock<u64>,
    /// Tells this machine, since it was started, from any other. Empty: unknown.
    machine: String,
}

impl Room {
    pub fn new(host: Arc<Host>) -> Self {
        // Of the kernel, so that containers of a machine have the same.
        let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self {
            host,
            template_bytes: OnceLock::new(),
            machine: machine.unwrap_or_default().trim().to_owned(),
        }
    }

    /// As it is now. What cannot be told is left out.
    pub fn observe(&self) -> ObservedHost {
        ObservedHost {
            disk: self.disk(),
            new_tablet_bytes: self.new_tablet_bytes(),
            max_connections: Some(self.max_connections()),
        }
    }

    fn disk(&self) -> Option<ObservedDisk> {
        let path = &self.host.tablets_dir;
        let space = disk::space(path).ok()?;
        Some(ObservedDisk {
            id: self.file_system(path),
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
        })
    }

    /// Names the file system, the same in all agents of this machine.
    fn file_system(&self, path: &Path) -> String {
        let existing = path.ancestors().find(|p| p.exists());
        let device = existing.and_then(|p| p.metadata().ok()).map(|m| m.dev());
        match device {
            Some(device) if !self.machine.is_empty() => format!("{}:{device:x}", self.machine),
            _ => String::new(),
        }
    }

    fn new_tablet_bytes(&self) -> Option<u64> {
        let template = match self.template_bytes.get() {
            Some(bytes) => *bytes,
            None => {
                let template = self.host.templates.ready(&self.host.program)?;
                let bytes = folder::size(&template).ok()?;
                *self.template_bytes.get_or_init(|| bytes)
            }
        };
        Some(template + folder::beside_template(self.host.settings.redo_log_bytes))
    }

    /// An option of the host's own comes after the agent's.
    fn max_connections(&self) -> u32 {
        let settings = &self.host.settings;
        let own = ["max_connections", "max-connections"];
        let own = own.iter().find_map(|name| settings.extra.get(*name));
        let own = own.and_then(|value| value.parse().ok());
        own.unwrap_or(settings.max_connections)
    }
}
