//! The examples load, mean what they say, and say the same in both spellings.

use std::path::{Path, PathBuf};

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
    for name in ["commerce", "sharded", "three-hosts"] {
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
            for sql in ["commerce.sql", "product.sql", "customer.sql"] {
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
