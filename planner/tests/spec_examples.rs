//! The examples load, mean what they say, and say the same in both spellings.

use std::path::{Path, PathBuf};

use vtplan_planner::spec::{self, Loaded, NoSecrets};

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
    for name in ["commerce.yaml", "sharded.yaml", "three-hosts.yaml"] {
        assert_eq!(load(name).warnings, [], "{name}");
    }
}

#[test]
fn both_spellings_of_an_example_mean_the_same() {
    for name in ["commerce", "sharded", "three-hosts"] {
        let (yaml, kdl) = (load(&format!("{name}.yaml")), load(&format!("{name}.kdl")));
        assert_eq!(yaml.desired, kdl.desired, "{name}");
        assert_eq!(yaml.digest, kdl.digest, "{name}");
        assert_eq!(kdl.warnings, [], "{name}");
    }
}
