//! Templates by fingerprint: bounded by number and bytes, for one revision of the catalog.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use vtplan_state::model::Revision;
use xxhash_rust::xxh64::Xxh64;

use super::CacheLimits;
use super::template::Template;
use super::types::{SqlModes, Target};

/// What a template depends on beside the catalog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub fingerprint: &'a [u8],
    pub target: &'a Target,
    pub modes: SqlModes,
}

impl Key<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = Xxh64::new(0);
        hasher.update(self.fingerprint);
        if let Some(keyspace) = &self.target.keyspace {
            hasher.update(keyspace.as_str().as_bytes());
        }
        let modes =
            u8::from(self.modes.ansi_quotes) | u8::from(self.modes.no_backslash_escapes) << 1;
        hasher.update(&[modes, u8::from(self.target.shard.is_some())]);
        hasher.digest()
    }
}

/// Shared by all sessions: parts, each under its own lock, which readers share.
#[derive(Debug)]
pub(super) struct Cache {
    parts: Vec<RwLock<Part>>,
    /// Of each part.
    limits: CacheLimits,
}

#[derive(Debug, Default)]
struct Part {
    revision: Revision,
    entries: HashMap<u64, Entry, BuildHasherDefault<Hashed>>,
    /// In the order of coming; those used since the last look get a second chance.
    queue: VecDeque<u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Box<[u8]>,
    target: Target,
    modes: SqlModes,
    template: Arc<Template>,
    used: AtomicBool,
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0 << 8 | u64::from(*b);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

const PARTS: usize = 16;

/// Statements longer than this are not kept: they seldom come again.
const MAX_STATEMENT: usize = 16 << 10;

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            limits: CacheLimits {
                entries: limits.entries.div_ceil(PARTS),
                bytes: limits.bytes.div_ceil(PARTS),
            },
        }
    }

    fn part(&self, hash: u64) -> &RwLock<Part> {
        // The low bits place an entry within its part.
        &self.parts[(hash >> 60) as usize % PARTS]
    }

    pub(super) fn get(&self, revision: Revision, key: Key<'_>) -> Option<Arc<Template>> {
        let hash = key.hash();
        let part = self
            .part(hash)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if part.revision != revision {
            return None;
        }
        let entry = part.entries.get(&hash)?;
        let same = *entry.fingerprint == *key.fingerprint
            && entry.modes == key.modes
            && entry.target == *key.target;
        if !same {
            return None;
        }
        entry.used.store(true, Ordering::Relaxed);
        Some(entry.template.clone())
    }

    pub(super) fn put(&self, revision: Revision, key: Key<'_>, template: Arc<Template>) {
        if key.fingerprint.len() > MAX_STATEMENT {
            return;
        }
        let hash = key.hash();
        let mut part = self
            .part(hash)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if part.revision > revision {
            return;
        }
        if part.revision < revision {
            *part = Part {
                revision,
                ..Part::default()
            };
        }
        let entry = Entry {
            fingerprint: key.fingerprint.into(),
            target: key.target.clone(),
            modes: key.modes,
            template,
            used: AtomicBool::new(false),
        };
        part.bytes += entry.bytes();
        match part.entries.insert(hash, entry) {
            Some(old) => part.bytes -= old.bytes(),
            None => part.queue.push_back(hash),
        }
        while part.entries.len() > self.limits.entries || part.bytes > self.limits.bytes {
            if !part.evict() {
                break;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let parts = self.parts.iter();
        parts
            .map(|p| {
                p.read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entries
                    .len()
            })
            .sum()
    }
}

impl Entry {
    /// About what it takes: templates are mostly proportional to the statement.
    fn bytes(&self) -> usize {
        512 + 4 * self.fingerprint.len()
    }
}

impl Part {
    fn evict(&mut self) -> bool {
        while let Some(hash) = self.queue.pop_front() {
            let Some(entry) = self.entries.get(&hash) else {
                continue;
            };
            if entry.used.swap(false, Ordering::Relaxed) {
                self.queue.push_back(hash);
                continue;
            }
            self.bytes -= entry.bytes();
            self.entries.remove(&hash);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::rewrite::Rewrite;
    use super::super::template::TemplateKind;
    use super::super::types::{GateStatement, Props};
    use super::*;
    use vtplan_state::model::TabletType;

    fn key<'a>(fingerprint: &'a [u8], target: &'a Target) -> Key<'a> {
        Key {
            fingerprint,
            target,
            modes: SqlModes::default(),
        }
    }

    fn template() -> Arc<Template> {
        Arc::new(Template {
            props: Props::default(),
            tablet_type: TabletType::Primary,
            rewrite: Rewrite::default(),
            touches: Arc::default(),
            recorded: None,
            beside: None,
            owned: None,
            kind: TemplateKind::Gate(GateStatement::Empty),
        })
    }

    #[test]
    fn it_stays_within_its_limits_and_keeps_what_is_used() {
        let cache = Cache::new(CacheLimits {
            entries: 160,
            bytes: 1 << 20,
        });
        let target = Target::default();
        cache.put(1, key(b"hot", &target), template());
        for i in 0..5000 {
            cache.put(1, key(format!("cold {i}").as_bytes(), &target), template());
            assert!(cache.get(1, key(b"hot", &target)).is_some());
        }
        assert!(cache.len() <= 160);
    }

    #[test]
    fn a_newer_catalog_empties_it() {
        let cache = Cache::new(CacheLimits::default());
        let target = Target::default();
        let replica: Target = "@replica".parse().unwrap();
        cache.put(1, key(b"x", &target), template());
        assert!(cache.get(1, key(b"x", &target)).is_some());
        assert!(cache.get(1, key(b"x", &replica)).is_none());
        assert!(cache.get(2, key(b"x", &target)).is_none());
        cache.put(2, key(b"x", &target), template());
        assert!(cache.get(1, key(b"x", &target)).is_none());
    }
}
