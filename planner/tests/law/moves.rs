//! What holds of plans that move data, over generated changes of where tables are and how keyspaces
//! are sharded, begun, taken back and changed again at any moment.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vtplan_planner::desired::Desired;
use vtplan_planner::live::Live;
use vtplan_planner::plan::{Action, Operation, Risk, Step, WorkflowOperation};
use vtplan_planner::{make_destroy_plan, make_operation_plan, make_plan, make_steps, simulate};
use vtplan_state::model::{KeyspaceName, ShardName, Side, TabletType};

use crate::move_cases::{MoveCase, TABLES, all_by_hand, desired, live, move_case};
use crate::{Checked, Numbers, left_after, some_in_any_order};

/// Runs a property on cases until `wanted` of them had a plan that has to do with a workflow.
fn on_moves(wanted: u32, check: impl Fn(&MoveCase, &Desired, &Live, &[Step]) -> Checked) {
    let found = Cell::new(0u32);
    let seed = std::env::var("VTPLAN_TEST_SEED").unwrap_or_default();
    let seed: u64 = seed.parse().unwrap_or_default();
    let mut rounds: u64 = 0;
    while found.get() < wanted {
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
        let result = runner.run(&move_case(), |case| {
            let (desired, live) = (desired(&case.last), live(&case));
            let Ok((steps, _)) = make_steps(&desired, &live) else {
                return Ok(());
            };
            check(&case, &desired, &live, &steps)?;
            let of_workflow = |step: &Step| {
                matches!(
                    step.action,
                    Action::CompleteWorkflow { .. } | Action::CancelWorkflow { .. }
                )
            };
            found.set(found.get() + u32::from(steps.iter().any(of_workflow)));
            Ok(())
        });
        if let Err(error) = result {
            panic!("VTPLAN_TEST_SEED={seed}: {error}");
        }
        rounds += 1;
        assert!(
            rounds < 100,
            "the generated cases hardly ever move anything"
        );
    }
}

#[test]
fn a_plan_that_moves_data_is_continued_from_wherever_it_was_cut() {
    on_moves(600, |case, desired, live, steps| {
        let mut numbers = Numbers::new(case.seed);
        let done = some_in_any_order(steps, &mut numbers);
        left_after(desired, live, steps, &done)?;
        let prefix: Vec<&Step> = steps[..numbers.below(steps.len() + 1)].iter().collect();
        left_after(desired, live, steps, &prefix)
    });
}

#[test]
fn every_prefix_leaves_the_rest_and_a_step_done_twice_is_done_once() {
    on_moves(60, |_, desired, live, steps| {
        let mut once = live.clone();
        for (k, step) in steps.iter().enumerate() {
            left_after(desired, live, steps, &steps[..k].iter().collect::<Vec<_>>())?;
            simulate::apply(&mut once, step);
            let mut twice = once.clone();
            simulate::apply(&mut twice, step);
            prop_assert_eq!(&twice, &once, "{}", &step.id);
        }
        left_after(desired, live, steps, &steps.iter().collect::<Vec<_>>())
    });
}

#[test]
fn equal_inputs_give_byte_equal_plans_whose_dependencies_come_first() {
    on_moves(200, |_, desired, live, steps| {
        let json = |live: &Live| {
            let plan = make_plan(desired, live).expect("there was a plan before");
            serde_json::to_string(&plan).unwrap()
        };
        let copy: Live = serde_json::from_value(serde_json::to_value(live).unwrap()).unwrap();
        prop_assert_eq!(json(live), json(&copy));
        let mut seen: HashSet<&str> = HashSet::new();
        for step in steps {
            prop_assert_eq!(&step.id, &step.action.id());
            for id in &step.after {
                prop_assert!(seen.contains(id.as_str()), "{} after {}", &step.id, id);
            }
            prop_assert!(seen.insert(&step.id), "{} twice", &step.id);
        }
        Ok(())
    });
}

/// Room that is enough for all of a plan is enough for what is left of it.
#[test]
fn a_plan_that_fits_still_fits_wherever_it_was_cut() {
    let count = Cell::new(0u32);
    on_moves(200, |case, desired, live, steps| {
        let mut live = live.clone();
        let fit = make_plan(desired, &live)
            .expect("there was a plan before")
            .fit;
        for disk in &fit.disks {
            for host in &disk.hosts {
                let room = live.observed.hosts.get_mut(host);
                if let Some(seen) = room.and_then(|room| room.disk.as_mut()) {
                    seen.free_bytes = disk.needed_bytes;
                    count.set(count.get() + 1);
                }
            }
        }
        prop_assert!(make_plan(desired, &live).is_ok());
        let done = some_in_any_order(steps, &mut Numbers::new(case.seed));
        simulate::apply_all(&mut live, done.iter().copied());
        let rest = make_plan(desired, &live);
        prop_assert!(rest.is_ok(), "{:?}", rest.err());
        // What was begun goes on, whatever becomes of the disks.
        let rooms = live.observed.hosts.values_mut();
        for disk in rooms.filter_map(|room| room.disk.as_mut()) {
            disk.free_bytes = 0;
        }
        prop_assert!(make_steps(desired, &live).is_ok());
        Ok(())
    });
    assert!(count.get() > 100, "plans hardly ever needed room");
}

/// The invariants of every moment: for each type of tablets the serving shards of a keyspace cover the
/// range once; each table that had rows is somewhere complete, and names lead there.
fn sound(live: &Live, steps: &[Step], with_rows: &[&str], when: &str) -> Checked {
    let records = &live.records;
    for keyspace in records.keyspaces.keys() {
        // One that is being made, or removed, is not complete.
        let removing = |step: &Step| matches!(&step.action, Action::DeleteKeyspace { keyspace: k } if k == keyspace);
        if !records.vschemas.contains_key(keyspace) || steps.iter().any(removing) {
            continue;
        }
        for tablet_type in [TabletType::Primary, TabletType::Replica, TabletType::Rdonly] {
            prop_assert!(
                is_covered(live, keyspace, tablet_type),
                "{when}: {keyspace} is not covered for {tablet_type}"
            );
        }
    }
    for table in with_rows {
        let mut at = owners(live, table);
        let rules = &records.routing.rules;
        if let Some(rule) = rules.iter().find(|rule| rule.from_table == *table) {
            let (to, _) = rule.to_tables[0].split_once('.').unwrap();
            at.retain(|keyspace| keyspace.as_str() == to);
        }
        prop_assert!(!at.is_empty(), "{when}: {table} is nowhere");
        let known = records
            .vschemas
            .values()
            .filter(|vschema| vschema.tables.contains_key(*table))
            .count();
        let ruled = rules.iter().any(|rule| rule.from_table == *table);
        prop_assert!(
            known == 1 || ruled,
            "{when}: {table} is known in {known} keyspaces"
        );
    }
    Ok(())
}

fn is_covered(live: &Live, keyspace: &KeyspaceName, tablet_type: TabletType) -> bool {
    let shards = live.records.shards_of(keyspace);
    let serving: Vec<_> = shards
        .filter(|shard| shard.serves(tablet_type))
        .map(|shard| shard.shard.key_range())
        .collect();
    serving
        .first()
        .is_some_and(|range| range.start().is_empty())
        && serving.last().is_some_and(|range| range.end().is_empty())
        && serving.windows(2).all(|w| w[0].end() == w[1].start())
}

/// Keyspaces whose serving shards all have rows of a table.
fn owners(live: &Live, table: &str) -> Vec<KeyspaceName> {
    let records = &live.records;
    let has = |keyspace: &KeyspaceName| {
        let mut shards = records.shards_of(keyspace).filter(|s| s.serving).peekable();
        shards.peek().is_some()
            && shards.all(|shard| {
                let primary = shard.primary.as_ref();
                let observed = primary.and_then(|p| live.observed.tablets.get(p));
                let tables = observed.and_then(|o| o.tables.as_ref());
                tables.is_some_and(|t| t.get(table).is_some_and(|t| t.rows > 0))
            })
    };
    records
        .keyspaces
        .keys()
        .filter(|k| has(k))
        .cloned()
        .collect()
}

#[test]
fn at_every_moment_each_range_is_served_once_and_no_table_is_lost() {
    on_moves(300, |case, _, live, steps| {
        let with_rows: Vec<&str> = TABLES.to_vec();
        let half_removed = |keyspace: &KeyspaceName| {
            live.records.vschemas.contains_key(keyspace)
                && !is_covered(live, keyspace, TabletType::Primary)
        };
        if live.records.keyspaces.keys().any(half_removed) {
            return Ok(());
        }
        let mut now = live.clone();
        sound(&now, steps, &with_rows, "before")?;
        let mut numbers = Numbers::new(case.seed);
        let some = some_in_any_order(steps, &mut numbers);
        for step in some {
            simulate::apply(&mut now, step);
            sound(&now, steps, &with_rows, &step.id)?;
        }
        let mut now = live.clone();
        for step in steps {
            simulate::apply(&mut now, step);
            sound(&now, steps, &with_rows, &step.id)?;
        }
        Ok(())
    });
}

#[test]
fn what_goes_is_elsewhere_and_is_marked() {
    on_moves(300, |_, desired, live, steps| {
        for step in steps {
            match &step.action {
                Action::CompleteWorkflow { .. } => {}
                Action::DeleteTablet {
                    alias,
                    keyspace,
                    shard,
                    ..
                } => {
                    let kept = desired.keyspaces.get(keyspace);
                    let holds = live
                        .observed
                        .tablets
                        .get(alias)
                        .and_then(|o| o.tables.as_ref());
                    let with_rows = holds.is_some_and(|t| t.values().any(|t| t.rows > 0));
                    if let (true, Some(kept)) = (with_rows, kept) {
                        prop_assert_eq!(step.risk, Risk::Destructive, "{}", &step.id);
                        prop_assert!(!kept.shards.contains(shard), "{} holds data", &step.id);
                    }
                }
                Action::DropTable { .. } => {
                    prop_assert_eq!(step.risk, Risk::Destructive, "{}", &step.id);
                }
                _ => prop_assert_ne!(step.risk, Risk::Destructive, "{}", &step.id),
            }
        }
        Ok(())
    });
}

#[test]
fn a_spec_that_is_taken_back_leads_to_the_start() {
    on_moves(200, |case, _, live, steps| {
        // From any moment of the way to the spec before it, if that was applied.
        let before = crate::move_cases::desired(&case.first);
        let applied = live.records.spec.as_ref().map(|spec| &spec.desired);
        let same = case.first.auto_increment == case.last.auto_increment;
        if !case.then.is_empty()
            || !same
            || applied != Some(&serde_json::to_value(&before).unwrap())
        {
            return Ok(());
        }
        let mut numbers = Numbers::new(case.seed);
        let mut now = live.clone();
        simulate::apply_all(&mut now, some_in_any_order(steps, &mut numbers));
        if numbers.below(3) == 0 {
            all_by_hand(&mut now, Operation::Cancel);
        }
        let back = make_steps(&before, &now);
        let back = match back {
            Ok((back, _)) => back,
            // What was completed goes back in a new workflow, and one may have that name. A
            // keyspace of which primaries are deleted already does not come back.
            Err(errors) => {
                let lost = errors.iter().any(|e| e.code == "primary-lost");
                let known = lost || errors.iter().all(|e| e.code == "workflow-name-taken");
                prop_assert!(known, "no way back: {errors:?}");
                return Ok(());
            }
        };
        simulate::apply_all(&mut now, &back);
        let shards = |live: &Live| -> Vec<(KeyspaceName, ShardName, bool)> {
            let shards = live.records.shards.values();
            shards
                .map(|s| (s.keyspace.clone(), s.shard.clone(), s.serving))
                .collect()
        };
        prop_assert_eq!(shards(&now), shards(live));
        prop_assert_eq!(&now.records.vschemas, &live.records.vschemas);
        prop_assert_eq!(&now.records.routing, &live.records.routing);
        prop_assert!(now.records.workflows.is_empty());
        for table in TABLES {
            prop_assert_eq!(owners(&now, table), owners(live, table), "{}", table);
        }
        Ok(())
    });
}

#[test]
fn a_cluster_that_moves_data_can_be_destroyed_wherever_that_is_cut() {
    on_moves(200, |case, _, live, _| {
        let plan = make_destroy_plan("shop", live).expect("everything can be destroyed");
        let mut numbers = Numbers::new(case.seed);
        let mut live = live.clone();
        let done = some_in_any_order(&plan.steps, &mut numbers);
        simulate::apply_all(&mut live, done.iter().copied());
        let rest = make_destroy_plan("shop", &live).expect("also what is left of it");
        prop_assert_eq!(rest.steps.len() + done.len(), plan.steps.len());
        simulate::apply_all(&mut live, &rest.steps);
        let records = &live.records;
        prop_assert!(records.shards.is_empty() && records.keyspaces.is_empty());
        prop_assert!(records.workflows.is_empty() && records.routing.rules.is_empty());
        Ok(())
    });
}

#[test]
fn operations_by_hand_are_continued_from_wherever_they_were_cut() {
    on_moves(200, |_, _, live, _| {
        for workflow in live.records.all_workflows() {
            for operation in [
                Operation::Switch,
                Operation::SwitchReads,
                Operation::Reverse,
                Operation::Complete,
                Operation::Cancel,
            ] {
                let asked = WorkflowOperation {
                    keyspace: workflow.target.keyspace.clone(),
                    workflow: workflow.name.clone(),
                    operation,
                };
                let Ok(plan) = make_operation_plan(live, &asked) else {
                    continue;
                };
                for k in 0..=plan.steps.len() {
                    let mut after = live.clone();
                    simulate::apply_all(&mut after, &plan.steps[..k]);
                    let rest = make_operation_plan(&after, &asked).expect("it goes on");
                    let ids = |steps: &[Step]| -> Vec<String> {
                        steps.iter().map(|s| s.id.clone()).collect()
                    };
                    prop_assert_eq!(ids(&rest.steps), ids(&plan.steps[k..]));
                }
                let mut end = live.clone();
                simulate::apply_all(&mut end, &plan.steps);
                let left = end.records.workflow(&asked.keyspace, &asked.workflow);
                match operation {
                    Operation::Switch => prop_assert_eq!(left.unwrap().writes, Side::Target),
                    Operation::Reverse => prop_assert_eq!(left.unwrap().writes, Side::Source),
                    Operation::SwitchReads => {
                        prop_assert_eq!(left.unwrap().reads_switched.len(), 2)
                    }
                    Operation::Complete | Operation::Cancel => prop_assert!(left.is_none()),
                }
            }
        }
        Ok(())
    });
}
