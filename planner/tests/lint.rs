//! Rules find what they are for and nothing else; exceptions need reasons; a policy binds plans.

use std::path::Path;

use vtplan_planner::lint::{Finding, Level, RULES, lint};
use vtplan_planner::live::Live;
use vtplan_planner::spec::{self, Language, Loaded, NoSecrets, SpecErrors};
use vtplan_planner::{make_destroy_plan, make_plan, simulate};

fn try_load(text: &str) -> Result<Loaded, SpecErrors> {
    let folder = tempfile::tempdir().unwrap();
    let kdl = text.trim_start().starts_with("vtplan 1");
    let path = folder
        .path()
        .join(if kdl { "spec.kdl" } else { "spec.yaml" });
    std::fs::write(&path, text).unwrap();
    std::fs::create_dir(folder.path().join("legacy")).unwrap();
    let sql = "CREATE TABLE old (a int);\nCREATE TABLE older (a int);\n";
    std::fs::write(folder.path().join("legacy/old.sql"), sql).unwrap();
    spec::load(&[path], &NoSecrets)
}

fn load(text: &str) -> Loaded {
    match try_load(text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}"),
    }
}

fn found(text: &str) -> Vec<Finding> {
    lint(&load(text))
}

/// What counts, as `rule object`.
fn names(findings: &[Finding]) -> Vec<String> {
    let counting = findings.iter().filter(|f| f.ignored.is_none());
    let mut names: Vec<String> = counting
        .map(|f| format!("{} {}", f.rule, f.object))
        .collect();
    names.sort();
    names
}

/// Nothing is found in it.
const GOOD: &str = "
vtplan: 1
cluster: shop
cells: [zone1]
changes: { soak: 1h, approve: [switch_writes], window: \"02:00-05:00\" }
backups: { location: \"file:///backups\", schedules: [{ cron: \"0 3 * * *\" }] }
lint: { rules: [{ name: no-window, level: warning }, { name: no-approval, level: note }] }
keyspaces:
  main:
    tablets: { zone1: { replica: 3 } }
    schema: { sql: \"CREATE TABLE product (sku varbinary(9) PRIMARY KEY, n int UNIQUE)\" }
    tables: { product: , customer_seq: { type: sequence } }
  customer:
    shards: [-80, 80-]
    tablets: { zone1: { replica: 3, rdonly: 1 } }
    schema: { sql: \"CREATE TABLE customer (id bigint NOT NULL, email varchar(9), PRIMARY KEY (id)); CREATE TABLE corder (oid bigint, id bigint, PRIMARY KEY (oid, id), KEY (id))\" }
    vindexes: { xxhash: { type: xxhash } }
    tables:
      customer: { vindexes: [{ column: id, name: xxhash }], auto_increment: { column: id, sequence: main.customer_seq } }
      corder: { vindexes: [{ column: id, name: xxhash }] }
";

#[test]
fn nothing_is_found_in_a_good_spec() {
    assert_eq!(names(&found(GOOD)), Vec::<String>::new());
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let customer = "vindexes: [{ column: id, name: xxhash }], auto_increment: { column: id, sequence: main.customer_seq }";
    let cases: &[(&str, &str, &str)] = &[
        (
            "sku varbinary(9) PRIMARY KEY",
            "sku varbinary(9)",
            "table-without-primary-key main.product",
        ),
        (
            "(oid bigint, id bigint, PRIMARY KEY (oid, id)",
            "(oid bigint AUTO_INCREMENT, id bigint, PRIMARY KEY (oid, id)",
            "auto-increment-without-sequence customer.corder",
        ),
        (
            ", KEY (id))",
            ")",
            "vindex-column-without-index customer.corder",
        ),
        (
            "email varchar(9)",
            "email varchar(9) UNIQUE",
            "unique-key-per-shard customer.customer",
        ),
        (
            "{ replica: 3 }",
            "{ replica: 2 }",
            "semi-sync-one-replica main",
        ),
        (
            "    tablets: { zone1: { replica: 3 } }",
            "    durability: none\n    tablets: { zone1: { replica: 3 } }",
            "no-durability main",
        ),
        (
            "cron: \"0 3 * * *\"",
            "cron: \"0 3 * * *\", keyspaces: [main]",
            "no-backup-schedule customer",
        ),
        ("soak: 1h, ", "", "zero-soak changes"),
        (
            "soak: 1h, ",
            "soak: 1h, vdiff: skip, ",
            "vdiff-skipped changes",
        ),
        (", window: \"02:00-05:00\"", "", "no-window changes"),
        (", approve: [switch_writes]", "", "no-approval changes"),
        (
            "tables: { product: ,",
            "tables: { product: { on_remove: drop },",
            "drop-on-remove main.product",
        ),
    ];
    let mut seen = Vec::new();
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let findings = found(&GOOD.replacen(from, to, 1));
        assert_eq!(names(&findings), [*expected], "{to}");
        assert!(findings[0].place.is_some(), "{expected} has a place");
        seen.push(findings[0].rule);
    }
    // Two more show with others.
    let single = GOOD
        .replacen("{ replica: 3 }", "{ replica: 1 }", 1)
        .replacen(
            "    tablets: { zone1: { replica: 1 } }",
            "    durability: none\n    tablets: { zone1: { replica: 1 } }",
            1,
        );
    assert_eq!(
        names(&found(&single)),
        ["few-replicas main", "no-durability main"]
    );
    seen.push("few-replicas");
    let null = GOOD
        .replace(
            "{ type: xxhash }",
            "{ type: xxhash }, nothing: { type: \"null\" }",
        )
        .replace(customer, &customer.replace("name: xxhash", "name: nothing"));
    assert_eq!(
        names(&found(&null)),
        ["scatter-only-vindex customer.customer"]
    );
    seen.push("scatter-only-vindex");
    let unseen: Vec<_> = RULES
        .iter()
        .filter(|r| !seen.contains(&r.name))
        .map(|r| r.name)
        .collect();
    assert!(unseen.is_empty(), "no case for {unseen:?}");
}

const OLD: &str = "
vtplan: 1
cluster: shop
cells: [zone1]
lint:
  rules: [{ name: zero-soak, level: off }, { name: no-backup-schedule, level: error }]
  ignore:
    - { rule: table-without-primary-key, file: \"legacy/*.sql\", object: \"*.old\", reason: it goes next month }
    - { rule: no-backup-schedule, reason: a cache }
    - { rule: vdiff-skipped, reason: for nothing }
keyspaces:
  main:
    tablets: { zone1: { replica: 3 } }
    schema: legacy
";

#[test]
fn exceptions_are_for_a_rule_a_file_and_an_object_and_say_why() {
    let findings = found(OLD);
    assert_eq!(
        names(&findings),
        [
            "table-without-primary-key main.older",
            "unused-ignore vdiff-skipped"
        ]
    );
    let mut ignored: Vec<_> = findings
        .iter()
        .filter_map(|f| f.ignored.as_deref())
        .collect();
    ignored.sort_unstable();
    assert_eq!(ignored, ["a cache", "it goes next month"]);
    let backups = findings
        .iter()
        .find(|f| f.rule == "no-backup-schedule")
        .unwrap();
    assert_eq!(backups.level, Level::Error, "as the spec says");
    for wrong in [
        OLD.replace(", reason: a cache", ""),
        OLD.replace("reason: a cache", "reason: \" \""),
        OLD.replace("rule: vdiff-skipped", "rule: vdiff"),
        OLD.replace("level: off", "level: never"),
    ] {
        assert!(try_load(&wrong).is_err(), "{wrong}");
    }
}

const BOUND: &str = "policy:
  require: [backup-schedule, soak]
  forbid: [data-loss]
  except:
    - { rule: soak, object: changes, reason: nothing moves }
";

fn codes(text: &str, live: &Live) -> Vec<String> {
    match make_plan(&load(text).desired, live) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|e| format!("{} {}: {} ({})", e.code, e.object, e.problem, e.help))
            .collect(),
    }
}

#[test]
fn a_policy_binds_plans_and_cannot_be_ignored() {
    let live = Live::default();
    assert!(codes(GOOD, &live).is_empty());
    assert!(codes(&format!("{GOOD}{BOUND}"), &live).is_empty());
    let without = format!(
        "{}{BOUND}",
        GOOD.replace(
            "cron: \"0 3 * * *\"",
            "cron: \"0 3 * * *\", keyspaces: [main]"
        )
    );
    let errors = codes(&without, &live);
    assert_eq!(errors.len(), 1, "{errors:?}");
    for part in [
        "policy customer: ",
        "requires `backup-schedule`",
        "policy.except",
    ] {
        assert!(errors[0].contains(part), "{errors:?}");
    }
    let ignored = without.replace(
        "lint: {",
        "lint: { ignore: [{ rule: no-backup-schedule, reason: no }],",
    );
    assert_eq!(codes(&ignored, &live), errors);
    let findings = found(&ignored);
    assert!(
        findings
            .iter()
            .any(|f| f.policy && f.level == Level::Error && f.ignored.is_none())
    );
    // An exception with a reason is what the policy takes.
    let excepted = without.replace(
        "  except:",
        "  except:\n    - { rule: backup-schedule, object: cust*, reason: r }",
    );
    assert!(codes(&excepted, &live).is_empty());
}

#[test]
fn a_policy_forbids_what_a_plan_would_do() {
    let old = load(GOOD).desired;
    let mut live = Live::default();
    let hosts = "a b c d e f g h".split(' ');
    for name in hosts {
        let record = serde_json::json!({
            "name": name, "cell": "zone1", "address": name, "agent_url": "", "capacity": 20,
            "first_mysql_port": 17100, "flavor": "mariadb", "server_version": "", "version": "",
            "started_at": 0, "tablets_dir": "",
        });
        live.records.hosts.insert(
            name.parse().unwrap(),
            serde_json::from_value(record).unwrap(),
        );
    }
    let plan = make_plan(&old, &live).unwrap();
    simulate::apply_all(&mut live, &plan.steps);
    for tablet in live.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(|t| t.values_mut()) {
            table.rows = 5;
        }
    }
    let dropping = GOOD
        .replace(
            "CREATE TABLE product (sku varbinary(9) PRIMARY KEY, n int UNIQUE)",
            "CREATE TABLE review (a int PRIMARY KEY)",
        )
        .replace("tables: { product: ,", "on_remove: drop\n    tables: {");
    assert!(codes(&dropping, &live).is_empty());
    let errors = codes(&format!("{dropping}{BOUND}"), &live);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("main.product") && errors[0].contains("`data-loss`"),
        "{errors:?}"
    );
    let excepted = format!(
        "{dropping}{BOUND}    - {{ rule: data-loss, object: main.product, reason: moved to the archive }}\n"
    );
    assert!(codes(&excepted, &live).is_empty());
    // What is there already does not go against it, and `destroy` is asked for by name.
    assert!(codes(&format!("{GOOD}{BOUND}"), &live).is_empty());
    assert!(make_destroy_plan("shop", &live).is_ok());
}

#[test]
fn both_spellings_say_the_same() {
    let yaml = format!("{OLD}{BOUND}");
    let path = Path::new("spec.yaml");
    let kdl = spec::convert(path, &yaml, Language::Yaml, Language::Kdl)
        .unwrap()
        .text;
    let (one, two) = (load(&yaml), load(&kdl));
    assert_eq!(one.desired, two.desired, "{kdl}");
    assert_eq!(one.lint.levels, two.lint.levels);
    let ignores = |l: &Loaded| -> Vec<_> {
        let all = l.lint.ignore.iter();
        all.map(|i| {
            (
                i.rule.clone(),
                i.object.clone(),
                i.file.clone(),
                i.reason.clone(),
            )
        })
        .collect()
    };
    assert_eq!(ignores(&one), ignores(&two));
    let back = spec::convert(Path::new("spec.kdl"), &kdl, Language::Kdl, Language::Yaml);
    assert_eq!(load(&back.unwrap().text).desired, one.desired);
    insta::assert_snapshot!("lint-and-policy-kdl", kdl);
    // A policy is part of what is applied; levels and exceptions of rules are not.
    assert_eq!(
        load(OLD).digest,
        load(&OLD.replace("a cache", "another")).digest
    );
    assert_ne!(load(OLD).digest, one.digest);
}
