//! Every command that reads files, on files that are not what they should be: it says which file, exits
//! with 1, does not panic, takes no more memory than a laptop has, and writes nothing.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::Place;

const SPEC: &str = "\
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  commerce:
    durability: none
    tablets: { zone1: { replica: 1 } }
";

/// `ulimit -v`, KiB: threads' stacks are counted, used or not.
const MEMORY: u64 = 6 << 20;
/// Nobody waits longer; a command that does is ended, and fails.
const PATIENCE: &str = "120";

struct Bad {
    name: &'static str,
    /// What the message has to have beside the file's name.
    says: &'static [&'static str],
}

/// Writes the inputs, each as a file or a folder of its name.
fn inputs(place: &Place) -> Vec<Bad> {
    let mut all = Vec::new();
    let mut add = |name: &'static str, text: &str, says: &'static [&'static str]| {
        place.write(name, text);
        all.push(Bad { name, says });
    };
    add("half.yaml", &SPEC[..SPEC.len() - 12], &["half.yaml"]);
    add("word.yaml", "vtplan: 1\nclust", &["word.yaml"]);
    add("empty.yaml", "", &["empty.yaml"]);
    add("tabs.yaml", &SPEC.replace("  ", "\t"), &["tab"]);
    let twice = SPEC.replace("cells: [zone1]\n", "cells: [zone1]\ncells: [zone2]\n");
    add("twice.yaml", &twice, &["cells", "twice"]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let last = format!("*a{}, ", n - 1).repeat(9);
        bomb += &format!("a{n}: &a{n} [{}]\n", last.trim_end_matches(", "));
    }
    add("bomb.yaml", &format!("{bomb}{SPEC}"), &["bomb.yaml"]);
    add("self.yaml", "vtplan: &a [*a]\n", &["self.yaml"]);
    add("deep.yaml", &"[".repeat(200_000), &["deep.yaml"]);
    add("deeper.yaml", &"{a: ".repeat(100_000), &["deeper.yaml"]);
    add("indented.yaml", &indented(3_000), &["indented.yaml"]);
    add("deep.kdl", &"a {\n".repeat(100_000), &["deep.kdl"]);
    add(
        "half.kdl",
        "vtplan 1\ncluster shop\nkeyspaces {\n  commerce {\n",
        &["half.kdl"],
    );
    add(
        "v1.kdl",
        "vtplan 1\ncluster \"shop\"\nsome true r\"raw\"\n",
        &["v1.kdl"],
    );
    add("other.yaml", "apiVersion: v1\nkind: Pod\n", &["other.yaml"]);
    add("two.yaml", &format!("{SPEC}---\n{SPEC}"), &["two.yaml"]);
    add("script.txt", "#!/bin/sh\n", &["script.txt"]);
    add("none/readme.txt", "no spec\n", &[]);
    all.last_mut().expect("one").name = "none";
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for name in ["binary.yaml", "binary.kdl"] {
        fs::write(place.path(name), &bytes).expect("a file");
        all.push(Bad {
            name,
            says: &["text"],
        });
    }
    for name in ["huge.yaml", "huge.kdl"] {
        // It takes no place on the disk.
        let file = fs::File::create(place.path(name)).expect("a file");
        file.set_len(5 << 30).expect("a size");
        all.push(Bad {
            name,
            says: &["MiB"],
        });
    }
    std::os::unix::fs::symlink("/dev/zero", place.path("endless.yaml")).expect("a link");
    all.push(Bad {
        name: "endless.yaml",
        says: &["64 MiB"],
    });
    all.push(Bad {
        name: "missing.yaml",
        says: &["no such file"],
    });
    all
}

/// A mapping in a mapping, in block style.
fn indented(depth: usize) -> String {
    (0..depth)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect()
}

/// Runs `vtplan` with bounded memory and time: exit code, and all that it says.
fn bounded(place: &Place, args: &[&str]) -> (i32, String) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -v {MEMORY}; exec timeout --signal=KILL {PATIENCE} \"$@\""
        ))
        .args(["sh", env!("CARGO_BIN_EXE_vtplan")])
        .args(args)
        .current_dir(place.path(""))
        .env("HOME", place.path(""))
        .env("COLUMNS", "100")
        .env_remove("VTPLAN_STATE")
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// Every file below a folder with its size.
fn files(dir: &Path) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            let size = fs::symlink_metadata(entry.path())
                .expect("it is there")
                .len();
            files.insert(entry.path().display().to_string(), size);
        }
    }
    files
}

/// Runs a command on an input and collects what is wrong with how it ends.
fn judge(place: &Place, args: &[&str], says: &[&str], wrong: &mut Vec<String>) {
    let before = files(&place.path(""));
    let (code, text) = bounded(place, args);
    let mut why = Vec::new();
    if code != 1 {
        why.push(format!("exit code {code}"));
    }
    let bad = [
        "panicked",
        "RUST_BACKTRACE",
        "stack backtrace",
        "overflowed its stack",
    ];
    why.extend(
        bad.iter()
            .filter(|b| text.contains(**b))
            .map(|b| format!("it says {b}")),
    );
    let missing = says
        .iter()
        .filter(|s| !text.to_lowercase().contains(&s.to_lowercase()));
    why.extend(missing.map(|s| format!("it does not say {s}")));
    if text.len() > 20_000 {
        why.push(format!("it says {} bytes", text.len()));
    }
    if files(&place.path("")) != before {
        why.push("it wrote something".to_owned());
    }
    if !why.is_empty() {
        let shown: String = text.chars().take(1500).collect();
        wrong.push(format!(
            "vtplan {}: {}\n{shown}",
            args.join(" "),
            why.join(", ")
        ));
    }
}

#[test]
fn bad_specs_are_refused_by_every_command() {
    let place = Place::new();
    place.write("good.yaml", SPEC);
    let inputs = inputs(&place);
    let mut wrong = Vec::new();
    for input in &inputs {
        let says = [&[input.name], input.says].concat();
        for args in [
            &["validate", input.name][..],
            &["plan", input.name],
            &[
                "plan",
                input.name,
                "--format",
                "json",
                "--against",
                "good.yaml",
            ],
            &["apply", input.name, "--auto-approve"],
        ] {
            judge(&place, args, &says, &mut wrong);
        }
        // The same reader: each command once on what is cheap.
        if fs::metadata(place.path(input.name)).is_ok_and(|m| m.len() < 10_000) {
            for args in [
                &["lint", input.name][..],
                &["drift", input.name],
                &["drift", input.name, "--crontab"],
                &["plan", "good.yaml", "--against", input.name],
                &["up", input.name],
            ] {
                judge(&place, args, &says, &mut wrong);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} in all",
        wrong.join("\n\n"),
        wrong.len()
    );
}

#[test]
fn what_cannot_be_read_is_not_formatted() {
    let place = Place::new();
    let mut wrong = Vec::new();
    for input in inputs(&place) {
        // Not a spec as to what it says, but one as to how it is written.
        if ["other.yaml", "empty.yaml", "v1.kdl"].contains(&input.name) {
            continue;
        }
        judge(&place, &["fmt", input.name], &[input.name], &mut wrong);
        let convert = ["convert", input.name, "--to", "kdl", "--out", "out.kdl"];
        judge(&place, &convert, &[input.name], &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} in all",
        wrong.join("\n\n"),
        wrong.len()
    );
}

/// JSON files: plans, exports, records, listings of a Vitess cluster.
#[test]
fn bad_documents_are_refused_by_every_command() {
    let place = Place::new();
    place.write("good.yaml", SPEC);
    let (code, out, err) = place.output(&["plan", "good.yaml", "--out", "good.plan"]);
    assert_eq!(code, 0, "{out}{err}");
    let plan = fs::read_to_string(place.path("good.plan")).expect("a plan");
    place.write("half.json", &plan[..plan.len() / 2]);
    place.write(
        "newer.json",
        &plan.replacen("\"vtplan_plan_file\": 1", "\"vtplan_plan_file\": 99", 1),
    );
    place.write(
        "deep.json",
        &format!("{{\"vtplan_plan_file\": 1, \"x\": {}", "[".repeat(500_000)),
    );
    place.write("other.json", "{\"kind\": \"Pod\"}");
    place.write("list.json", "[1, 2, 3]");
    place.write("empty.json", "");
    place.write(
        "twice.json",
        &plan.replacen('{', "{\"vtplan_plan_file\": 1,", 1),
    );
    fs::write(place.path("binary.json"), [0u8, 159, 146, 150, 10, 255]).expect("a file");
    let huge = fs::File::create(place.path("huge.json")).expect("a file");
    huge.set_len(5 << 30).expect("a size");
    // One that begins as a plan does.
    fs::write(place.path("huge-plan.json"), "{").expect("a file");
    let huge = fs::OpenOptions::new()
        .append(true)
        .open(place.path("huge-plan.json"));
    huge.expect("a file").set_len(5 << 30).expect("a size");
    let names = [
        "half.json",
        "newer.json",
        "deep.json",
        "other.json",
        "list.json",
        "empty.json",
        "twice.json",
        "binary.json",
        "huge.json",
        "huge-plan.json",
        "missing.json",
    ];
    let mut wrong = Vec::new();
    for name in names {
        for args in [
            &["apply", name, "--auto-approve"][..],
            &["plan", "good.yaml", "--against", name],
            &["state", "import", name],
        ] {
            judge(&place, args, &[name], &mut wrong);
        }
        // What is no file's name is an object's: there is no cluster to look for it in.
        judge(&place, &["show", name], &[], &mut wrong);
        let folder = format!("vitess-{name}");
        if !name.starts_with("huge")
            && let Ok(bytes) = fs::read(place.path(name))
        {
            place.write(&format!("{folder}/tablets.json"), "");
            fs::write(place.path(&format!("{folder}/tablets.json")), bytes).expect("a file");
            let args = ["import", "vitess", &folder, "--out", "imported.yaml"];
            judge(&place, &args, &["tablets.json"], &mut wrong);
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} in all",
        wrong.join("\n\n"),
        wrong.len()
    );
}
