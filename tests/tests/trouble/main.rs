//! What goes wrong around data moves: networks, disks, replicas that lag. These tests mostly wait, so
//! they are one program, in which they do so at the same time.

mod full_disk;
mod network_cuts;
mod throttling;
