//! The examples load, mean what they say, and say the same in both spellings.

use std::path::{Path, PathBuf};

use vtplan_planner::desired::Desired;
use vtplan_planner::spec::{self, Language, Loaded, NoSecrets};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/examples")
}

fn load(name: &str) -> Loaded {
    match spec::load(&[examples().join(name)], &NoSecrets) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{name}:\n{errors}"),
    }
}

#[test]
fn the_examples_have_neither_errors_nor_warnings() {
    for name in [
        "commerce.yaml",
        "sharded.yaml",
        "lookups.yaml",
        "three-hosts.yaml",
        "walkthrough/stage-1-commerce.yaml",
        "walkthrough/stage-2-movetables.yaml",
    ] {
        assert_eq!(load(name).warnings, [], "{name}");
    }
}

#[test]
fn both_spellings_of_an_example_mean_the_same() {
    for name in [
        "commerce",
        "sharded",
        "lookups",
        "three-hosts",
        "walkthrough/stage-3-reshard",
    ] {
        let (yaml, kdl) = (load(&format!("{name}.yaml")), load(&format!("{name}.kdl")));
        assert_eq!(yaml.desired, kdl.desired, "{name}");
        assert_eq!(yaml.digest, kdl.digest, "{name}");
        assert_eq!(kdl.warnings, [], "{name}");
    }
}

#[test]
fn the_examples_are_formatted() {
    let folders = [examples(), examples().join("walkthrough")];
    let entries = folders.iter().flat_map(|f| std::fs::read_dir(f).unwrap());
    for entry in entries {
        let path = entry.unwrap().path();
        let Some(language) = Language::of(&path) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let formatted = spec::format(&path, &text, language).unwrap();
        assert_eq!(formatted, text, "{}", path.display());
    }
}

#[test]
fn an_example_is_converted_to_what_its_other_spelling_says() {
    for name in ["commerce", "sharded", "lookups", "three-hosts"] {
        for (from, to) in [("yaml", "kdl"), ("kdl", "yaml")] {
            let path = examples().join(format!("{name}.{from}"));
            let text = std::fs::read_to_string(&path).unwrap();
            let (from, to_language) = (
                Language::of(&path).unwrap(),
                Language::of(Path::new(to).with_extension(to).as_path()).unwrap(),
            );
            let converted = spec::convert(&path, &text, from, to_language).unwrap();
            assert!(converted.comments_left_out > 0);
            let folder = tempfile::tempdir().unwrap();
            let schema = folder.path().join("schema");
            std::fs::create_dir(&schema).unwrap();
            for sql in ["commerce.sql", "product.sql", "customer.sql", "lookups.sql"] {
                std::fs::copy(examples().join("schema").join(sql), schema.join(sql)).unwrap();
            }
            let file = folder.path().join(format!("{name}.{to}"));
            std::fs::write(&file, &converted.text).unwrap();
            let loaded = spec::load(&[file], &NoSecrets).unwrap();
            assert_eq!(
                loaded.desired,
                load(&format!("{name}.yaml")).desired,
                "{name}"
            );
            insta::assert_snapshot!(format!("{name}-to-{to}"), converted.text);
        }
    }
}

/// Writes a desired state as a spec, in a folder, and reads that.
fn written_and_read(desired: &Desired, language: Language, ending: &str) -> (String, Desired) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec").with_extension(ending);
    let notes = ["A note: with # and // marks.\nOf two lines.".to_owned()];
    let written = spec::write(desired, &notes, &path, language).unwrap();
    for (file, text) in written.files.iter().map(|(f, t)| (dir.path().join(f), t)) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    std::fs::write(&path, &written.text).unwrap();
    let formatted = spec::format(&path, &written.text, language).unwrap();
    assert_eq!(formatted, written.text);
    let loaded = spec::load(&[path], &NoSecrets);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}\n{errors}", written.text));
    (written.text, loaded.desired)
}

#[test]
fn a_desired_state_that_is_written_as_a_spec_is_read_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let everything = dir.path().join("everything.yaml");
    std::fs::write(&everything, EVERYTHING).unwrap();
    let names = [
        "commerce.yaml",
        "accounts.yaml",
        "sharded.yaml",
        "three-hosts.yaml",
    ];
    let mut cases: Vec<Desired> = names.iter().map(|name| load(name).desired).collect();
    let loaded = spec::load(&[everything], &NoSecrets);
    cases.push(loaded.unwrap_or_else(|errors| panic!("{errors}")).desired);
    for desired in cases {
        for (language, ending) in [(Language::Yaml, "yaml"), (Language::Kdl, "kdl")] {
            let (text, read) = written_and_read(&desired, language, ending);
            assert_eq!(read, desired, "{text}");
        }
    }
}

/// What the examples do not say.
const EVERYTHING: &str = r#"
vtplan: 1
cluster: "on"
cells: [zone1, "1"]
keyspaces:
  a-b:
    sharded: true
    durability: none
    tablets:
      - { cell: zone1, replica: 2 }
      - { cell: zone1, host: db-1, type: rdonly, shard: "-", uid: 77, mysql_port: 17200 }
    schema:
      - sql: |
          CREATE TABLE t (id bigint NOT NULL COMMENT 'a; b', PRIMARY KEY (id));
          CREATE TABLE `d` (id int PRIMARY KEY);
    vindexes: { hash: { type: hash } }
    tables:
      t: { vindexes: [{ name: hash, column: id }], on_remove: drop }
      d: { vindexes: [{ name: hash, column: id }] }
    on_remove: drop
changes:
  vdiff: skip
  soak: 90m
  max_write_pause: 250ms
  approve: [switch_writes, complete]
  window: "Sat 02:00-05:00 Europe/Berlin"
  throttle: { max_lag: 7s }
backups:
  location: file:///var/backups/shop
  schedules:
    - { keyspaces: ["*"], cron: "0 3 * * *", keep: { last: 7, days: 3 } }
    - { keyspaces: [a-b], cron: "30 3 * * 0" }
gates:
  zone1: { count: 2, mysql_port: 3306 }
users:
  app: { password_env: SECRET }
  "no": { password_file: /etc/secret }
"#;
