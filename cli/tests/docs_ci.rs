//! `docs/ci`: what workflows, crontabs and units run is run, with the real binary and the real scripts.
//! `gh` and `curl` are programs that answer from files and note what they were called with.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;
use support::Place;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci")
}

fn yaml(name: &str) -> Value {
    let text = fs::read_to_string(docs().join(name)).expect("the file is there");
    serde_yaml::from_str(&text).expect("it is YAML")
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|output| output.status.success())
}

/// A checkout with a spec, the scripts as `ci/`, and the programs that stand in for others.
struct Checkout {
    place: Place,
    env: Vec<(String, String)>,
}

const SPEC: &str = "\
vtplan: 1
cluster: shop
cells: [zone1]

keyspaces:
  commerce:
    durability: none
    tablets:
      zone1: { replica: 1 }
    schema: schema/commerce.sql
";
const TABLE: &str =
    "CREATE TABLE product (id bigint NOT NULL, name varchar(100), PRIMARY KEY (id));\n";

impl Checkout {
    fn new() -> Self {
        let place = Place::new();
        place.write("specs/shop.yaml", SPEC);
        place.write("specs/schema/commerce.sql", TABLE);
        for entry in fs::read_dir(docs().join("scripts")).expect("there are scripts") {
            let from = entry.expect("an entry").path();
            let name = from
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&from).expect("it is text");
            place.write(&format!("ci/{name}"), &text);
            let mode = fs::metadata(&from).expect("it is there").permissions();
            assert_eq!(mode.mode() & 0o111, 0o111, "{name} can be run");
            fs::set_permissions(place.path(&format!("ci/{name}")), mode).expect("it can be run");
        }
        let checkout = Self {
            place,
            env: Vec::new(),
        };
        // Both answer with the file `answer`, or copy the real binary where a file is asked for.
        checkout.program(
            "gh",
            "printf '%s\\n' \"$@\" -- >>\"$CALLS\"\ncase $* in *--method*|*close*|*create*|*edit*) ;; *) cat \"$ANSWER\" ;; esac\n",
        );
        checkout.program(
            "curl",
            "case $* in *--config*) cat >>\"$CALLS\" ;; esac\nprintf '%s\\n' \"$@\" -- >>\"$CALLS\"\n\
             while [ $# -gt 0 ]; do\n  if [ \"$1\" = --output ]; then cp \"$VTPLAN_REAL\" \"$2\"; exit; fi\n  shift\ndone\n\
             cat \"$ANSWER\"\n",
        );
        let path = format!(
            "{}:{}",
            checkout.place.path("programs").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        checkout
            .with("PATH", &path)
            .with("VTPLAN_REAL", env!("CARGO_BIN_EXE_vtplan"))
            .with_file("CALLS", "calls")
            .with_file("ANSWER", "answer")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with_file(self, name: &str, file: &str) -> Self {
        self.place.write(file, "");
        let path = self.place.path(file).display().to_string();
        self.with(name, &path)
    }

    /// With vtplan installed, as the workflows' first step does.
    fn installed(self) -> Self {
        fs::create_dir_all(self.place.path("bin")).expect("a folder");
        fs::copy(env!("CARGO_BIN_EXE_vtplan"), self.place.path("bin/vtplan")).expect("a copy");
        let path = self
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .expect("set")
            .1
            .clone();
        let path = format!("{}:{path}", self.place.path("bin").display());
        self.with("PATH", &path)
    }

    fn program(&self, name: &str, script: &str) {
        let name = format!("programs/{name}");
        self.place.write(&name, &format!("#!/bin/sh\n{script}"));
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.place.path(&name), all).expect("it can be run");
    }

    /// Runs a script as the services do: it ends with the first command that fails.
    fn sh(&self, script: &str) -> (i32, String) {
        let output = Command::new("bash")
            .args(["-eo", "pipefail", "-c", script])
            .current_dir(self.place.path(""))
            .env_clear()
            .env("HOME", self.place.path(""))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("bash starts");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code().expect("it ends by itself"), text)
    }

    fn succeeds(&self, script: &str) -> String {
        let (code, text) = self.sh(script);
        assert_eq!(code, 0, "{script}\n{text}");
        text
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.place.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// What `gh` or `curl` was called with since the last look.
    fn calls(&self) -> String {
        let calls = self.read("calls");
        self.place.write("calls", "");
        calls.replace(&self.place.path("").display().to_string(), "[DIR]/")
    }
}

/// The `run` blocks of a job, by the names of their steps.
fn runs(workflow: &Value, job: &str) -> Vec<(String, String)> {
    let steps = workflow["jobs"][job]["steps"].as_sequence().expect("steps");
    let run = |step: &Value| {
        assert!(
            step["uses"].is_string() != step["run"].is_string(),
            "a step runs or uses: {step:?}"
        );
        let name = step["name"].as_str()?.to_owned();
        Some((name, step["run"].as_str()?.to_owned()))
    };
    steps.iter().filter_map(run).collect()
}

/// What GitHub puts into its place: nothing in a script, so nobody's title or branch becomes a command.
fn assert_no_expressions(runs: &[(String, String)]) {
    for (name, run) in runs {
        assert!(!run.contains("${{"), "{name}: {run}");
    }
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum")
        .arg(file)
        .output()
        .expect("sha256sum");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a sum").to_owned()
}

#[test]
fn the_workflow_for_pull_requests_validates_plans_and_tells() {
    let workflow = yaml("github/vtplan-plan.yml");
    let runs = runs(&workflow, "plan");
    assert_no_expressions(&runs);
    let checkout = Checkout::new()
        .with("SPEC", workflow["env"]["SPEC"].as_str().expect("a spec"))
        .with("VTPLAN_URL", "https://builds.example.com/vtplan")
        .with(
            "VTPLAN_SHA256",
            &sha256(Path::new(env!("CARGO_BIN_EXE_vtplan"))),
        )
        .with_file("GITHUB_PATH", "github-path")
        .with_file("GITHUB_STEP_SUMMARY", "summary");
    let temp = checkout.place.path("runner").display().to_string();
    let mut checkout = checkout.with("RUNNER_TEMP", &temp);
    checkout.place.write("base/specs/shop.yaml", SPEC);
    checkout.place.write("base/specs/schema/commerce.sql", "");
    for (name, run) in &runs {
        checkout.succeeds(run);
        if name == "Install vtplan" {
            assert!(
                checkout
                    .calls()
                    .contains("https://builds.example.com/vtplan")
            );
            // As GitHub does between steps.
            let path = checkout.read("github-path").trim().to_owned();
            assert_eq!(path, format!("{temp}/bin"));
            let known = std::env::var("PATH").unwrap_or_default();
            checkout = checkout.with("PATH", &format!("{path}:{known}"));
        }
    }
    let plan = checkout.read("plan.md");
    assert!(plan.starts_with("<!-- vtplan-plan specs -->\n"), "{plan}");
    assert!(plan.contains("table product"), "{plan}");
    assert_eq!(checkout.read("summary"), plan);
    let sarif: serde_json::Value =
        serde_json::from_str(&checkout.read("lint.sarif")).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
}

#[test]
fn a_spec_without_a_plan_is_told_in_the_comment_and_fails_the_job() {
    let checkout = Checkout::new().installed();
    checkout.place.write("base/specs/shop.yaml", SPEC);
    checkout
        .place
        .write("base/specs/schema/commerce.sql", TABLE);
    let broken = SPEC.replace("durability: none", "durability: some");
    checkout.place.write("specs/shop.yaml", &broken);
    let (code, _) = checkout.sh("ci/plan.sh specs base/specs shop plan.md");
    assert_eq!(code, 1);
    let plan = checkout.read("plan.md");
    assert!(plan.starts_with("<!-- vtplan-plan shop -->\n"), "{plan}");
    assert!(plan.contains("durability"), "{plan}");
}

#[test]
fn the_first_spec_of_a_repository_is_validated() {
    let checkout = Checkout::new().installed();
    checkout.succeeds("ci/plan.sh specs base/specs shop plan.md");
    assert!(
        checkout
            .read("plan.md")
            .starts_with("<!-- vtplan-plan shop -->\n")
    );
}

#[test]
fn what_is_fetched_has_to_be_what_was_named() {
    let checkout = Checkout::new()
        .with("VTPLAN_URL", "https://builds.example.com/vtplan")
        .with("VTPLAN_SHA256", &"0".repeat(64));
    let (code, text) = checkout.sh("ci/install.sh bin");
    assert_ne!(code, 0, "{text}");
    assert!(!checkout.place.path("bin/vtplan").exists());
}

#[test]
fn a_fork_gets_no_token_that_writes() {
    let workflow = yaml("github/vtplan-plan.yml");
    assert!(
        workflow["on"]["pull_request"].is_mapping(),
        "not pull_request_target"
    );
    let permissions = |of: &Value| {
        let of = of["permissions"].as_mapping().expect("permissions").clone();
        of.into_iter().filter(|(_, may)| may == "write").count()
    };
    assert_eq!(permissions(&workflow), 0);
    assert!(workflow["jobs"]["plan"]["permissions"].is_null());
    let comment = &workflow["jobs"]["comment"];
    assert_eq!(permissions(comment), 2);
    let condition = comment["if"].as_str().expect("a condition");
    assert!(condition.contains("head.repo.full_name == github.repository"));
    // It runs files of the branch that the pull request goes to.
    let checkout = &comment["steps"][0];
    assert_eq!(
        checkout["with"]["ref"],
        "${{ github.event.pull_request.base.sha }}"
    );
}

const BODY: &str = "<!-- vtplan-plan specs -->\nthe plan\n";

#[test]
fn the_comment_before_is_replaced_on_github() {
    let workflow = yaml("github/vtplan-plan.yml");
    let runs = runs(&workflow, "comment");
    assert_no_expressions(&runs);
    let checkout = Checkout::new()
        .with("REPOSITORY", "shop/specs")
        .with("PULL_REQUEST", "7");
    checkout.place.write("out/plan.md", BODY);
    let bot = "github-actions[bot]";
    let comment = |id: u32, author: &str, body: &str| serde_json::json!({ "id": id, "user": { "login": author }, "body": body });
    let others = [
        comment(1, "ada", BODY),
        comment(2, bot, "<!-- vtplan-plan specs2 -->\nanother spec"),
        comment(3, bot, "it said\n<!-- vtplan-plan specs -->"),
    ];
    // `gh api --paginate` prints the pages one after the other.
    let page = serde_json::to_string(&others).expect("JSON");
    checkout.place.write("answer", &format!("{page}[]"));
    let script = &runs
        .iter()
        .find(|(name, _)| name == "Comment")
        .expect("a step")
        .1;
    checkout.succeeds(script);
    let calls = checkout.calls();
    assert!(
        calls.contains("POST\nrepos/shop/specs/issues/7/comments\n"),
        "{calls}"
    );
    assert!(calls.contains("body=@out/plan.md"), "{calls}");

    // GitHub gives lines back with a carriage return where a person edited.
    let mine = [comment(
        4,
        bot,
        "<!-- vtplan-plan specs -->\r\nthe plan before",
    )];
    let more = serde_json::to_string(&mine).expect("JSON");
    checkout.place.write("answer", &format!("{page}{more}"));
    checkout.succeeds(script);
    let calls = checkout.calls();
    assert!(
        calls.contains("PATCH\nrepos/shop/specs/issues/comments/4\n"),
        "{calls}"
    );
    assert!(!calls.contains("POST"), "{calls}");

    checkout.place.write("out/plan.md", "no marker\n");
    assert_eq!(checkout.sh(script).0, 1);
    assert_eq!(checkout.calls(), "");
}

#[test]
fn the_note_before_is_replaced_on_gitlab() {
    let checkout = Checkout::new()
        .with("CI_API_V4_URL", "https://gitlab.example.com/api/v4")
        .with("CI_PROJECT_ID", "12")
        .with("CI_MERGE_REQUEST_IID", "7")
        .with("VTPLAN_GITLAB_TOKEN", "secret")
        .with("VTPLAN_GITLAB_USER", "vtplan");
    checkout.place.write("plan.md", BODY);
    let note = |id: u32, author: &str| serde_json::json!({ "id": id, "author": { "username": author }, "body": BODY });
    let answer = |notes: &[serde_json::Value]| {
        let json = serde_json::to_string(notes).expect("JSON");
        checkout.place.write("answer", &json);
    };
    let notes = "https://gitlab.example.com/api/v4/projects/12/merge_requests/7/notes";
    answer(&[note(1, "ada")]);
    checkout.succeeds("ci/comment-gitlab.sh plan.md");
    let calls = checkout.calls();
    assert!(
        calls.contains(&format!("POST\n--data-urlencode\nbody@plan.md\n{notes}\n")),
        "{calls}"
    );
    // Only curl's configuration, on stdin, has the token.
    assert!(
        calls.contains("header = \"PRIVATE-TOKEN: secret\"\n"),
        "{calls}"
    );
    assert_eq!(calls.matches("secret").count(), 2, "{calls}");

    answer(&[note(1, "ada"), note(2, "vtplan")]);
    checkout.succeeds("ci/comment-gitlab.sh plan.md");
    let calls = checkout.calls();
    assert!(
        calls.contains(&format!("PUT\n--data-urlencode\nbody@plan.md\n{notes}/2\n")),
        "{calls}"
    );
    assert!(!calls.contains("POST"), "{calls}");
}

#[test]
fn the_pipeline_for_merge_requests_plans_and_tells() {
    let pipeline = yaml("gitlab/.gitlab-ci.yml");
    let stages = pipeline["stages"].as_sequence().expect("stages");
    let checkout = Checkout::new()
        .with(
            "SPEC",
            pipeline["variables"]["SPEC"].as_str().expect("a spec"),
        )
        .with("VTPLAN_URL", "https://builds.example.com/vtplan")
        .with(
            "VTPLAN_SHA256",
            &sha256(Path::new(env!("CARGO_BIN_EXE_vtplan"))),
        );
    let project = checkout.place.path("").display().to_string();
    let checkout = checkout.with("CI_PROJECT_DIR", project.trim_end_matches('/'));
    checkout.succeeds(
        "git init -q -b main . && git add specs && \
         git -c user.name=t -c user.email=t@example.com commit -q -m first",
    );
    let base = checkout.succeeds("git rev-parse HEAD").trim().to_owned();
    let checkout = checkout.with("CI_MERGE_REQUEST_DIFF_BASE_SHA", &base);
    let more = format!("{TABLE}{}", TABLE.replace("product", "customer"));
    checkout.place.write("specs/schema/commerce.sql", &more);
    let lines = |job: &Value, part: &str| -> Vec<String> {
        let lines = job[part].as_sequence().expect("a script").iter();
        lines
            .map(|line| line.as_str().expect("a line").to_owned())
            .collect()
    };
    let before = lines(&pipeline[".vtplan"], "before_script");
    for name in ["vtplan:check", "vtplan:plan"] {
        let job = &pipeline[name];
        assert!(stages.contains(&job["stage"]), "{name}");
        assert_eq!(job["extends"], ".vtplan");
        let script = [before.clone(), lines(job, "script")].concat();
        checkout.succeeds(&script.join("\n"));
    }
    let plan = checkout.read("plan.md");
    assert!(plan.contains("table customer"), "{plan}");
    assert!(!plan.contains("table product"), "{plan}");
    // Without a token, as for a fork, nothing is said.
    assert!(!checkout.calls().contains("notes"));
}

#[tokio::test]
async fn drift_becomes_one_issue_and_none_closes_it() {
    let workflow = yaml("github/vtplan-drift.yml");
    let runs = runs(&workflow, "drift");
    assert_no_expressions(&runs);
    let checkout = Checkout::new().installed();
    checkout.place.cluster("shop").await;
    let state = format!(
        "sqlite:{}",
        checkout.place.path(".vtplan/state.db").display()
    );
    let checkout = checkout
        .with("SPEC", "specs")
        .with("VTPLAN_STATE", &state)
        .with("REPOSITORY", "shop/specs");
    let open = "[]";
    for (answer, expected) in [
        (open, "issue\ncreate\n"),
        ("[{\"number\":3}]", "issue\nedit\n3\n"),
    ] {
        checkout.place.write("answer", answer);
        for (_, run) in &runs {
            checkout.succeeds(run);
        }
        let calls = checkout.calls();
        assert!(calls.contains(expected), "{calls}");
        assert!(calls.contains("--body-file\ndrift.md"), "{calls}");
        assert!(checkout.read("drift.md").contains("shop"));
    }
    checkout.place.write("drift.md", "");
    checkout.succeeds("ci/drift-issue.sh drift.md");
    assert!(checkout.calls().contains("issue\nclose\n3\n"));
    // What cannot be looked at is no drift, and not none.
    let (code, _) = checkout.sh("VTPLAN_STATE=sqlite:nothing.db ci/drift.sh specs drift.md");
    assert_eq!(code, 1);
}

/// A command of an example, with the paths of a test.
fn here(place: &Place, command: &str) -> String {
    let dir = place.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    command
        .replace("/usr/local/bin/vtplan", env!("CARGO_BIN_EXE_vtplan"))
        .replace("/etc/vtplan", &format!("{dir}/specs"))
        .replace("/var/lib/vtplan", &format!("{dir}/.vtplan"))
        .replace("/var/lib/node_exporter", &format!("{dir}/prom"))
        .replace("/var/backups/vtplan", &format!("{dir}/backups"))
        .replace("/srv/ci", &format!("{dir}/srv"))
}

#[tokio::test]
async fn the_lines_of_the_crontab_run() {
    let text = fs::read_to_string(docs().join("cron/vtplan.crontab")).expect("it is there");
    let checkout = Checkout::new();
    checkout.place.cluster("shop").await;
    for folder in ["prom", "srv"] {
        fs::create_dir_all(checkout.place.path(folder)).expect("a folder");
    }
    let mut ran = 0;
    for line in text.lines() {
        assert!(
            line.starts_with('#') || !line.contains('%'),
            "a percent sign is a new line: {line}"
        );
        if line.starts_with('#') || line.is_empty() || line.starts_with("MAILTO=") {
            continue;
        }
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let [.., command] = fields[..] else {
            panic!("{line}")
        };
        let when = "0123456789*/";
        assert!(
            fields[..5]
                .iter()
                .all(|f| f.chars().all(|c| when.contains(c))),
            "{line}"
        );
        let command = here(&checkout.place, command);
        let (code, said) = checkout.sh(&format!("set +e; {command}"));
        // cron mails what is printed: there is drift, and the rest is quiet.
        if command.contains("report=$(") {
            assert!(said.contains("Drift. Cluster shop"), "{said}");
        } else {
            assert_eq!(said, "", "{command}");
            let expected = if command.contains(" drift ") { 2 } else { 0 };
            assert_eq!(code, expected, "{command}");
        }
        ran += 1;
    }
    assert_eq!(ran, 4);
    let metrics = checkout.read("prom/vtplan.prom");
    let rules =
        fs::read_to_string(docs().join("prometheus/vtplan-drift.rules.yml")).expect("rules");
    let names = regex::Regex::new(r"vtplan_drift_\w+").expect("a pattern");
    for name in names.find_iter(&rules) {
        assert!(
            metrics.contains(&format!("\n{}{{", name.as_str())),
            "{}",
            name.as_str()
        );
    }
    let rules = yaml("prometheus/vtplan-drift.rules.yml");
    assert_eq!(
        rules["groups"][0]["rules"].as_sequence().map(Vec::len),
        Some(3)
    );
    assert_eq!(
        fs::read_dir(checkout.place.path("backups"))
            .expect("backups")
            .count(),
        1
    );
    // And CI compares with what was exported.
    let (code, out, _) = checkout.place.output(&[
        "plan",
        "specs",
        "--against",
        "srv/live.json",
        "--format",
        "markdown",
    ]);
    assert_eq!(code, 0);
    assert!(out.contains("table product"), "{out}");
}

#[test]
fn the_line_and_the_units_for_drift_are_what_vtplan_writes() {
    let checkout = Checkout::new();
    let place = &checkout.place;
    let dir = place.path("").display().to_string();
    // The examples' paths, for those of this test.
    let there = |text: String| {
        text.replace(env!("CARGO_BIN_EXE_vtplan"), "/usr/local/bin/vtplan")
            .replace(&format!("{dir}specs/shop.yaml"), "/etc/vtplan/shop.yaml")
            .replace("[DIR]/specs/shop.yaml", "/etc/vtplan/shop.yaml")
    };
    let state = "sqlite:/var/lib/vtplan/state.db";
    let (code, line, _) =
        place.output(&["drift", "specs/shop.yaml", "--state", state, "--crontab"]);
    assert_eq!(code, 0);
    let crontab = fs::read_to_string(docs().join("cron/vtplan.crontab")).expect("it is there");
    let line = there(line);
    assert!(crontab.contains(&line), "{line}");
    let args = [
        "drift",
        "specs/shop.yaml",
        "--state",
        state,
        "--install-timer",
        "--unit-dir",
        "units",
    ];
    fs::create_dir_all(place.path("units")).expect("a folder");
    assert_eq!(place.output(&args).0, 0);
    for name in ["vtplan-drift-shop.service", "vtplan-drift-shop.timer"] {
        let example = fs::read_to_string(docs().join("systemd").join(name)).expect("a unit");
        assert_eq!(
            there(checkout.read(&format!("units/{name}"))),
            example,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_units_run_and_systemd_takes_them() {
    let checkout = Checkout::new();
    checkout.place.cluster("shop").await;
    fs::create_dir_all(checkout.place.path("srv")).expect("a folder");
    let mut units = Vec::new();
    for entry in fs::read_dir(docs().join("systemd")).expect("units") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = here(&checkout.place, &fs::read_to_string(&path).expect("text"));
        checkout.place.write(&format!("units/{name}"), &text);
        if let Some(command) = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
        {
            let (code, said) = checkout.sh(command);
            let expected = if command.contains(" drift ") { 2 } else { 0 };
            assert_eq!(code, expected, "{command}\n{said}");
            let timer = path.with_extension("timer");
            assert!(timer.exists(), "{name} has a timer");
        }
        units.push(checkout.place.path(&format!("units/{name}")));
    }
    assert_eq!(units.len(), 6);
    if !has("systemd-analyze") {
        eprintln!("skipped in part: there is no systemd-analyze");
        return;
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .expect("systemd-analyze starts");
    let said = String::from_utf8_lossy(&output.stderr);
    for unit in &units {
        let name = unit.file_name().expect("a name").to_string_lossy();
        assert!(!said.contains(&*name), "{said}");
    }
}

#[test]
fn every_file_is_told_of() {
    let readme = fs::read_to_string(docs().join("README.md")).expect("a README");
    for folder in fs::read_dir(docs()).expect("docs") {
        let folder = folder.expect("an entry").path();
        if folder.is_dir() {
            let name = folder.file_name().expect("a name").to_string_lossy();
            assert!(readme.contains(&format!("`{name}/")), "{name}");
        }
    }
    if !has("jq") {
        eprintln!("the scripts take jq, which is not here");
    }
}
