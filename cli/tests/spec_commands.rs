//! `validate`, `fmt`, `convert` and `schema`, run as the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vtplan(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vtplan"))
        .current_dir(folder)
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

/// Exit code, stdout and stderr in one text.
fn shown(output: &Output) -> String {
    format!(
        "exit code: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/examples")
}

#[test]
fn validate_sums_up_a_valid_spec() {
    let output = vtplan(&examples(), &["validate", "sharded.kdl"]);
    insta::assert_snapshot!(shown(&output));
}

#[test]
fn validate_shows_every_problem_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let spec = "vtplan: 1\ncluster: shop\ncells: [zone1]\nkeyspaces:\n  a: { shards: [-40, 80-], tablets: { zone2: { replcia: 2 } } }\n";
    std::fs::write(folder.path().join("shop.yaml"), spec).unwrap();
    let output = vtplan(folder.path(), &["validate", "shop.yaml"]);
    insta::assert_snapshot!(shown(&output));
    let output = vtplan(
        folder.path(),
        &["validate", "shop.yaml", "--format", "json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["problems"][0]["code"], "shard-gap");
}

#[test]
fn fmt_checks_then_formats_then_has_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(
        &file,
        "vtplan:   1\n# kept\ncells: [ zone1 ] # too\ncluster: 'shop'\n",
    )
    .unwrap();
    let check = vtplan(folder.path(), &["fmt", "--check", "."]);
    insta::assert_snapshot!(shown(&check));
    assert!(
        vtplan(folder.path(), &["fmt", "shop.yaml"])
            .status
            .success()
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        "vtplan: 1\n# kept\ncells: [zone1]  # too\ncluster: \"shop\"\n"
    );
    assert!(
        vtplan(folder.path(), &["fmt", "--check", "."])
            .status
            .success()
    );
}

#[test]
fn convert_warns_of_comments_that_it_leaves_out() {
    let output = vtplan(&examples(), &["convert", "commerce.yaml", "--to", "kdl"]);
    insta::assert_snapshot!(shown(&output));
}

#[test]
fn schema_prints_json() {
    let output = vtplan(&examples(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["vtplan"]["type"], "integer");
}
