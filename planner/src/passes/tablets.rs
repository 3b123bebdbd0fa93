//! Which tablets each shard keeps, gets and loses. The tablets there are fill the places that the
//! spec gives the shard: pinned places first, then by cell and type, the primary and low uids before
//! others. Where a cell has too many of one type and too few of the other, types change instead of
//! tablets going and coming. What then lacks is created ([`super::uids`], [`super::placement`]), what
//! is over is deleted ([`super::removal`]).
//!
//! Tablets that cannot be seen count as being there, and nothing is planned with them.

use std::collections::BTreeMap;

use vtplan_state::model::{
    CellName, HostName, KeyspaceName, ShardName, ShardRecord, TabletAlias, TabletRecord, TabletType,
};

use super::draft::{Draft, Order, Phase, number, rank};
use super::placement::Place;
use super::view::{Health, View};
use crate::desired::{Adopt, DesiredKeyspace, Pin};
use crate::ids;
use crate::plan::{Action, Risk, StepId};

/// One shard of the spec, and what is to happen to its tablets.
pub(crate) struct ShardWork<'a> {
    pub keyspace: &'a KeyspaceName,
    pub keyspace_index: u32,
    pub shard: &'a ShardName,
    /// Place among the keyspace's shards, from 1.
    pub index: u32,
    pub desired: &'a DesiredKeyspace,
    pub record: Option<&'a ShardRecord>,
    /// Those that stay, each with the type it ends with.
    pub kept: Vec<(&'a TabletRecord, TabletType)>,
    pub create: Vec<NewTablet<'a>>,
    pub change: Vec<(&'a TabletRecord, TabletType)>,
    pub delete: Vec<&'a TabletRecord>,
}

/// A tablet that is to be made.
pub(crate) struct NewTablet<'a> {
    pub cell: &'a CellName,
    pub tablet_type: TabletType,
    pub pin: Option<&'a Pin>,
    pub adopt: Option<&'a Adopt>,
    /// 0 until [`super::uids`] has chosen it.
    pub uid: u32,
    /// `None` until [`super::placement`] has chosen it, and when the cell has no host.
    pub place: Option<Place<'a>>,
}

impl NewTablet<'_> {
    pub(crate) fn alias(&self) -> TabletAlias {
        TabletAlias::new(self.cell.clone(), self.uid)
    }
}

impl<'a> ShardWork<'a> {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.keyspace, self.shard)
    }

    /// Ids of the steps that would create each tablet that the shard ends with.
    pub(crate) fn creations(&self) -> Vec<StepId> {
        let new = self.create.iter().map(|t| ids::create_tablet(&t.alias()));
        let kept = self.kept.iter().map(|(t, _)| ids::create_tablet(&t.alias));
        new.chain(kept).collect()
    }

    pub(crate) fn order(&self, phase: Phase, rank: u8, minor: usize) -> Order {
        Order::new(phase, rank, minor).at(self.keyspace_index, self.index)
    }

    /// Whether the spec pins a tablet of this shard to a host.
    pub(crate) fn has_pin_to(&self, host: &HostName) -> bool {
        places(self.desired, self.shard).any(|p| p.pin.is_some_and(|pin| pin.host == *host))
    }

    /// Whether its servers were there before vtplan, and it has no primary yet: what they hold is not
    /// known, and is not nothing.
    pub(crate) fn is_being_adopted(&self) -> bool {
        self.desired.is_adopted() && self.primary().is_none()
    }

    pub(crate) fn primary(&self) -> Option<&'a TabletAlias> {
        self.record?.primary.as_ref()
    }

    /// How many tablets of a type the spec wants in a cell for this shard, as text.
    fn wanted(&self, cell: &CellName, tablet_type: TabletType) -> String {
        let count: u32 = places(self.desired, self.shard)
            .filter(|p| p.cell == cell && p.tablet_type == tablet_type)
            .map(|p| p.count)
            .sum();
        format!(
            "the spec wants {} of {} in {cell}",
            number(count, &format!("{tablet_type} tablet")),
            self.name()
        )
    }
}

struct Places<'a> {
    cell: &'a CellName,
    tablet_type: TabletType,
    count: u32,
    pin: Option<&'a Pin>,
    adopt: Option<&'a Adopt>,
}

/// What the spec says for one shard, in its order.
fn places<'a>(
    desired: &'a DesiredKeyspace,
    shard: &'a ShardName,
) -> impl Iterator<Item = Places<'a>> {
    desired
        .tablets
        .iter()
        .map(|t| Places {
            cell: &t.cell,
            tablet_type: t.tablet_type,
            count: t.count,
            pin: t.pin.as_ref(),
            adopt: t.adopt.as_ref(),
        })
        .filter(move |p| {
            let only = p.pin.and_then(|pin| pin.shard.as_ref());
            only.is_none_or(|only| only == shard)
        })
}

/// Fills [`ShardWork::kept`], `create`, `change` and `delete` of every shard.
pub(crate) fn match_places<'a>(view: &View<'a>, draft: &mut Draft, shards: &mut [ShardWork<'a>]) {
    for work in shards {
        match_shard(view, draft, work);
    }
}

fn match_shard<'a>(view: &View<'a>, draft: &mut Draft, work: &mut ShardWork<'a>) {
    let primary = work.primary();
    // By uid, but the primary first: what stays is taken from the front, what goes from the back.
    let mut free: Vec<&TabletRecord> = view.tablets_of(work.keyspace, work.shard).to_vec();
    free.sort_by_key(|t| (Some(&t.alias) != primary, t.alias.uid));

    let mut newly_adopted = Vec::new();
    for place in places(work.desired, work.shard) {
        let Some(adopt) = place.adopt else { continue };
        let found = free
            .iter()
            .position(|t| t.adopted().as_ref() == Some(&adopt.server));
        match found.map(|at| free.remove(at)) {
            Some(tablet) => {
                check_adopted(draft, tablet, place.cell, adopt);
                keep(work, tablet, place.tablet_type);
            }
            None => newly_adopted.push(NewTablet {
                cell: place.cell,
                tablet_type: place.tablet_type,
                pin: None,
                adopt: Some(adopt),
                uid: 0,
                place: None,
            }),
        }
    }
    work.create.extend(newly_adopted);

    // The more a pin says the earlier it is served, so that none takes what another one named.
    let mut pins: Vec<_> = places(work.desired, work.shard)
        .filter_map(|place| Some((place.pin?, place)))
        .collect();
    pins.sort_by_key(|(pin, _)| (pin.uid.is_none(), pin.mysql_port.is_none()));
    for (pin, place) in pins {
        let found = free.iter().position(|t| match pin.uid {
            Some(uid) => t.alias.uid == uid && t.alias.cell == *place.cell,
            None => {
                t.server.is_made()
                    && t.alias.cell == *place.cell
                    && t.tablet_type == place.tablet_type
                    && t.host == pin.host
                    && pin.mysql_port.is_none_or(|port| port == t.mysql_port)
            }
        });
        match found {
            Some(at) => {
                let tablet = free.remove(at);
                check_pin(draft, tablet, pin);
                keep(work, tablet, place.tablet_type);
            }
            None => work.create.push(NewTablet {
                cell: place.cell,
                tablet_type: place.tablet_type,
                pin: Some(pin),
                adopt: None,
                uid: 0,
                place: None,
            }),
        }
    }

    let mut lacking: Vec<(&CellName, TabletType, u32)> = Vec::new();
    for place in places(work.desired, work.shard).filter(|p| p.pin.is_none() && p.adopt.is_none()) {
        let mut lack = place.count;
        free.retain(|t| {
            let fits = lack > 0
                && t.server.is_made()
                && t.alias.cell == *place.cell
                && t.tablet_type == place.tablet_type;
            if fits {
                lack -= 1;
                work.kept.push((t, place.tablet_type));
            }
            !fits
        });
        lacking.push((place.cell, place.tablet_type, lack));
    }

    // What is left is over: it fills a lack of the other type in its cell, or goes.
    free.sort_by_key(|t| std::cmp::Reverse(t.alias.uid));
    for tablet in free {
        if view.health(tablet, work.record) == Health::Unseen {
            draft.note(
                tablet.alias.to_string(),
                format!(
                    "the spec has no place for this tablet of {}, but its host {} does not \
                     answer: it is kept until it is seen again",
                    work.name(),
                    tablet.host
                ),
            );
            continue;
        }
        let lack = lacking
            .iter_mut()
            .find(|(cell, _, lack)| *lack > 0 && **cell == tablet.alias.cell)
            .filter(|_| tablet.server.is_made());
        match lack {
            Some((_, tablet_type, lack)) => {
                *lack -= 1;
                keep(work, tablet, *tablet_type);
            }
            None => work.delete.push(tablet),
        }
    }
    for (cell, tablet_type, lack) in lacking {
        work.create.extend((0..lack).map(|_| NewTablet {
            cell,
            tablet_type,
            pin: None,
            adopt: None,
            uid: 0,
            place: None,
        }));
    }
    work.kept.sort_by_key(|(t, _)| t.alias.uid);
    refuse_mixture(view, draft, work);
}

/// New servers have nothing of what adopted ones hold, and would take their place without it; and a
/// server that is adopted beside others holds something else than they do.
fn refuse_mixture(view: &View, draft: &mut Draft, work: &ShardWork) {
    let there = view.tablets_of(work.keyspace, work.shard);
    let adopted = there.iter().find_map(|t| t.adopted());
    let has_made = there.iter().any(|t| t.server.is_made());
    let makes = work.create.iter().any(|t| t.adopt.is_none());
    let adopts = work.create.iter().find_map(|t| t.adopt);
    if let Some(server) = adopted.filter(|_| makes) {
        draft.error(
            "adopted-and-made",
            work.name(),
            format!(
                "its data is on servers that were adopted ({server}), and the spec wants tablets that \
                 are made anew in their place: these would lack it"
            ),
            "list the servers with `server`; a replica that is set up by hand as they were can be listed \
             too. To move the data to servers of vtplan's own give the keyspace other shards",
        );
    }
    // A Reshard fills the shards that it brings, and what a server holds would be in its way.
    let resharded = work.record.is_some_and(|record| !record.serving);
    let has_others = (view.live.records.shards_of(work.keyspace)).any(|s| s.shard != *work.shard);
    if let Some(adopt) = adopts.filter(|_| has_made || resharded || has_others) {
        draft.error(
            "adopted-and-made",
            work.name(),
            format!(
                "the spec adopts {} for a keyspace that has tablets of its own already",
                adopt.server
            ),
            "adopt it as a keyspace of its own; tables are then moved from there",
        );
    }
}

/// An adopted server stays the tablet that it became.
fn check_adopted(draft: &mut Draft, tablet: &TabletRecord, cell: &CellName, adopt: &Adopt) {
    let host = adopt.host.as_ref().unwrap_or(&tablet.host);
    if tablet.alias.cell == *cell && tablet.host == *host {
        return;
    }
    draft.error(
        "adopted-elsewhere",
        tablet.alias.to_string(),
        format!(
            "{} is looked after by host {} in {}, and the spec says {host} in {cell}",
            adopt.server, tablet.host, tablet.alias.cell
        ),
        "set `cell` and `host` back; to change them release the server first: apply the spec without it",
    );
}

fn keep<'a>(work: &mut ShardWork<'a>, tablet: &'a TabletRecord, tablet_type: TabletType) {
    work.kept.push((tablet, tablet_type));
    if tablet.tablet_type != tablet_type {
        work.change.push((tablet, tablet_type));
    }
}

/// A tablet is not moved: its pin must say where it is.
fn check_pin(draft: &mut Draft, tablet: &TabletRecord, pin: &Pin) {
    let port = pin.mysql_port.unwrap_or(tablet.mysql_port);
    if tablet.host == pin.host && tablet.mysql_port == port {
        return;
    }
    draft.error(
        "pinned-elsewhere",
        tablet.alias.to_string(),
        format!(
            "the tablet is on {}:{}, and the spec pins it to {}:{port}: a tablet does not move",
            tablet.host, tablet.mysql_port, pin.host
        ),
        "pin another uid to the new place: that tablet is made, and this one is deleted after it",
    );
}

/// The steps that create tablets and change types.
pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    for work in shards {
        for (tablet, tablet_type) in &work.kept {
            let health = view.health(tablet, work.record);
            note_health(view, draft, tablet, health);
            if health == Health::Starting {
                let action = Action::CreateTablet {
                    alias: tablet.alias.clone(),
                    keyspace: work.keyspace.clone(),
                    shard: work.shard.clone(),
                    tablet_type: tablet.tablet_type,
                    host: Some(tablet.host.clone()),
                    mysql_port: Some(tablet.mysql_port),
                    adopt: tablet.adopted(),
                };
                let reason = if tablet.server.is_made() {
                    work.wanted(&tablet.alias.cell, *tablet_type)
                } else {
                    format!("the spec adopts this server for {}", work.name())
                };
                create(draft, work, action, &tablet.alias, reason);
            }
        }
        for new in &work.create {
            let alias = new.alias();
            let action = Action::CreateTablet {
                alias: alias.clone(),
                keyspace: work.keyspace.clone(),
                shard: work.shard.clone(),
                tablet_type: new.tablet_type,
                host: new.place.as_ref().map(|p| p.host.name.clone()),
                mysql_port: new.place.as_ref().map(|p| p.mysql_port),
                adopt: new.adopt.map(|a| a.server.clone()),
            };
            let reason = match new.adopt {
                Some(_) => format!("the spec adopts this server for {}", work.name()),
                None => work.wanted(new.cell, new.tablet_type),
            };
            create(draft, work, action, &alias, reason);
        }
        for (tablet, to) in &work.change {
            change(draft, work, tablet, *to);
        }
    }
}

fn create(
    draft: &mut Draft,
    work: &ShardWork,
    action: Action,
    alias: &TabletAlias,
    reason: String,
) {
    draft.step(
        work.order(Phase::Build, rank::CREATE_TABLET, alias.uid as usize),
        action,
        Risk::Safe,
        reason,
        vec![
            ids::create_cell(&alias.cell),
            ids::create_shard(work.keyspace, work.shard),
        ],
    );
}

fn change(draft: &mut Draft, work: &ShardWork, tablet: &TabletRecord, to: TabletType) {
    let mut after = vec![ids::create_tablet(&tablet.alias)];
    let rank = if to == TabletType::Replica {
        rank::TO_REPLICA
    } else {
        // What was primary until now is no replica to be turned before another one has taken over.
        after.extend(super::primaries::reparent_id(work));
        rank::TO_OTHER
    };
    draft.step(
        work.order(Phase::Build, rank, tablet.alias.uid as usize),
        Action::ChangeTabletType {
            alias: tablet.alias.clone(),
            from: tablet.tablet_type,
            to,
        },
        Risk::Disruptive,
        work.wanted(&tablet.alias.cell, to),
        after,
    );
}

fn note_health(view: &View, draft: &mut Draft, tablet: &TabletRecord, health: Health) {
    let host = &tablet.host;
    match health {
        Health::Unseen => draft.note(
            tablet.alias.to_string(),
            if view.host_of(tablet).is_none() {
                format!("cannot be seen: no agent is alive on its host {host}")
            } else {
                format!("cannot be seen: the agent of its host {host} did not answer")
            },
        ),
        Health::Down => {
            let words = view.last_words(&tablet.alias);
            let text = match tablet.adopted() {
                None => {
                    format!(
                        "its server on {host} is down, and the agent there restarts it: {words}"
                    )
                }
                Some(server) => format!(
                    "host {host} cannot look after the server {server}, which vtplan does not start: {words}"
                ),
            };
            draft.note(tablet.alias.to_string(), text);
        }
        Health::Starting | Health::Up => {
            if let Some(error) = view.replication_error(&tablet.alias) {
                draft.note(
                    tablet.alias.to_string(),
                    format!("does not replicate: {error}"),
                );
            }
        }
    }
}

/// How many tablets of a shard there are in each cell while its plan runs, those on hosts without
/// a live agent left out.
pub(crate) fn tablets_by_cell<'a>(
    view: &View,
    work: &ShardWork<'a>,
) -> BTreeMap<&'a CellName, u32> {
    let mut cells: BTreeMap<&CellName, u32> = BTreeMap::new();
    let new = work.create.iter().map(|t| t.cell);
    let kept = work.kept.iter().map(|(t, _)| *t);
    let there = kept.chain(work.delete.iter().copied());
    let there = there.filter(|t| view.host_of(t).is_some());
    for cell in new.chain(there.map(|t| &t.alias.cell)) {
        *cells.entry(cell).or_default() += 1;
    }
    cells
}
