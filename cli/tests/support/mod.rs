//! Runs the real binary in a folder of its own, and holds what it says against snapshots.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use vtplan_state::cluster::Cluster;
use vtplan_state::store::{Op, OpenMode, Txn, open};

/// A folder to run `vtplan` in.
pub struct Place {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            env: Vec::new(),
        }
    }

    /// With the specs that the documentation uses, as `specs/`.
    pub fn with_examples() -> Self {
        let place = Self::new();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/examples");
        copy(&examples, &place.path("specs"));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        fs::write(path, text).expect("a file is written");
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vtplan"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("COLUMNS", "100")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `vtplan ARGS`: exit code, stdout and stderr as one text for a snapshot.
    pub fn run(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.output(args);
        let mut text = format!("exit code: {code}\n");
        text.push_str(&format!("----- stdout -----\n{stdout}"));
        text.push_str(&format!("----- stderr -----\n{stderr}"));
        text
    }

    pub fn output(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().expect("vtplan starts");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
            text.replace(&self.dir.path().display().to_string(), "[DIR]")
        };
        let code = output.status.code().expect("it ends by itself");
        (code, text(&output.stdout), text(&output.stderr))
    }

    /// The cluster `name` of the default store, made if it is not there.
    pub async fn cluster(&self, name: &str) -> Cluster {
        let url = format!("sqlite:{}", self.path(".vtplan/state.db").display());
        let store = open(&url, OpenMode::Create).await.expect("a store");
        Cluster::ensure_created(store, name, "0.1.0")
            .await
            .expect("a cluster")
    }
}

/// Writes records by hand.
pub async fn put(cluster: &Cluster, ops: Vec<Op>) {
    let mut txn = Txn::new();
    txn.ops = ops;
    let store = Arc::clone(cluster.store());
    let outcome = store.txn(txn).await.expect("records are written");
    outcome.committed().expect("records are written");
}

/// Replaces what differs from run to run.
pub fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[TIME]"),
        (r"\b\d+ (ms|s|min|h|d) ago\b|\bjust now\b", "[AGO]"),
        (r"\b20\d{6}-\d{6}-[0-9a-f]{4}\b", "[PLAN]"),
        (
            r#""(made|approved|since|started|ended)_at": \d+"#,
            "\"${1}_at\": 0",
        ),
        (r"\b[0-9a-f]{64}\b", "[DIGEST]"),
    ]
}

/// Runs a command in a [`Place`] and compares with the snapshot of the given name.
#[macro_export]
macro_rules! check {
    ($place:expr, $name:expr, [$($arg:expr),* $(,)?]) => {{
        let text = $place.run(&[$($arg),*]);
        let mut settings = insta::Settings::clone_current();
        for (pattern, with) in $crate::support::filters() {
            settings.add_filter(pattern, with);
        }
        settings.set_description(["vtplan", $($arg),*].join(" "));
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!($name, text));
    }};
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder is made");
    for entry in fs::read_dir(from).expect("the examples are there") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file is copied");
        }
    }
}
