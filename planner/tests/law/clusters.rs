//! Clusters that are made, changed and removed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use vtplan_planner::desired::{Desired, OnRemove};
use vtplan_planner::live::{Live, ObservedTable};
use vtplan_planner::plan::{Action, Risk, Step};
use vtplan_planner::{make_destroy_plan, make_plan, make_steps, simulate};
use vtplan_state::model::{
    HostName, KeyspaceName, ShardName, TableName, TabletAlias, WorkflowKind,
};

use crate::cluster_cases::{self, Case, case, desired, live};
use crate::{Checked, Numbers, left_after, some_in_any_order};

/// Runs a property on cases that have a plan until `wanted` of them had steps.
fn on_plans(wanted: u32, check: impl Fn(&Case, &Desired, &Live, &[Step]) -> Checked) {
    let with_steps = Cell::new(0u32);
    let seed = std::env::var("VTPLAN_TEST_SEED").unwrap_or_default();
    let seed: u64 = seed.parse().unwrap_or_default();
    let mut rounds: u64 = 0;
    while with_steps.get() < wanted {
        let config = Config {
            cases: wanted.min(2_000),
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&rounds.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let result = runner.run(&case(), |case| {
            let (desired, live) = (desired(&case.desired, &case.hosts), live(&case));
            let Ok((steps, _)) = make_steps(&desired, &live) else {
                return Ok(());
            };
            // A tablet without a host cannot be created, so such a plan is only for reading.
            if !appliable(&steps) {
                return Ok(());
            }
            check(&case, &desired, &live, &steps)?;
            with_steps.set(with_steps.get() + u32::from(!steps.is_empty()));
            Ok(())
        });
        if let Err(error) = result {
            panic!("VTPLAN_TEST_SEED={seed}: {error}");
        }
        rounds += 1;
        assert!(rounds < 100, "the generated cases hardly ever have a plan");
    }
}

#[test]
fn a_plan_cut_anywhere_is_continued_by_planning_again() {
    on_plans(10_000, |case, desired, live, steps| {
        let mut numbers = Numbers::new(case.seed);
        let done = some_in_any_order(steps, &mut numbers);
        left_after(desired, live, steps, &done)?;
        let prefix: Vec<&Step> = steps[..numbers.below(steps.len() + 1)].iter().collect();
        left_after(desired, live, steps, &prefix)
    });
}

#[test]
fn every_prefix_of_a_plan_leaves_the_rest() {
    on_plans(200, |_, desired, live, steps| {
        for k in 0..=steps.len() {
            let done: Vec<&Step> = steps[..k].iter().collect();
            left_after(desired, live, steps, &done)?;
        }
        Ok(())
    });
}

#[test]
fn a_step_done_twice_is_a_step_done_once() {
    on_plans(500, |_, _, live, steps| {
        let mut once = live.clone();
        for step in steps {
            simulate::apply(&mut once, step);
            let mut twice = once.clone();
            simulate::apply(&mut twice, step);
            prop_assert_eq!(&twice, &once, "{}", &step.id);
        }
        Ok(())
    });
}

#[test]
fn equal_inputs_give_byte_equal_plans_and_no_step_is_left_at_the_end() {
    on_plans(500, |_, desired, live, steps| {
        let json = |live: &Live| {
            let plan = make_plan(desired, live).expect("there was a plan before");
            serde_json::to_string(&plan).unwrap()
        };
        // From JSON, so that nothing but the values can be equal.
        let copy: Live = serde_json::from_value(serde_json::to_value(live).unwrap()).unwrap();
        prop_assert_eq!(json(live), json(&copy));
        let mut end = live.clone();
        simulate::apply_all(&mut end, steps);
        let plan = make_plan(desired, &end).expect("a done plan leaves a sound state");
        prop_assert_eq!(plan.steps, vec![]);
        Ok(())
    });
}

/// Whether every tablet of the plan has a host.
fn appliable(steps: &[Step]) -> bool {
    !steps
        .iter()
        .any(|s| matches!(s.action, Action::CreateTablet { host: None, .. }))
}

#[test]
fn dependencies_come_first_and_ids_are_unique() {
    on_plans(500, |_, _, _, steps| {
        let mut seen: HashSet<&str> = HashSet::new();
        for step in steps {
            prop_assert_eq!(&step.id, &step.action.id());
            for id in &step.after {
                prop_assert!(seen.contains(id.as_str()), "{} after {}", &step.id, id);
            }
            let sorted: Vec<_> = BTreeSet::from_iter(&step.after).into_iter().collect();
            prop_assert_eq!(sorted, step.after.iter().collect::<Vec<_>>());
            prop_assert!(seen.insert(&step.id), "{} twice", &step.id);
        }
        Ok(())
    });
}

#[test]
fn data_goes_only_where_the_spec_said_so() {
    on_plans(500, |case, desired, live, steps| {
        let before = case
            .before
            .iter()
            .rev()
            .map(|(shape, _)| cluster_cases::desired(shape, &case.hosts));
        let consent = |keyspace: &KeyspaceName| {
            let now = desired.keyspaces.get(keyspace);
            let then = before
                .clone()
                .filter_map(|d| d.keyspaces.get(keyspace).cloned());
            let all = now.cloned().into_iter().chain(then);
            all.into_iter().any(|ks| {
                ks.on_remove == OnRemove::Drop
                    || ks.tables.values().any(|t| t.on_remove == OnRemove::Drop)
            })
        };
        let mut gone: BTreeMap<(&KeyspaceName, &ShardName), u32> = BTreeMap::new();
        for step in steps {
            if let Action::DeleteTablet {
                alias,
                keyspace,
                shard,
                ..
            } = &step.action
            {
                *gone.entry((keyspace, shard)).or_default() += 1;
                let seen = live.observed.tablets.contains_key(alias);
                let primary = live.records.shard(keyspace, shard).unwrap();
                prop_assert!(seen || primary.primary.is_none(), "{alias} was not seen");
                let tables = live
                    .observed
                    .tablets
                    .get(alias)
                    .and_then(|o| o.tables.as_ref());
                let holds = tables.is_some_and(|t| !t.is_empty());
                let moved = steps.iter().any(|s| match &s.action {
                    Action::Reparent { from, .. } => from == alias,
                    // Dropping them is destructive itself.
                    Action::CompleteWorkflow {
                        source,
                        tables: moved,
                        ..
                    } => source.keyspace == *keyspace && all_of(tables, moved),
                    Action::CancelWorkflow {
                        target,
                        tables: moved,
                        ..
                    } => target.keyspace == *keyspace && all_of(tables, moved),
                    _ => false,
                });
                prop_assert!(
                    !holds || moved || step.risk == Risk::Destructive,
                    "{alias} is the primary of a shard with tables"
                );
            }
            if step.risk == Risk::Destructive {
                match &step.action {
                    Action::DeleteTablet {
                        keyspace, shard, ..
                    } => prop_assert!(
                        consent(keyspace)
                            || is_elsewhere(desired, live, steps, keyspace, shard)
                            || is_empty(live, keyspace, shard),
                        "{} without consent",
                        &step.id
                    ),
                    Action::DropTable {
                        keyspace,
                        shard,
                        table,
                        ..
                    } => {
                        let rows = table_of(live, keyspace, shard, table).map(|t| t.rows);
                        prop_assert!(
                            consent(keyspace) || rows == Some(0),
                            "{} without consent",
                            &step.id
                        );
                    }
                    // The tables are at the target by then.
                    Action::CompleteWorkflow { workflow_kind, .. } => {
                        prop_assert_eq!(*workflow_kind, WorkflowKind::MoveTables);
                    }
                    _ => return Err(TestCaseError::fail(format!("{} is destructive", step.id))),
                }
            }
        }
        Ok(())
    });
}

fn all_of(tables: Option<&BTreeMap<TableName, ObservedTable>>, moved: &[TableName]) -> bool {
    tables.is_none_or(|tables| tables.keys().all(|table| moved.contains(table)))
}

fn table_of<'a>(
    live: &'a Live,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    table: &TableName,
) -> Option<&'a ObservedTable> {
    let primary = live.records.shard(keyspace, shard)?.primary.as_ref()?;
    live.observed
        .tablets
        .get(primary)?
        .tables
        .as_ref()?
        .get(table)
}

/// Whether a shard's range is served by others by the time that it goes.
fn is_elsewhere(
    desired: &Desired,
    live: &Live,
    steps: &[Step],
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> bool {
    let kept = desired.keyspaces.get(keyspace);
    if kept.is_none_or(|kept| kept.shards.contains(shard)) {
        return false;
    }
    let mut at_end = live.clone();
    simulate::apply_all(
        &mut at_end,
        steps.iter().filter(|s| {
            !matches!(
                s.action,
                Action::DeleteTablet { .. } | Action::DeleteShard { .. }
            )
        }),
    );
    let gone = at_end.records.shard(keyspace, shard);
    let serving: Vec<ShardName> = at_end
        .records
        .shards_of(keyspace)
        .filter(|record| record.serving)
        .map(|record| record.shard.clone())
        .collect();
    gone.is_some_and(|gone| !gone.serving) && serving == kept.unwrap().shards
}

/// Whether a shard's tables are seen to have no row.
fn is_empty(live: &Live, keyspace: &KeyspaceName, shard: &ShardName) -> bool {
    let primary = live
        .records
        .shard(keyspace, shard)
        .and_then(|s| s.primary.as_ref());
    let observed = primary.and_then(|primary| live.observed.tablets.get(primary));
    let tables = observed.and_then(|observed| observed.tables.as_ref());
    tables.is_some_and(|tables| tables.values().all(|table| table.rows == 0))
}

#[test]
fn tablets_never_share_a_uid_or_a_port_and_hosts_are_not_overfull() {
    on_plans(1_000, |case, desired, live, steps| {
        let mut all = live.clone();
        let creations = steps
            .iter()
            .filter(|s| !matches!(s.action, Action::DeleteTablet { .. }));
        simulate::apply_all(&mut all, creations);
        let (mut uids, mut ports) = (HashSet::new(), HashSet::new());
        let mut load: HashMap<&HostName, u32> = HashMap::new();
        for tablet in all.records.tablets.values() {
            prop_assert!(
                uids.insert(tablet.alias.uid),
                "{} has another's uid",
                &tablet.alias
            );
            if !tablet.server.is_made() {
                continue;
            }
            if let Some(host) = all.records.hosts.get(&tablet.host) {
                let place = (host.address.as_str(), tablet.mysql_port);
                prop_assert!(ports.insert(place), "{place:?} twice");
                prop_assert_eq!(&host.cell, &tablet.alias.cell);
                let there = load.entry(&tablet.host).or_default();
                *there += 1;
                prop_assert!(*there <= host.capacity, "{} is overfull", &host.name);
            }
        }
        apart(case, desired, live, &all)
    });
}

/// Two new tablets of a shard are on different hosts if its flavor has enough of them.
fn apart(_: &Case, desired: &Desired, before: &Live, after: &Live) -> Checked {
    for (name, keyspace) in &desired.keyspaces {
        let mut tablets = keyspace.tablets.iter();
        let pinned = tablets.any(|t| t.pin.is_some() || t.adopt.is_some());
        for shard in &keyspace.shards {
            for cell in &desired.cells {
                let there: Vec<_> = after
                    .records
                    .tablets_of(name, shard)
                    .filter(|t| t.alias.cell == *cell)
                    .filter(|t| after.records.hosts.contains_key(&t.host))
                    .collect();
                let Some(first) = there.first() else { continue };
                let hosts = after.records.hosts.values();
                let hosts = hosts.filter(|h| h.cell == *cell && h.flavor == first.flavor);
                if pinned || hosts.count() < there.len() {
                    continue;
                }
                let new = |alias: &TabletAlias| !before.records.tablets.contains_key(alias);
                for tablet in there.iter().filter(|t| new(&t.alias)) {
                    let together = there.iter().filter(|t| t.host == tablet.host).count();
                    prop_assert_eq!(together, 1, "{} is not alone on its host", &tablet.alias);
                    prop_assert_eq!(tablet.flavor, first.flavor);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_cluster_that_is_destroyed_leaves_nothing_wherever_it_was_cut() {
    on_plans(500, |case, _, live, _| {
        let plan = make_destroy_plan("shop", live).expect("everything can be destroyed");
        let mut numbers = Numbers::new(case.seed);
        let mut live = live.clone();
        let done = some_in_any_order(&plan.steps, &mut numbers);
        simulate::apply_all(&mut live, done.iter().copied());
        let rest = make_destroy_plan("shop", &live).expect("also what is left of it");
        prop_assert_eq!(rest.steps.len() + done.len(), plan.steps.len());
        simulate::apply_all(&mut live, &rest.steps);
        let records = &live.records;
        let lost =
            |t: &&vtplan_state::model::TabletRecord| records.shard(&t.keyspace, &t.shard).is_some();
        prop_assert_eq!(records.tablets.values().filter(lost).count(), 0);
        prop_assert!(records.shards.is_empty() && records.keyspaces.is_empty());
        prop_assert!(records.users.is_empty() && records.gate_configs.is_empty());
        Ok(())
    });
}
