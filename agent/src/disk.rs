//! How much room there is on disk.

use std::io;
use std::path::Path;

/// Space of the file system that holds a path, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// What a process without privileges may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The space at `path`, or at its nearest parent that exists.
pub fn space(path: &Path) -> io::Result<Space> {
    let existing = path
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)?;
    // Block counts are u32 on some systems and u64 on others.
    #[allow(clippy::useless_conversion)]
    let bytes = |blocks| u64::from(blocks).saturating_mul(stat.fragment_size());
    Ok(Space {
        free_bytes: bytes(stat.blocks_available()),
        total_bytes: bytes(stat.blocks()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_has_the_space_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(&dir.path().join("not/there")).unwrap();
        assert!(space.total_bytes > 0);
        assert!(space.free_bytes <= space.total_bytes);
    }
}
