//! What `--help` says of every command, and how wrong usage is answered.

mod support;

use support::Place;

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    check!(place, "help", ["--help"]);
    for command in [
        "up",
        "down",
        "agent",
        "gate",
        "validate",
        "lint",
        "fmt",
        "convert",
        "schema",
        "plan",
        "export",
        "apply",
        "show",
        "history",
        "status",
        "drift",
        "destroy",
        "workflow",
        "workload",
        "import",
        "backup",
        "state",
        "lock",
        "completions",
    ] {
        check!(place, format!("help-{command}"), [command, "--help"]);
    }
    for command in [
        "list", "show", "vdiff", "pause", "resume", "switch", "reverse", "complete", "cancel",
    ] {
        let name = format!("help-workflow-{command}");
        check!(place, name, ["workflow", command, "--help"]);
    }
    check!(
        place,
        "help-workload-export",
        ["workload", "export", "--help"]
    );
    for command in ["export", "import", "backup"] {
        let name = format!("help-state-{command}");
        check!(place, name, ["state", command, "--help"]);
    }
    for command in ["run", "list", "verify", "remove", "extract"] {
        let name = format!("help-backup-{command}");
        check!(place, name, ["backup", command, "--help"]);
    }
    for command in ["cluster", "vitess", "servers", "accounts"] {
        let name = format!("help-import-{command}");
        check!(place, name, ["import", command, "--help"]);
    }
    check!(place, "help-lock-show", ["lock", "show", "--help"]);
    check!(place, "help-lock-release", ["lock", "release", "--help"]);
}

#[test]
fn every_help_has_examples() {
    let place = Place::new();
    let (_, help, _) = place.output(&["--help"]);
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1);
    let mut seen = 0;
    for line in commands.take_while(|l| !l.is_empty()) {
        let command = line.split_whitespace().next().expect("a command");
        let (code, help, _) = place.output(&[command, "--help"]);
        assert_eq!(code, 0);
        // `lock` has subcommands that have them.
        assert!(
            command == "lock" || help.contains("\nExamples:\n"),
            "{command}: {help}"
        );
        seen += 1;
    }
    assert_eq!(seen, 24);
}

#[test]
fn wrong_usage_is_an_error_and_not_the_exit_code_of_changes() {
    let place = Place::new();
    check!(place, "usage-nothing", []);
    check!(place, "usage-unknown-command", ["aply"]);
    check!(
        place,
        "usage-unknown-flag",
        ["plan", "spec.yaml", "--detail-exitcode"]
    );
    check!(place, "usage-no-spec", ["plan"]);
    check!(
        place,
        "usage-bad-format",
        ["plan", "spec.yaml", "--format", "xml"]
    );
    check!(place, "usage-bad-cell", ["gate", "--cell", "zone 1"]);
    check!(place, "usage-bad-size", ["up", "--buffer-pool", "many"]);
}

#[test]
fn completions_are_written_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = place.output(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("detailed-exitcode"), "{shell}");
    }
}

#[test]
fn the_version_is_the_crates() {
    let place = Place::new();
    let (code, stdout, _) = place.output(&["--version"]);
    assert_eq!(
        (code, stdout),
        (0, format!("vtplan {}\n", env!("CARGO_PKG_VERSION")))
    );
}
