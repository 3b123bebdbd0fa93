//! Chooses the host and the port of every new tablet.
//!
//! A host has a row of seats, its ports from the first one up; the lower the lowest free seat in
//! proportion to the host's capacity, the better. A tablet takes the best seat among the hosts of
//! its cell that run its shard's flavor of server and do not already have their share of the shard:
//! one tablet each, as long as there are enough hosts. Among equals each shard starts at another
//! host, so that primaries spread too. Pinned tablets sit down first, and a host that a shard has a
//! tablet pinned to gets no other of its tablets: else the pin could be taken to mean that one.
//!
//! What a tablet likes best does not hang on who sits where, and a seat is known from the port. So
//! when some of the tablets exist already, each of the others finds the best of the seats that are
//! left to be the same as before: planning again gives the same places.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vtplan_state::model::{CellName, FlavorKind, HostName, HostRecord, TabletServer};

use super::draft::{Draft, number};
use super::tablets::{NewTablet, ShardWork, tablets_by_cell};
use super::view::View;
use crate::desired::{Adopt, Pin};

/// Machines and ports of the servers that are adopted, or are to be.
fn adopted_servers<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a str, u16)> {
    let tablets = view.live.records.tablets.values();
    let there = tablets.filter_map(|t| match &t.server {
        TabletServer::Made => None,
        TabletServer::Adopted { machine } => Some((machine.as_str(), t.mysql_port)),
    });
    let wanted = view.desired.keyspaces.values().flat_map(|k| &k.tablets);
    let wanted = wanted.filter_map(|t| t.adopt.as_ref());
    there.chain(wanted.map(|a| (a.server.machine.as_str(), a.server.port)))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub host: &'a HostRecord,
    pub mysql_port: u16,
}

/// Sets [`NewTablet::place`] of every new tablet.
pub(crate) fn choose<'a>(view: &View<'a>, draft: &mut Draft, shards: &mut [ShardWork<'a>]) {
    if shards.iter().all(|work| work.create.is_empty()) {
        return;
    }
    let mut seats = Seats::new(view);
    for work in &*shards {
        for tablet in &work.create {
            if let Some(pin) = tablet.pin {
                seats.reserve(draft, work, tablet, pin);
            }
        }
    }
    let mut crowded: BTreeMap<&CellName, Shortage> = BTreeMap::new();
    let flavors: Vec<Option<FlavorKind>> = shards
        .iter()
        .map(|work| {
            if work.create.is_empty() {
                None
            } else {
                flavor_of(view, draft, &seats, work)
            }
        })
        .collect();
    let without: BTreeSet<&CellName> = shards
        .iter()
        .flat_map(|work| work.create.iter().map(|t| t.cell))
        .filter(|cell| !seats.has_hosts(cell))
        .collect();
    for cell in without {
        draft.note(
            cell.as_str(),
            format!(
                "no agent alive in cell {cell}: start one with `vtplan agent --cell {cell}` (or \
                 `vtplan up`); until then its tablets have no host and the plan cannot be applied"
            ),
        );
    }
    for (work, flavor) in shards.iter_mut().zip(&flavors) {
        for tablet in &mut work.create {
            if let Some(adopt) = tablet.adopt {
                let name = format!("{}/{}", work.keyspace, work.shard);
                tablet.place = seats.caretaker(draft, &name, tablet, adopt, *flavor);
            }
        }
    }
    for pinned in [true, false] {
        for (work, flavor) in shards.iter_mut().zip(&flavors) {
            place_shard(view, draft, &mut seats, work, *flavor, pinned, &mut crowded);
        }
    }
    for (cell, shortage) in crowded {
        if shortage.unplaced.is_empty() {
            continue;
        }
        shortage.report(draft, &seats, cell);
    }
}

/// Tablets of a cell that found no seat.
#[derive(Default)]
struct Shortage {
    wanted: u32,
    unplaced: BTreeMap<String, u32>,
}

impl Shortage {
    fn report(self, draft: &mut Draft, seats: &Seats, cell: &CellName) {
        let hosts = seats.hosts_of(cell);
        let each: Vec<String> = hosts
            .iter()
            .map(|h| format!("{} {} of {}", h.record.name, h.room(), h.record.capacity))
            .collect();
        let missing: u32 = self.unplaced.values().sum();
        let shards: Vec<&str> = self.unplaced.keys().map(String::as_str).take(5).collect();
        let more = if self.unplaced.len() > 5 { ", ..." } else { "" };
        draft.error(
            "too-few-hosts",
            cell.as_str(),
            format!(
                "{} are wanted in {cell}, and for {missing} of them ({}{more}) there is no place. \
                 What is left after the others: {}. A host gets a second tablet of a shard only \
                 when there are fewer hosts than tablets, and never beside one that is pinned there",
                number(self.wanted, "new tablet"),
                shards.join(", "),
                each.join(", "),
            ),
            format!(
                "start `vtplan agent --cell {cell}` on another host, raise the capacity of one, lower \
                 the counts, or pin tablets to hosts. Tablets that the spec no longer wants make \
                 room only after the new ones run: to use theirs, remove them in an apply of their own"
            ),
        );
    }
}

fn place_shard<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    seats: &mut Seats<'a>,
    work: &mut ShardWork<'a>,
    flavor: Option<FlavorKind>,
    pinned: bool,
    crowded: &mut BTreeMap<&'a CellName, Shortage>,
) {
    let is_of_round = |t: &NewTablet| t.adopt.is_none() && t.pin.is_some() == pinned;
    if !work.create.iter().any(is_of_round) {
        return;
    }
    let name = work.name();
    let rotation = work.create.iter().map(|t| t.uid).min().unwrap_or(0) / 100;
    // Rotation must not hang on which tablets exist: all uids of a shard are in one hundred.
    let existing = view.tablets_of(work.keyspace, work.shard);
    let rotation = existing
        .iter()
        .map(|t| t.alias.uid / 100)
        .chain([rotation])
        .min()
        .unwrap_or(0);
    let by_cell = tablets_by_cell(view, work);
    // Hosts that have tablets of this shard.
    let mut taken: Vec<&HostName> = existing.iter().map(|t| &t.host).collect();
    taken.extend(
        work.create
            .iter()
            .filter_map(|t| Some(&t.place.as_ref()?.host.name)),
    );
    let mut create = std::mem::take(&mut work.create);
    for tablet in &mut create {
        if !is_of_round(tablet) || !seats.has_hosts(tablet.cell) {
            continue;
        }
        if let Some(pin) = tablet.pin {
            tablet.place = seats.pinned(draft, &name, tablet, pin, flavor);
        } else {
            let Some(flavor) = flavor else { continue };
            let pool = (tablet.cell, flavor);
            let share = seats.share(pool, by_cell.get(tablet.cell).copied().unwrap_or(0));
            let place = seats.best(pool, rotation, |host| {
                let there = taken.iter().filter(|t| ***t == *host).count();
                there < share as usize && !work.has_pin_to(host)
            });
            let shortage = crowded.entry(tablet.cell).or_default();
            shortage.wanted += 1;
            if place.is_none() {
                *shortage.unplaced.entry(name.clone()).or_default() += 1;
            }
            tablet.place = place;
        }
        if let Some(place) = &tablet.place {
            taken.push(&place.host.name);
        }
    }
    work.create = create;
}

/// A shard's servers are of one flavor, for the flavors do not replicate from each other: the one
/// it has, or the one with most room of those that all its cells have.
fn flavor_of(
    view: &View,
    draft: &mut Draft,
    seats: &Seats,
    work: &ShardWork,
) -> Option<FlavorKind> {
    let existing = view.tablets_of(work.keyspace, work.shard);
    if let Some(tablet) = existing.first() {
        return Some(tablet.flavor);
    }
    let cells: BTreeSet<&CellName> = work
        .create
        .iter()
        .map(|t| t.cell)
        .filter(|cell| seats.has_hosts(cell))
        .collect();
    if cells.is_empty() {
        return None;
    }
    let pinned: Option<FlavorKind> = work
        .create
        .iter()
        .filter_map(|t| t.pin.map(|pin| &pin.host).or(t.adopt?.host.as_ref()))
        .filter_map(|host| view.live.records.hosts.get(host))
        .map(|host| host.flavor)
        .next();
    let flavors = [FlavorKind::MariaDb, FlavorKind::MySql];
    let best = flavors
        .into_iter()
        .filter(|flavor| pinned.is_none_or(|p| p == *flavor))
        .map(|flavor| {
            let capacities = cells.iter().map(|cell| seats.capacity((*cell, flavor)));
            (flavor, capacities.min().unwrap_or(0))
        })
        .filter(|(_, capacity)| *capacity > 0)
        // The first of equals.
        .reduce(|best, other| if other.1 > best.1 { other } else { best });
    if best.is_none() {
        let names: Vec<&str> = cells.iter().map(|c| c.as_str()).collect();
        draft.error(
            "mixed-flavors",
            work.name(),
            format!(
                "its tablets are to be in {}, and there is no flavor of server that hosts of all \
                 of these run: MariaDB and MySQL do not replicate from each other",
                names.join(", ")
            ),
            "install the same flavor on hosts of all these cells",
        );
    }
    best.map(|(flavor, _)| flavor)
}

type PoolKey<'a> = (&'a CellName, FlavorKind);

/// The hosts of one cell that run one flavor.
#[derive(Default)]
struct Pool<'a> {
    /// By name.
    hosts: Vec<Host<'a>>,
    /// Hosts with room, as (how full the lowest free seat makes it, index).
    free: BTreeSet<(u64, u32)>,
    capacity: u64,
    /// How many of the hosts may have tablets at all.
    usable: u32,
}

struct Host<'a> {
    record: &'a HostRecord,
    tablets: u32,
    /// Lowest free port from the host's first one; `None`: there is none left.
    next: Option<u16>,
}

impl Host<'_> {
    fn room(&self) -> u32 {
        self.record.capacity.saturating_sub(self.tablets)
    }

    /// How full the host is once the next seat is taken, in 2^-32 of its capacity. `None`: full.
    fn level(&self) -> Option<u64> {
        let next = self.next.filter(|_| self.room() > 0)?;
        let seat = u64::from(next - self.record.first_mysql_port) + 1;
        Some((seat << 32) / u64::from(self.record.capacity))
    }
}

struct Seats<'a> {
    pools: BTreeMap<PoolKey<'a>, Pool<'a>>,
    cells: BTreeSet<&'a CellName>,
    /// Ports in use by address: hosts with one address share their ports.
    ports: HashMap<&'a str, HashMap<u16, String>>,
    /// The hosts that have an address.
    by_address: HashMap<&'a str, Vec<(PoolKey<'a>, u32)>>,
    by_name: HashMap<&'a HostName, (PoolKey<'a>, u32)>,
}

impl<'a> Seats<'a> {
    fn new(view: &View<'a>) -> Self {
        let mut seats = Self {
            pools: BTreeMap::new(),
            cells: BTreeSet::new(),
            ports: HashMap::new(),
            by_address: HashMap::new(),
            by_name: HashMap::new(),
        };
        for record in view.live.records.hosts.values() {
            let key = (&record.cell, record.flavor);
            let pool = seats.pools.entry(key).or_default();
            let index = pool.hosts.len() as u32;
            pool.capacity += u64::from(record.capacity);
            pool.usable += u32::from(record.capacity > 0);
            pool.hosts.push(Host {
                record,
                tablets: 0,
                next: None,
            });
            seats.cells.insert(&record.cell);
            seats.by_name.insert(&record.name, (key, index));
            let address = record.address.as_str();
            seats
                .by_address
                .entry(address)
                .or_default()
                .push((key, index));
        }
        for (machine, port) in adopted_servers(view) {
            let ports = seats.ports.entry(machine).or_default();
            ports.insert(port, "a server that is adopted".to_owned());
        }
        let tablets = view.live.records.tablets.values();
        for tablet in tablets.filter(|t| t.server.is_made()) {
            let Some((key, index)) = seats.by_name.get(&tablet.host).copied() else {
                continue;
            };
            let host = seats.host_mut(key, index);
            host.tablets += 1;
            let address = host.record.address.as_str();
            let owner = tablet.alias.to_string();
            let ports = seats.ports.entry(address).or_default();
            ports.insert(tablet.mysql_port, owner);
        }
        let all: Vec<_> = seats.by_name.values().copied().collect();
        for (key, index) in all {
            seats.refresh(key, index);
        }
        seats
    }

    fn has_hosts(&self, cell: &CellName) -> bool {
        self.cells.contains(cell)
    }

    fn hosts_of(&self, cell: &CellName) -> Vec<&Host<'a>> {
        let pools = self.pools.iter().filter(|((c, _), _)| *c == cell);
        let mut hosts: Vec<&Host> = pools.flat_map(|(_, pool)| &pool.hosts).collect();
        hosts.sort_by_key(|h| &h.record.name);
        hosts
    }

    fn capacity(&self, key: PoolKey) -> u64 {
        self.pools.get(&key).map_or(0, |pool| pool.capacity)
    }

    fn host_mut(&mut self, key: PoolKey<'a>, index: u32) -> &mut Host<'a> {
        let pool = self.pools.get_mut(&key).expect("keys come from the pools");
        &mut pool.hosts[index as usize]
    }

    /// Finds a host's lowest free seat anew.
    fn refresh(&mut self, key: PoolKey<'a>, index: u32) {
        let pool = self.pools.get_mut(&key).expect("keys come from the pools");
        let host = &mut pool.hosts[index as usize];
        if let Some(level) = host.level() {
            pool.free.remove(&(level, index));
        }
        let ports = self.ports.get(host.record.address.as_str());
        // The next free seat only ever moves up.
        let from = host.next.unwrap_or(host.record.first_mysql_port);
        host.next = (from..=u16::MAX).find(|p| ports.is_none_or(|ports| !ports.contains_key(p)));
        if let Some(level) = host.level() {
            pool.free.insert((level, index));
        }
    }

    /// How many tablets of a shard with `tablets` in the pool's cell one host may get: the least
    /// number with which there is a place for all.
    fn share(&self, key: PoolKey, tablets: u32) -> u32 {
        let Some(pool) = self.pools.get(&key) else {
            return 0;
        };
        if pool.usable >= tablets {
            return 1;
        }
        (1..=tablets)
            .find(|share| {
                let places = pool.hosts.iter().map(|h| h.record.capacity.min(*share));
                places.map(u64::from).sum::<u64>() >= u64::from(tablets)
            })
            .unwrap_or(1)
    }

    /// Takes the best seat of a pool for a tablet whose shard starts at host `rotation`.
    fn best(
        &mut self,
        key: PoolKey<'a>,
        rotation: u32,
        allowed: impl Fn(&HostName) -> bool,
    ) -> Option<Place<'a>> {
        let pool = self.pools.get(&key)?;
        let start = rotation.saturating_sub(1) % (pool.hosts.len() as u32).max(1);
        let fits = |(_, index): &&(u64, u32)| allowed(&pool.hosts[*index as usize].record.name);
        let mut level = pool.free.first()?.0;
        let index = loop {
            let after = pool.free.range((level, start)..=(level, u32::MAX));
            let before = pool.free.range((level, 0)..(level, start));
            if let Some((_, index)) = after.chain(before).find(fits) {
                break *index;
            }
            level = pool.free.range((level + 1, 0)..).next()?.0;
        };
        let host = &pool.hosts[index as usize];
        let port = host.next?;
        Some(self.take(key, index, port))
    }

    /// Puts a tablet on a host and port, whose name of the owner is only of interest for pins.
    fn take(&mut self, key: PoolKey<'a>, index: u32, mysql_port: u16) -> Place<'a> {
        let pool = self.pools.get_mut(&key).expect("keys come from the pools");
        let host = &mut pool.hosts[index as usize];
        if let Some(level) = host.level() {
            pool.free.remove(&(level, index));
        }
        host.tablets += 1;
        let record = host.record;
        let address = record.address.as_str();
        let ports = self.ports.entry(address).or_default();
        ports.entry(mysql_port).or_default();
        let neighbours = self.by_address[address].clone();
        for (key, index) in neighbours {
            self.refresh(key, index);
        }
        Place {
            host: record,
            mysql_port,
        }
    }

    /// The host whose agent looks after a server that is adopted: the one that the spec names, or one
    /// of its cell by the tablet's uid. It takes no seat.
    fn caretaker(
        &self,
        draft: &mut Draft,
        name: &str,
        tablet: &NewTablet,
        adopt: &Adopt,
        flavor: Option<FlavorKind>,
    ) -> Option<Place<'a>> {
        let mysql_port = adopt.server.port;
        if let Some(host) = &adopt.host {
            let (key, index) = self.named(draft, name, tablet.cell, host)?;
            let host = self.pools.get(&key)?.hosts.get(index as usize)?.record;
            return Some(Place { host, mysql_port });
        }
        let hosts = &self.pools.get(&(tablet.cell, flavor?))?.hosts;
        let index = tablet.uid as usize % hosts.len().max(1);
        let host = hosts.get(index)?.record;
        Some(Place { host, mysql_port })
    }

    /// A host that the spec names, if it is alive and in the cell; an error where not.
    fn named(
        &self,
        draft: &mut Draft,
        name: &str,
        cell: &CellName,
        host: &HostName,
    ) -> Option<(PoolKey<'a>, u32)> {
        if !self.has_hosts(cell) {
            return None;
        }
        let Some((key, index)) = self.by_name.get(host).copied() else {
            let known: Vec<String> = self
                .hosts_of(cell)
                .iter()
                .map(|h| format!("`{}`", h.record.name))
                .collect();
            draft.error(
                "unknown-host",
                name,
                format!("a tablet is pinned to the host `{host}`, on which no agent is alive"),
                format!(
                    "the hosts of {cell} are {}; or start the agent of `{host}`",
                    known.join(", ")
                ),
            );
            return None;
        };
        if key.0 != cell {
            draft.error(
                "host-in-other-cell",
                name,
                format!(
                    "a tablet in {cell} is pinned to the host `{host}`, which is in {}",
                    key.0
                ),
                "pin it to a host of its cell, or move it to the host's cell in the spec",
            );
            return None;
        }
        Some((key, index))
    }

    /// Keeps a pinned port free of others, and checks the pin.
    fn reserve(&mut self, draft: &mut Draft, work: &ShardWork, tablet: &NewTablet, pin: &Pin) {
        let name = work.name();
        let Some(((cell, flavor), index)) = self.named(draft, &name, tablet.cell, &pin.host) else {
            return;
        };
        let Some(port) = pin.mysql_port else { return };
        let address = self.host_mut((cell, flavor), index).record.address.as_str();
        let ports = self.ports.entry(address).or_default();
        match ports.get(&port) {
            Some(owner) => draft.error(
                "port-taken",
                format!("{}:{port}", pin.host),
                format!("a tablet of {name} is pinned to this port, but it belongs to {owner}"),
                "pin it to another port, or leave the port out",
            ),
            None => {
                ports.insert(port, format!("another pinned tablet, of {name}"));
                for (key, index) in self.by_address[address].clone() {
                    self.refresh(key, index);
                }
            }
        }
    }

    fn pinned(
        &mut self,
        draft: &mut Draft,
        name: &str,
        tablet: &NewTablet,
        pin: &Pin,
        flavor: Option<FlavorKind>,
    ) -> Option<Place<'a>> {
        let (key, index) = self.by_name.get(&pin.host).copied()?;
        if key.0 != tablet.cell {
            return None;
        }
        if let Some(flavor) = flavor.filter(|flavor| *flavor != key.1) {
            draft.error(
                "mixed-flavors",
                name,
                format!(
                    "a tablet is pinned to the host `{}`, which runs {}, and the shard's other \
                     tablets run {flavor}: the two do not replicate from each other",
                    pin.host, key.1
                ),
                format!("pin it to a host that runs {flavor}"),
            );
            return None;
        }
        let host = self.host_mut(key, index);
        let Some(port) = pin.mysql_port.or(host.next).filter(|_| host.room() > 0) else {
            draft.error(
                "host-full",
                pin.host.as_str(),
                format!(
                    "a tablet of {name} is pinned to this host, but its capacity of {} is used up",
                    host.record.capacity
                ),
                "raise the host's capacity, or pin the tablet to another host",
            );
            return None;
        };
        Some(self.take(key, index, port))
    }
}
