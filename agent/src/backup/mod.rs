//! Backups of servers' data: taking them, looking whether they are whole, removing them, and starting
//! servers on them.
//!
//! Who does what stands in records (`backups/<ks>/<shard>/<id>`), as for comparisons: a person's request is
//! a record too, so it outlives whoever asked and whoever began. [`keeper`] decides what this agent does,
//! and `work` does it under the shard's lock; `take` takes one, `ticket` writes its record. What is taken
//! goes to a [`location`], with a [`manifest`] that names every file; a backup without its manifest is
//! none. [`restore`] makes data folders of backups, [`seed`] says which one a new replica starts from.
//! [`orphans`] ends what an agent that was killed left running. How a server is copied is in
//! [`crate::tablet::backup`].

pub mod keeper;
pub mod location;
pub mod manifest;
pub mod orphans;
pub mod restore;
pub mod seed;
mod take;
mod ticket;
mod work;
