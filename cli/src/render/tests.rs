//! Every format of one plan that has every kind of change.

mod formats;

use insta::assert_snapshot;
use serde_json::json;
use vtplan_planner::document::{Against, Document};
use vtplan_planner::plan::Plan;

use super::*;

/// `id` is made of the kind and a number; steps wait for the ones before as told.
fn plan(steps: Vec<serde_json::Value>, notes: serde_json::Value) -> Plan {
    let plan = json!({
        "format": 1, "cluster": "shop", "spec_digest": "d", "base_revision": 7,
        "live_digest": "l", "steps": steps, "notes": notes,
    });
    serde_json::from_value(plan).expect("a plan")
}

fn step(
    id: &str,
    after: &[&str],
    risk: &str,
    seconds: u64,
    rest: serde_json::Value,
) -> serde_json::Value {
    let mut step = json!({
        "id": id, "depends_on": after, "risk": risk, "estimate": {"seconds": seconds},
        "reason": format!("the reason of {id}"),
    });
    let object = step.as_object_mut().expect("an object");
    object.extend(rest.as_object().expect("an object").clone());
    step
}

fn first() -> Plan {
    let tablet = |uid: u32, tablet_type: &str, port: u16| {
        step(
            &format!("create-tablet:zone1-0000000{uid}"),
            &["create-shard"],
            "safe",
            6,
            json!({"kind": "create-tablet", "alias": format!("zone1-0000000{uid}"), "keyspace": "commerce",
                "shard": "0", "tablet_type": tablet_type, "host": "db1", "mysql_port": port}),
        )
    };
    plan(
        vec![
            step(
                "create-cell",
                &[],
                "safe",
                0,
                json!({"kind": "create-cell", "cell": "zone1"}),
            ),
            step(
                "create-keyspace",
                &[],
                "safe",
                0,
                json!({"kind": "create-keyspace", "keyspace": "commerce", "durability": "semi_sync"}),
            ),
            step(
                "create-shard",
                &["create-keyspace"],
                "safe",
                0,
                json!({"kind": "create-shard", "keyspace": "commerce", "shard": "0", "serving": true}),
            ),
            tablet(100, "replica", 17100),
            tablet(101, "replica", 17101),
            tablet(102, "rdonly", 17102),
            step(
                "init-primary",
                &["create-tablet:zone1-0000000100"],
                "safe",
                2,
                json!({"kind": "init-primary", "keyspace": "commerce", "shard": "0", "primary": "zone1-0000000100"}),
            ),
            step(
                "create-table",
                &["init-primary"],
                "safe",
                1,
                json!({"kind": "create-table", "keyspace": "commerce", "shard": "0", "table": "product",
                "statement": "create table product (\n  sku varbinary(128) primary key\n)"}),
            ),
            step(
                "create-table-seq",
                &["init-primary"],
                "safe",
                1,
                json!({"kind": "create-table", "keyspace": "commerce", "shard": "0", "table": "customer_seq",
                "statement": "create table customer_seq (id int primary key, next_id bigint, cache bigint) comment 'vitess_sequence'"}),
            ),
            step(
                "init-sequence",
                &["create-table-seq"],
                "safe",
                0,
                json!({"kind": "init-sequence", "keyspace": "commerce", "shard": "0", "table": "customer_seq", "next_id": 1, "cache": 1000}),
            ),
            step(
                "apply-vschema",
                &["create-table"],
                "safe",
                0,
                json!({"kind": "apply-vschema", "keyspace": "commerce", "before": null,
                "after": {"tables": {"product": {}}}}),
            ),
            step(
                "create-user",
                &[],
                "safe",
                0,
                json!({"kind": "create-user", "user": "app",
                "verifier": {"name": "app", "native_verifier": "aa11", "sha2_verifier": "bb22"}}),
            ),
            step(
                "configure-gates",
                &[],
                "safe",
                0,
                json!({"kind": "configure-gates", "cell": "zone1", "count": 1, "mysql_port": 15306}),
            ),
        ],
        json!([{"object": "zone1", "text": "no gate is alive, 1 is asked for"}]),
    )
}

fn second() -> Plan {
    let table = |shard: &str| {
        step(
            &format!("alter-table-{shard}"),
            &[],
            "disruptive",
            4,
            json!({"kind": "alter-table", "keyspace": "customer", "shard": shard,
            "table": "customer", "statement": "alter table customer modify id bigint not null",
            "before": "CREATE TABLE `customer` (\n  `id` bigint NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`id`)\n)",
            "after": "CREATE TABLE `customer` (\n  `id` bigint NOT NULL,\n  PRIMARY KEY (`id`)\n)"}),
        )
    };
    let mut drop = step(
        "drop-table",
        &[],
        "destructive",
        1,
        json!({"kind": "drop-table", "keyspace": "customer", "shard": "-80", "table": "old"}),
    );
    drop["estimate"] = json!({"seconds": 1, "rows": 1200, "bytes": 3_500_000});
    let mut reparent = step(
        "reparent",
        &[],
        "disruptive",
        3,
        json!({"kind": "reparent", "keyspace": "customer", "shard": "80-",
        "from": "zone1-0000000400", "to": "zone1-0000000401"}),
    );
    reparent["estimate"] = json!({"seconds": 3, "write_pause_ms": 800});
    plan(
        vec![
            table("-80"),
            table("80-"),
            drop,
            reparent,
            step(
                "delete-tablet",
                &["reparent"],
                "safe",
                3,
                json!({"kind": "delete-tablet", "alias": "zone1-0000000400", "keyspace": "customer", "shard": "80-", "host": "db2"}),
            ),
            step(
                "create-tablet",
                &["delete-tablet"],
                "safe",
                6,
                json!({"kind": "create-tablet", "alias": "zone1-0000000400", "keyspace": "customer", "shard": "80-",
                "tablet_type": "replica", "host": null, "mysql_port": null}),
            ),
            step(
                "set-durability",
                &[],
                "safe",
                1,
                json!({"kind": "set-durability", "keyspace": "customer", "from": "none", "to": "semi_sync"}),
            ),
            step(
                "apply-vschema",
                &[],
                "safe",
                0,
                json!({"kind": "apply-vschema", "keyspace": "customer",
                "before": {"sharded": true, "tables": {"customer": {}}},
                "after": {"sharded": true, "tables": {"customer": {"column_vindexes": [{"column": "id", "name": "xxhash"}]}}}}),
            ),
            step(
                "change-tablet-type",
                &[],
                "safe",
                1,
                json!({"kind": "change-tablet-type", "alias": "zone1-0000000302", "from": "replica", "to": "rdonly"}),
            ),
            step(
                "delete-user",
                &[],
                "disruptive",
                0,
                json!({"kind": "delete-user", "user": "old"}),
            ),
        ],
        json!([]),
    )
}

/// A MoveTables from its start, and a Reshard that is under way.
fn moves() -> Plan {
    let of = |workflow: &str, id: &str, after: &[&str], risk: &str, seconds, rest| {
        let mut step = step(&format!("{id}:{workflow}"), after, risk, seconds, rest);
        let object = step.as_object_mut().expect("an object");
        object.insert("keyspace".into(), "customer".into());
        object.insert("workflow".into(), workflow.into());
        step
    };
    let side = |keyspace: &str, shards: &[&str]| json!({"keyspace": keyspace, "shards": shards});
    let m = "commerce2customer";
    let tables = json!(["corder", "customer"]);
    let mut start = of(
        m,
        "start-workflow",
        &[],
        "safe",
        0,
        json!({"kind": "start-workflow", "workflow_kind": "move_tables",
            "source": side("commerce", &["0"]), "target": side("customer", &["0"]),
            "tables": tables, "throttle_max_lag_seconds": 5}),
    );
    start["reason"] = "customer and corder left commerce and are in customer".into();
    let mut copy = of(m, "copy", &[], "safe", 7, json!({"kind": "wait-for-copy"}));
    copy["estimate"] = json!({"seconds": 7, "rows": 123_456, "bytes": 52_428_800});
    let switch = |workflow: &str, types: &[&str], window: Option<&str>| {
        let mut step = of(
            workflow,
            &format!("switch-{}", types[0]),
            &[],
            "disruptive",
            1,
            json!({"kind": "switch-traffic", "tablet_types": types, "to": "target",
                "max_write_pause_ms": 1000, "window": window}),
        );
        if types[0] == "primary" {
            step["estimate"] = json!({"seconds": 1, "write_pause_ms": 500});
        } else {
            step["risk"] = "safe".into();
        }
        step
    };
    let approval = |point: &str| {
        let id = format!("approval-{point}");
        let rest = json!({"kind": "wait-for-approval", "point": point});
        of(m, &id, &[], "safe", 0, rest)
    };
    plan(
        vec![
            start,
            copy,
            of(m, "vdiff", &[], "safe", 2, json!({"kind": "vdiff"})),
            switch(m, &["replica", "rdonly"], None),
            approval("switch_writes"),
            switch(m, &["primary"], Some("Sat 02:00-05:00 Europe/Berlin")),
            of(
                m,
                "soak",
                &[],
                "safe",
                3600,
                json!({"kind": "soak", "seconds": 3600}),
            ),
            of(
                m,
                "complete",
                &[],
                "destructive",
                1,
                json!({"kind": "complete-workflow", "workflow_kind": "move_tables",
                    "source": side("commerce", &["0"]), "tables": tables}),
            ),
            of(
                "cust2cust",
                "cancel",
                &[],
                "safe",
                1,
                json!({"kind": "cancel-workflow", "workflow_kind": "reshard",
                    "target": side("customer", &["-80", "80-"]), "tables": tables}),
            ),
        ],
        json!([]),
    )
}

fn plain(plan: &Plan) -> String {
    anstream::adapter::strip_str(&text::plan(plan, &text::Options::default())).to_string()
}

fn markdown(plan: &Plan) -> String {
    let heading = markdown::Heading {
        workload: None,
        marker: None,
        against: &Against::Live,
    };
    markdown::plan(plan, &heading)
}

fn json(plan: &Plan) -> String {
    let mut bytes = Vec::new();
    let document = Document {
        plan,
        against: Against::Live,
        workload: None,
    };
    json::write(&document, &mut bytes).expect("it is written");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[test]
fn a_first_plan_as_text() {
    assert_snapshot!(plain(&first()));
}

#[test]
fn a_plan_of_changes_as_text() {
    assert_snapshot!(plain(&second()));
}

#[test]
fn a_plan_of_data_moves_as_text() {
    assert_snapshot!(plain(&moves()));
}

#[test]
fn plans_as_markdown() {
    assert_snapshot!("first_markdown", markdown(&first()));
    assert_snapshot!("changes_markdown", markdown(&second()));
    assert_snapshot!("moves_markdown", markdown(&moves()));
}

#[test]
fn a_plan_as_a_graph() {
    assert_snapshot!(dot::plan(&second()));
    assert_snapshot!("moves_dot", dot::plan(&moves()));
}

#[test]
fn no_changes() {
    let none = plan(
        vec![],
        json!([{"object": "commerce.review", "text": "it is kept"}]),
    );
    assert_snapshot!(plain(&none));
    assert_snapshot!("no_changes_markdown", markdown(&none));
}

#[test]
fn printed_json_has_no_verifiers() {
    let text = json(&first());
    assert!(!text.contains("aa11") && !text.contains("bb22"), "{text}");
    assert!(text.contains("(sensitive)"));
    for text in [plain(&first()), markdown(&first()), dot::plan(&first())] {
        assert!(!text.contains("aa11") && !text.contains("bb22"), "{text}");
    }
}

/// A plan of many steps of one kind.
fn large(steps: usize, step_of: impl Fn(usize) -> serde_json::Value) -> Plan {
    plan((0..steps).map(step_of).collect(), json!([]))
}

#[test]
fn a_comment_is_never_longer_than_it_may_be_and_says_what_it_left_out() {
    let long = "a `long` text with | and <b>, ".repeat(30);
    let drops = large(2_000, |n| {
        let mut step = step(
            &format!("drop-{n}"),
            &[],
            "destructive",
            1,
            json!({"kind": "drop-table", "keyspace": "customer", "shard": "-80",
                "table": format!("t{n}")}),
        );
        step["reason"] = long.clone().into();
        step
    });
    let creations = large(2_000, |n| {
        let columns: String = (0..40).map(|c| format!("  c{c} bigint,\n")).collect();
        step(
            &format!("create-{n}"),
            &[],
            "safe",
            1,
            json!({"kind": "create-table", "keyspace": "customer", "shard": "-80",
                "table": format!("t{n}"), "statement": format!("create table t{n} (\n{columns}```)")}),
        )
    });
    let mut noted = first();
    for n in 0..3_000 {
        noted.notes.push(vtplan_planner::plan::Note {
            object: format!("commerce.t{n}"),
            text: long.clone(),
        });
    }
    for (plan, what) in [
        (drops, "of 2000 destructive steps, "),
        (creations, "of 2000 definitions"),
        (noted, "of 3001 notes"),
    ] {
        let text = markdown(&plan);
        assert!(text.len() <= markdown::LIMIT, "{} bytes", text.len());
        assert!(text.len() > markdown::LIMIT / 4, "{} bytes", text.len());
        let last = text.trim_end().lines().last().expect("a line");
        assert!(last.contains("Left out: ") && last.contains(what), "{last}");
        assert_eq!(
            text.matches("<details>").count(),
            text.matches("</details>").count()
        );
        // What opens a block of code closes it.
        assert_eq!(text.lines().filter(|l| l.starts_with("```")).count() % 2, 0);
    }
}

#[test]
fn a_refusal_fits_into_a_comment_too() {
    let details = "`````` x\n".repeat(20_000);
    let text = markdown::refusal("the spec has 1 error", &details, &[], Some("shop/eu"));
    assert!(text.len() <= markdown::LIMIT);
    assert!(text.starts_with("<!-- vtplan-plan shop/eu -->\n"));
    assert!(text.contains("left out"));
}

#[test]
fn what_specs_say_does_not_become_markup_in_a_comment() {
    let mut evil = second();
    evil.cluster = "a`b".to_owned();
    for step in &mut evil.steps {
        step.reason = "<img src=x onerror=y> @team | `</details>` [a](http://b) #1".to_owned();
    }
    evil.notes.push(vtplan_planner::plan::Note {
        object: "x` <script>".to_owned(),
        text: "</details> @team".to_owned(),
    });
    let text = markdown(&evil);
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            Some(open) => {
                if line == open {
                    fence = None;
                }
            }
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => {
                let known = ["<!-- vtplan-plan -->", "</details>"].contains(&line)
                    || line.starts_with("<details><summary>");
                let outside: String = line.split('`').step_by(2).collect();
                assert!(
                    known || !outside.contains("<img") && !outside.contains("<script"),
                    "{line}"
                );
                assert!(!outside.contains("@team"), "{line}");
                assert!(known || !outside.contains("</details>"), "{line}");
            }
        }
    }
    assert_eq!(fence, None, "every block of code ends");
}
