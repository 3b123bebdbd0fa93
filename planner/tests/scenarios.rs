//! Scenarios: scripts of commands against a simulated cluster, each with all of its output beside
//! it (`scenarios/NAME.txt` and `NAME.out`). A reviewer of a change reads the diff of the outputs.
//! `VTPLAN_UPDATE_SCENARIOS=1 cargo test -p vtplan-planner --test scenarios` writes them anew.
//!
//! A line is a command; lines that start with `| ` are its text:
//!
//! - `file NAME`: a file beside the spec. `spec`: the spec, YAML. `secret NAME VALUE`: the environment.
//! - `hosts CELL NAME... [capacity=N] [flavor=mysql]`: agents that come. `kill-host NAME`: one goes.
//! - `disk HOST FREE [id=NAME] [new=BYTES] [connections=N]`: the room that its agent sees; sizes as
//!   `10G` or `64M`. `disk HOST unknown`: it does not answer.
//! - `measured copy|vdiff BYTES ROWS MS`: an earlier workflow took so long, of one shard.
//! - `plan`: prints the plan. `fit`: what it needs of disks and connections. `steps`: prints its ids only.
//! - `apply`: plans and does all steps. `apply-steps N`: the first N. `do ID`: one.
//! - `canonical KS TABLE`: what a server prints for the spec's statement of the table.
//! - `definition KS/SHARD TABLE`: what it prints for the table that is there.
//! - `holds KS/SHARD TABLE`: an adopted server is seen to have this table.
//! - `rows KS/SHARD TABLE ROWS BYTES`. `down ALIAS MESSAGE`: its server is down.
//! - `vschema KS TABLE`: the VSchema that is applied names the table.
//! - `creating ALIAS`: its server was not made yet. `lose ALIAS`: its record is gone.
//! - `gate CELL NAME`: a gate that lives. `destroy`: prints the plan that deletes everything.
//! - `apply-until ID`: plans and does the steps before this one. `traffic`: prints workflows, serving
//!   shards and routing rules. `tables KS/SHARD`: prints the tables that are there, with their rows.
//! - `left ALIAS|routing|hold|fenced ...`: a deviation, a record or a shard, as a workflow that is over leaves it.
//! - `drift`: prints how the cluster has left the spec. `deviates ALIAS VARIABLE EXPECTED FOUND`: set by
//!   hand. `drop KS/SHARD TABLE`: dropped by hand. `lose-user NAME`: its record is gone.
//! - `workflow KS.NAME SETTING...`: its record says so: `ending=completing`, `flipped=target`, `paused`.
//! - `operation KS.NAME switch|switch-reads|reverse|complete|cancel`: prints that plan; with `do` before
//!   it, does it.

mod schema_check;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vtplan_planner::desired::Desired;
use vtplan_planner::document::{self, Against, Document};
use vtplan_planner::drift;
use vtplan_planner::live::{
    Canonical, Live, ObservedDisk, ObservedHost, ObservedTable, ServerState,
};
use vtplan_planner::plan::{
    Action, NumberedColumn, Origin, Plan, PlanError, Risk, SequenceRaise, Step, WorkflowOperation,
};
use vtplan_planner::seen::{Deviation, Seen, SeenTable, fingerprint};
use vtplan_planner::spec::{self, Secrets};
use vtplan_planner::words::bytes;
use vtplan_planner::{make_destroy_plan, make_operation_plan, make_plan, simulate};
use vtplan_state::model::{
    BackupRecord, CellName, Ending, FlavorKind, GateName, GateRecord, HoldRecord, HostName,
    HostRecord, KeyspaceName, Measurement, ShardName, Side, SpecRecord, SwitchPhase, TableName,
    TabletAlias, TabletType, VindexDefinition, WorkflowSide, WriteSwitch,
};

#[test]
fn scenarios_print_what_is_written_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let update = std::env::var_os("VTPLAN_UPDATE_SCENARIOS").is_some();
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut wrong = String::new();
    let mut documents = Documents::new();
    for script in scripts {
        let got = run(&std::fs::read_to_string(&script).unwrap(), &mut documents);
        let expected = script.with_extension("out");
        if update {
            std::fs::write(&expected, got).unwrap();
            continue;
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        if want != got {
            let diff = similar::TextDiff::from_lines(&want, &got);
            let name = expected.display().to_string();
            let diff = diff.unified_diff().header(&name, "now").to_string();
            wrong.push_str(&diff);
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nIf this is right: VTPLAN_UPDATE_SCENARIOS=1 cargo test -p vtplan-planner --test \
         scenarios"
    );
    // The schema can only be trusted for what was seen.
    let unseen: Vec<_> = document::schema::kinds()
        .filter(|kind| !documents.kinds.contains(*kind))
        .collect();
    assert!(unseen.is_empty(), "no scenario has steps of {unseen:?}");
}

/// Holds the documents of all plans against their schema.
struct Documents {
    schema: Value,
    kinds: BTreeSet<String>,
}

impl Documents {
    fn new() -> Self {
        Self {
            schema: document::schema::json_schema(),
            kinds: BTreeSet::new(),
        }
    }

    fn check(&mut self, plan: &Plan) {
        let against = Against::Live;
        let document = Document {
            plan,
            against,
            workload: None,
        };
        let value = serde_json::to_value(&document).unwrap();
        let problems = schema_check::problems(&self.schema, &value);
        assert_eq!(
            problems,
            Vec::<String>::new(),
            "what planner/src/document/schema.rs says is not what documents are"
        );
        for step in value["steps"].as_array().unwrap() {
            let kind = step["kind"].as_str().unwrap();
            self.kinds.insert(kind.to_owned());
        }
    }
}

fn run(script: &str, documents: &mut Documents) -> String {
    let mut world = World::new(documents);
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(out, "{}{line}", if is_command(line) { "> " } else { "" }).unwrap();
        if !is_command(line) {
            continue;
        }
        let mut text = String::new();
        while let Some(rest) = lines.peek().and_then(|l| l.strip_prefix('|')) {
            writeln!(out, "|{rest}").unwrap();
            text.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            text.push('\n');
            lines.next();
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        out.push_str(&world.command(&words, text.trim_end()));
    }
    out
}

fn is_command(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with('#')
}

struct World<'a> {
    documents: &'a mut Documents,
    folder: tempfile::TempDir,
    secrets: Fixed,
    desired: Option<Desired>,
    live: Live,
}

/// The secrets that a script gives.
#[derive(Default)]
struct Fixed(HashMap<String, String>);

impl Secrets for Fixed {
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl<'a> World<'a> {
    fn new(documents: &'a mut Documents) -> Self {
        Self {
            documents,
            folder: tempfile::tempdir().unwrap(),
            secrets: Fixed::default(),
            desired: None,
            live: Live::default(),
        }
    }

    fn desired(&self) -> &Desired {
        self.desired.as_ref().expect("a script starts with a spec")
    }

    fn command(&mut self, words: &[&str], text: &str) -> String {
        match words {
            ["file", name] => {
                let path = self.folder.path().join(name);
                std::fs::write(path, text).unwrap();
                String::new()
            }
            ["secret", name, value] => {
                self.secrets
                    .0
                    .insert((*name).to_owned(), (*value).to_owned());
                String::new()
            }
            ["spec"] => self.spec(text),
            ["hosts", cell, rest @ ..] => self.hosts(cell, rest),
            ["kill-host", name] => self.kill_host(name),
            ["disk", host, free, rest @ ..] => self.disk(host, free, rest),
            ["measured", kind, size, rows, ms] => self.measured(kind, size, rows, ms),
            ["fit"] => match make_plan(self.desired(), &self.live) {
                Ok(plan) => show_fit(&plan),
                Err(errors) => show(Err(errors)),
            },
            ["plan"] => {
                let plan = make_plan(self.desired(), &self.live);
                self.show(plan)
            }
            ["steps"] => self.steps(),
            ["destroy"] => {
                let plan = make_destroy_plan(&self.desired().cluster, &self.live);
                self.show(plan)
            }
            ["apply"] => self.apply(usize::MAX),
            ["apply-steps", count] => self.apply(count.parse().unwrap()),
            ["do", id] => self.one(id),
            ["gate", cell, name] => self.gate(cell, name),
            ["canonical", keyspace, table] => self.canonical(keyspace, table, text),
            ["definition", shard, table] => self.definition(shard, table, text),
            ["holds", shard, table] => {
                let held = ObservedTable {
                    definition: text.to_owned(),
                    rows: 0,
                    bytes: 0,
                    sequence_ready: None,
                };
                let table = TableName::new(*table).unwrap();
                self.tables_mut(shard).insert(table, held);
                String::new()
            }
            ["rows", shard, table, rows, bytes] => {
                let table = self.table(shard, table);
                table.rows = rows.parse().unwrap();
                table.bytes = bytes.parse().unwrap();
                String::new()
            }
            ["down", alias, message @ ..] => {
                let message = message.join(" ");
                self.server(alias, ServerState::Down { message })
            }
            ["vschema", keyspace, table] => {
                let vschemas = &mut self.live.records.vschemas;
                let vschema = vschemas.get_mut(*keyspace).unwrap();
                vschema
                    .tables
                    .insert((*table).to_owned(), Default::default());
                String::new()
            }
            ["creating", alias] => {
                let message = String::new();
                self.server(alias, ServerState::Creating { message })
            }
            ["apply-until", id] => self.apply_until(id),
            ["traffic"] => self.traffic(),
            ["drift"] => self.drift(0),
            // Hours since 1970.
            ["drift", "at", hours] => self.drift(hours.parse::<u64>().unwrap() * 3600),
            ["backup", shard, "at", hours, state] => self.backup(shard, hours, state),
            ["backups-to", location] => {
                let policy = self.live.records.backup_policy.as_mut().unwrap();
                policy.location = (*location).to_owned();
                String::new()
            }
            ["left", what, rest @ ..] => self.left(what, rest),
            ["deviates", alias, name, expected, found] => {
                self.deviate(alias, name, expected, found)
            }
            ["drop", shard, table] => {
                let tables = self.tables_mut(shard);
                tables.remove(&table.parse::<TableName>().unwrap());
                String::new()
            }
            ["lose-user", name] => {
                self.live.records.users.remove(*name);
                String::new()
            }
            ["tables", shard] => self.tables(shard),
            ["workflow", name, settings @ ..] => self.workflow(name, settings),
            ["operation", name, operation] => {
                let plan = self.operation(name, operation);
                self.show(plan)
            }
            ["do", "operation", name, operation] => match self.operation(name, operation) {
                Ok(plan) => {
                    simulate::apply_all(&mut self.live, &plan.steps);
                    format!("did {} steps\n", plan.steps.len())
                }
                Err(errors) => show(Err(errors)),
            },
            ["lose", alias] => {
                let alias: TabletAlias = alias.parse().unwrap();
                self.live.records.tablets.remove(&alias);
                self.live.observed.tablets.remove(&alias);
                String::new()
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    fn show(&mut self, plan: Result<Plan, Vec<PlanError>>) -> String {
        if let Ok(plan) = &plan {
            self.documents.check(plan);
        }
        show(plan)
    }

    fn spec(&mut self, text: &str) -> String {
        let path = self.folder.path().join("spec.yaml");
        std::fs::write(&path, text).unwrap();
        match spec::load(&[path], &self.secrets) {
            Ok(loaded) => {
                self.desired = Some(loaded.desired);
                String::new()
            }
            Err(errors) => panic!("the spec of a scenario is sound: {errors:?}"),
        }
    }

    fn hosts(&mut self, cell: &str, rest: &[&str]) -> String {
        let (mut capacity, mut flavor) = (16, FlavorKind::MariaDb);
        for option in rest {
            match option.split_once('=') {
                Some(("capacity", value)) => capacity = value.parse().unwrap(),
                Some(("flavor", "mysql")) => flavor = FlavorKind::MySql,
                Some(_) => panic!("no such option: {option}"),
                None => {}
            }
        }
        for name in rest.iter().filter(|word| !word.contains('=')) {
            let name = HostName::new(*name).unwrap();
            let record = HostRecord {
                name: name.clone(),
                cell: CellName::new(cell).unwrap(),
                address: format!("{name}.example"),
                agent_url: String::new(),
                capacity,
                first_mysql_port: 17_100,
                flavor,
                server_version: String::new(),
                version: String::new(),
                started_at: 0,
                tablets_dir: String::new(),
            };
            self.live.records.hosts.insert(name, record);
        }
        String::new()
    }

    fn disk(&mut self, host: &str, free: &str, rest: &[&str]) -> String {
        let host = HostName::new(host).unwrap();
        if free == "unknown" {
            self.live.observed.hosts.remove(&host);
            return String::new();
        }
        let mut id = String::new();
        let mut room = ObservedHost::default();
        for option in rest {
            match option.split_once('=').unwrap() {
                ("id", name) => name.clone_into(&mut id),
                ("new", size) => room.new_tablet_bytes = Some(size_of(size)),
                ("connections", most) => room.max_connections = most.parse().ok(),
                other => panic!("no such option: {other:?}"),
            }
        }
        room.disk = Some(ObservedDisk {
            id,
            free_bytes: size_of(free),
            total_bytes: 1 << 40,
        });
        self.live.observed.hosts.insert(host, room);
        String::new()
    }

    fn measured(&mut self, kind: &str, size: &str, rows: &str, ms: &str) -> String {
        let rates = &self.live.records.rates;
        let measured = Measurement {
            workflow: "earlier.one".to_owned(),
            epoch: 1,
            at: 0,
            rows: rows.parse().unwrap(),
            bytes: size_of(size),
            shard_milliseconds: ms.parse().unwrap(),
            shards: 1,
            source: FlavorKind::MariaDb,
            target: FlavorKind::MariaDb,
        };
        let next = match kind {
            "copy" => rates.with_copy(measured),
            _ => rates.with_vdiff(measured),
        };
        self.live.records.rates = next.expect("it says something");
        String::new()
    }

    fn kill_host(&mut self, name: &str) -> String {
        let name = HostName::new(name).unwrap();
        self.live.records.hosts.remove(&name);
        let records = &self.live.records.tablets;
        let there = |alias: &TabletAlias| records.get(alias).is_some_and(|t| t.host == name);
        self.live.observed.tablets.retain(|alias, _| !there(alias));
        String::new()
    }

    fn steps(&self) -> String {
        match make_plan(self.desired(), &self.live) {
            Ok(plan) if plan.is_empty() => "no changes\n".to_owned(),
            Ok(plan) => plan.steps.iter().map(|s| format!("{}\n", s.id)).collect(),
            Err(errors) => show(Err(errors)),
        }
    }

    fn apply(&mut self, count: usize) -> String {
        let plan = match make_plan(self.desired(), &self.live) {
            Ok(plan) => plan,
            Err(errors) => return show(Err(errors)),
        };
        self.documents.check(&plan);
        let count = count.min(plan.steps.len());
        simulate::apply_all(&mut self.live, &plan.steps[..count]);
        // As the conductor does: the spec counts as applied when all is done.
        if count == plan.steps.len() {
            self.live.records.spec = Some(SpecRecord {
                digest: plan.spec_digest.clone(),
                desired: serde_json::to_value(self.desired()).unwrap(),
                applied_by: String::new(),
                applied_at: 0,
                begun: None,
            });
        }
        if let Some(spec) = &mut self.live.records.spec
            && spec.digest != plan.spec_digest
        {
            spec.begun = Some(plan.spec_digest);
        }
        format!("did {count} of {} steps\n", plan.steps.len())
    }

    /// What has left the spec, with close looks that find nothing strange.
    fn backup(&mut self, shard: &str, hours: &str, state: &str) -> String {
        let (keyspace, shard) = shard.split_once('/').unwrap();
        let at = hours.parse::<u64>().unwrap() * 3600;
        let (keyspace, shard) = (keyspace.parse().unwrap(), shard.parse().unwrap());
        let mut backup = BackupRecord::new(format!("b{hours:0>3}"), keyspace, shard, None, at);
        backup.state = serde_json::from_value(state.into()).unwrap();
        backup.begun_at = Some(at);
        backup.ended_at = Some(at + 60);
        backup.reason = "the disk is full".to_owned();
        self.live.records.backups.insert(backup.path(), backup);
        String::new()
    }

    fn drift(&self, now: u64) -> String {
        let mut seen = BTreeMap::new();
        for (alias, observed) in &self.live.observed.tablets {
            let tables = observed.tables.iter().flatten();
            let tables = tables.map(|(name, table)| {
                let seen = SeenTable {
                    fingerprint: fingerprint(&table.definition),
                    changed_at: None,
                };
                (name.clone(), seen)
            });
            let look = Seen {
                tables: tables.collect(),
                ..Seen::default()
            };
            if !look.tables.is_empty() {
                seen.insert(alias.clone(), look);
            }
        }
        let found = drift::find(&drift::Input {
            desired: self.desired(),
            live: &self.live,
            seen: &seen,
            serving_revision: 0,
            active: None,
            now,
        });
        let mut out = String::new();
        for f in &found.findings {
            writeln!(out, "{} {}", f.kind, f.object).unwrap();
            writeln!(out, "    expected {}; found {}", f.expected, f.found).unwrap();
            writeln!(out, "    {:?}: {}", f.mended_by, f.mend).unwrap();
        }
        for ignored in &found.ignored {
            let f = &ignored.finding;
            writeln!(out, "ignored {} {}: {}", f.kind, f.object, ignored.reason).unwrap();
        }
        for what in &found.under_way {
            writeln!(out, "under way: {what}").unwrap();
        }
        if out.is_empty() {
            "no drift\n".to_owned()
        } else {
            out
        }
    }

    /// A server's variable was set by hand.
    fn deviate(&mut self, alias: &str, name: &str, expected: &str, found: &str) -> String {
        let alias: TabletAlias = alias.parse().unwrap();
        let observed = self.live.observed.tablets.get_mut(&alias).unwrap();
        observed.deviations.push(Deviation::Variable {
            name: name.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            needs_restart: false,
        });
        String::new()
    }

    /// Something is left of a workflow, on a server or in records: JSON.
    fn left(&mut self, what: &str, rest: &[&str]) -> String {
        let json = rest.join(" ");
        let records = &mut self.live.records;
        match what {
            "routing" => records.routing = serde_json::from_str(&json).unwrap(),
            "hold" => {
                let hold: HoldRecord = serde_json::from_str(&json).unwrap();
                records.holds.insert(hold.id.clone(), hold);
            }
            "fenced" => {
                let (keyspace, shard) = rest[0].split_once('/').unwrap();
                let key = (keyspace.parse().unwrap(), shard.parse().unwrap());
                records.shards.get_mut(&key).unwrap().fenced = true;
            }
            alias => {
                let alias: TabletAlias = alias.parse().unwrap();
                let observed = self.live.observed.tablets.get_mut(&alias).unwrap();
                let deviation = serde_json::from_str(&json).unwrap();
                observed.deviations.push(deviation);
            }
        }
        String::new()
    }

    fn apply_until(&mut self, id: &str) -> String {
        let plan = match make_plan(self.desired(), &self.live) {
            Ok(plan) => plan,
            Err(errors) => return show(Err(errors)),
        };
        let step = plan.steps.iter().position(|step| step.id == id);
        self.apply(step.unwrap_or_else(|| panic!("the step {id} is not in the plan")))
    }

    fn traffic(&self) -> String {
        let mut out = String::new();
        let records = &self.live.records;
        for workflow in records.all_workflows() {
            let (name, state) = (workflow.full_name(), workflow.traffic_state());
            writeln!(out, "{name}: {state}").unwrap();
        }
        for shard in records.shards.values() {
            let reads = TabletType::Replica;
            let serves = match (shard.serving, shard.serves(reads)) {
                (true, true) => "serves",
                (true, false) => "serves writes",
                (false, true) => "serves reads",
                (false, false) => "does not serve",
            };
            writeln!(out, "{}/{}: {serves}", shard.keyspace, shard.shard).unwrap();
        }
        for rule in &records.routing.rules {
            let to = rule.to_tables.join(", ");
            writeln!(out, "rule: {} -> {to}", rule.from_table).unwrap();
        }
        for (keyspace, vschema) in &records.vschemas {
            let tables: Vec<&str> = vschema.tables.keys().map(String::as_str).collect();
            let sharded = if vschema.sharded { "sharded, " } else { "" };
            writeln!(out, "vschema of {keyspace}: {sharded}{}", tables.join(", ")).unwrap();
        }
        out
    }

    fn tables(&self, shard: &str) -> String {
        let (keyspace, shard) = shard.split_once('/').unwrap();
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let record = self.live.records.shard(&keyspace, &shard.parse().unwrap());
        let Some(record) = record else {
            return "no such shard\n".to_owned();
        };
        let observed = &self.live.observed.tablets[record.primary.as_ref().unwrap()];
        let tables = observed.tables.iter().flatten();
        let lines = tables.map(|(name, t)| format!("{name}: {} rows\n", t.rows));
        lines.collect()
    }

    fn workflow(&mut self, name: &str, settings: &[&str]) -> String {
        let (keyspace, name) = name.split_once('.').unwrap();
        let workflows = self.live.records.workflows.get_mut(keyspace).unwrap();
        let record = workflows.get_mut(name).unwrap();
        for setting in settings {
            let to = |side: &str| match side {
                "source" => Side::Source,
                _ => Side::Target,
            };
            match setting.split_once('=').unwrap_or((setting, "")) {
                ("paused", _) => record.paused = true,
                ("ending", "completing") => record.ending = Some(Ending::Completing),
                ("ending", _) => record.ending = Some(Ending::Cancelling),
                ("flipped", side) => {
                    record.writes = to(side);
                    record.switch = Some(WriteSwitch {
                        to: to(side),
                        phase: SwitchPhase::Flipped,
                        started_at: 0,
                        fenced_at: BTreeMap::new(),
                    });
                }
                other => panic!("no such setting: {other:?}"),
            }
        }
        String::new()
    }

    fn operation(&self, name: &str, operation: &str) -> Result<Plan, Vec<PlanError>> {
        let (keyspace, workflow) = name.split_once('.').unwrap();
        let operation = WorkflowOperation {
            keyspace: keyspace.parse().unwrap(),
            workflow: workflow.parse().unwrap(),
            operation: serde_json::from_value(operation.into()).unwrap(),
        };
        make_operation_plan(&self.live, &operation)
    }

    fn one(&mut self, id: &str) -> String {
        let plan = make_plan(self.desired(), &self.live).expect("there is a plan");
        let step = plan.steps.iter().find(|step| step.id == id);
        simulate::apply(&mut self.live, step.expect("the step is in the plan"));
        String::new()
    }

    fn gate(&mut self, cell: &str, name: &str) -> String {
        let name = GateName::new(name).unwrap();
        let record = GateRecord {
            name: name.clone(),
            cell: CellName::new(cell).unwrap(),
            mysql_address: String::new(),
            http_url: String::new(),
            version: String::new(),
            started_at: 0,
            serving_revision: 0,
            drained: Default::default(),
        };
        self.live.records.gates.insert(name, record);
        String::new()
    }

    fn canonical(&mut self, keyspace: &str, table: &str, text: &str) -> String {
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let statement = self.desired().keyspaces[&keyspace].tables[table]
            .statement
            .clone();
        let canonical = match text.strip_prefix("refused: ") {
            Some(message) => Canonical::Refused(message.to_owned()),
            None => Canonical::Definition(text.to_owned()),
        };
        let known = self.live.observed.canonical.entry(keyspace).or_default();
        known.insert(statement, canonical);
        String::new()
    }

    fn definition(&mut self, shard: &str, table: &str, text: &str) -> String {
        text.clone_into(&mut self.table(shard, table).definition);
        String::new()
    }

    fn tables_mut(&mut self, shard: &str) -> &mut BTreeMap<TableName, ObservedTable> {
        let (keyspace, shard) = shard.split_once('/').unwrap();
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let shard: ShardName = shard.parse().unwrap();
        let record = self.live.records.shard(&keyspace, &shard).unwrap();
        let primary = record.primary.clone().unwrap();
        let observed = self.live.observed.tablets.get_mut(&primary).unwrap();
        observed.tables.get_or_insert_default()
    }

    fn table(&mut self, shard: &str, table: &str) -> &mut vtplan_planner::live::ObservedTable {
        let (keyspace, shard) = shard.split_once('/').unwrap();
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let shard: ShardName = shard.parse().unwrap();
        let record = self.live.records.shard(&keyspace, &shard).unwrap();
        let primary = record.primary.clone().unwrap();
        let observed = self.live.observed.tablets.get_mut(&primary).unwrap();
        let tables: &mut BTreeMap<TableName, _> = observed.tables.as_mut().unwrap();
        tables.get_mut(table).unwrap()
    }

    fn server(&mut self, alias: &str, server: ServerState) -> String {
        let alias: TabletAlias = alias.parse().unwrap();
        let observed = self.live.observed.tablets.get_mut(&alias).unwrap();
        observed.server = server;
        observed.tables = None;
        String::new()
    }
}

/// `10G`, `64M`, bytes.
fn size_of(text: &str) -> u64 {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    number.parse::<u64>().unwrap() * unit
}

fn show_fit(plan: &Plan) -> String {
    let mut out = String::new();
    for disk in &plan.fit.disks {
        let hosts: Vec<&str> = disk.hosts.iter().map(|h| h.as_str()).collect();
        let free = match disk.free_bytes {
            Some(free) => format!("of {} free", bytes(free)),
            None => "of nobody knows how much".to_owned(),
        };
        let (hosts, needed) = (hosts.join(", "), bytes(disk.needed_bytes));
        writeln!(out, "{hosts}: {needed} {free}: {:?}", disk.verdict).unwrap();
        for need in &disk.needs {
            let tablets: Vec<String> = need.tablets.iter().map(ToString::to_string).collect();
            let (size, on) = (bytes(need.bytes), tablets.join(", "));
            writeln!(out, "    {:?}: {size} on {on}", need.cause).unwrap();
        }
    }
    for c in &plan.fit.connections {
        let (needed, gates, limit) = (c.needed, c.gates, c.limit);
        let verdict = c.verdict;
        writeln!(
            out,
            "{}: {needed} + {gates} of {limit}: {verdict:?}",
            c.tablet
        )
        .unwrap();
    }
    for note in &plan.notes {
        writeln!(out, "note: {}: {}", note.object, note.text).unwrap();
    }
    out
}

fn show(plan: Result<Plan, Vec<PlanError>>) -> String {
    let mut out = String::new();
    match plan {
        Ok(plan) => show_plan(&plan, &mut out),
        Err(errors) => {
            for error in errors {
                writeln!(out, "error[{}]: {error}", error.code).unwrap();
                writeln!(out, "  help: {}", error.help).unwrap();
                for line in error.diff.iter().flat_map(|diff| diff.lines()) {
                    writeln!(out, "  {line}").unwrap();
                }
            }
        }
    }
    out
}

fn show_plan(plan: &Plan, out: &mut String) {
    if plan.is_empty() {
        out.push_str("no changes\n");
    }
    for step in &plan.steps {
        let risk = match step.risk {
            Risk::Safe => "",
            Risk::Disruptive => " [disruptive]",
            Risk::Destructive => " [destructive]",
        };
        let detail = detail(&step.action);
        let by_hand = match step.origin {
            Origin::Spec => "",
            Origin::Drift => " [drift]",
        };
        writeln!(out, "{}{detail}{risk}{by_hand}{}", step.id, estimate(step)).unwrap();
        writeln!(out, "    {}", step.reason).unwrap();
        if !step.after.is_empty() {
            writeln!(out, "    after {}", step.after.join(", ")).unwrap();
        }
    }
    for note in &plan.notes {
        writeln!(out, "note: {}: {}", note.object, note.text).unwrap();
    }
}

/// What a step's id does not say.
fn detail(action: &Action) -> String {
    match action {
        Action::CreateTablet {
            keyspace,
            shard,
            tablet_type,
            host,
            mysql_port,
            adopt,
            ..
        } => {
            if let (Some(server), Some(host)) = (adopt, host) {
                return format!(" ({server} as {tablet_type} of {keyspace}/{shard} by {host})");
            }
            let place = match (host, mysql_port) {
                (Some(host), Some(port)) => format!("{host}:{port}"),
                _ => "no host".to_owned(),
            };
            format!(" ({tablet_type} of {keyspace}/{shard} on {place})")
        }
        Action::DeleteTablet {
            release: Some(server),
            ..
        } => format!(" (releases {server})"),
        Action::InitPrimary { primary, .. } => format!(" ({primary})"),
        Action::Reparent { from, .. } => format!(" (from {from})"),
        Action::SetDurability { from, to, .. } => format!(" ({from} to {to})"),
        Action::ChangeTabletType { from, .. } => format!(" (from {from})"),
        Action::AlterTable { statement, .. } => format!(" ({statement})"),
        Action::SetBackups {
            after: Some(after), ..
        } => format!(
            " ({} schedules, to {})",
            after.schedules.len(),
            after.location
        ),
        Action::ConfigureGates {
            count, mysql_port, ..
        } => format!(" ({count} on port {mysql_port})"),
        Action::CreateUser { verifier: None, .. } => " (password unknown)".to_owned(),
        Action::CreateShard { serving: false, .. } => " (does not serve)".to_owned(),
        Action::InitSequence { above, .. } if !above.is_empty() => {
            format!(" (above {})", columns(above))
        }
        Action::ApplyVschema { after, raise, .. } => {
            let tables: Vec<&str> = after.tables.keys().map(String::as_str).collect();
            let sharded = if after.sharded { "sharded: " } else { "" };
            let kept = |v: &&VindexDefinition| v.params.contains_key("write_only");
            let kept = match after.vindexes.values().filter(kept).count() {
                0 => String::new(),
                kept => format!("; {kept} lookups write-only"),
            };
            format!(" ({sharded}{}{}{kept})", tables.join(", "), raised(raise))
        }
        Action::StartWorkflow {
            source,
            target,
            tables,
            vschema,
            ..
        } => {
            let side = |side: &WorkflowSide| {
                let shards = side.shards.iter().map(ToString::to_string);
                format!("{}/{}", side.keyspace, shards.collect::<Vec<_>>().join(","))
            };
            let tables: Vec<&str> = tables.iter().map(|t| t.as_str()).collect();
            let vschema: Vec<&str> = vschema.keys().map(String::as_str).collect();
            let vschema = match vschema.is_empty() {
                true => String::new(),
                false => format!(", VSchema of {}", vschema.join(", ")),
            };
            format!(
                " ({} from {} to {}{vschema})",
                tables.join(", "),
                side(source),
                side(target)
            )
        }
        Action::SwitchTraffic { window, raise, .. } => {
            let window = window.as_ref().map(|w| format!(" (in {w})"));
            format!("{}{}", window.unwrap_or_default(), raised(raise))
        }
        _ => String::new(),
    }
}

fn columns(above: &[NumberedColumn]) -> String {
    let columns = above
        .iter()
        .map(|c| format!("{}.{}.{}", c.keyspace, c.table, c.column));
    columns.collect::<Vec<_>>().join(", ")
}

fn raised(raise: &[SequenceRaise]) -> String {
    let each = raise
        .iter()
        .map(|r| format!("; {}.{} above {}", r.keyspace, r.table, columns(&r.above)));
    each.collect()
}

/// What is expected of a step that moves data.
fn estimate(step: &Step) -> String {
    let moves = matches!(
        step.action,
        Action::WaitForCopy { .. }
            | Action::Vdiff { .. }
            | Action::Soak { .. }
            | Action::SwitchTraffic { .. }
            | Action::CompleteWorkflow { .. }
            | Action::CancelWorkflow { .. }
    );
    if !moves {
        return String::new();
    }
    let estimate = &step.estimate;
    let mut parts = Vec::new();
    if let (Some(rows), Some(bytes)) = (estimate.rows, estimate.bytes) {
        parts.push(format!("{rows} rows, {bytes} bytes"));
    }
    parts.push(format!("{} s", estimate.seconds));
    if let Some(pause) = estimate.write_pause_ms {
        parts.push(format!("writes wait {pause} ms"));
    }
    format!(" [{}]", parts.join(", "))
}
