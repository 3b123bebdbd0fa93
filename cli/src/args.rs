//! Arguments that all commands share, and the list of commands.

use std::str::FromStr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  vtplan up shop.yaml            Start an agent and a gate on this machine
  vtplan plan shop.yaml          Show what would change
  vtplan apply shop.yaml         Change it
  vtplan status                  See what runs

Exit codes:
  0    done, or no changes
  1    error
  2    there are changes (`plan --detailed-exitcode`), drift (`drift`), or findings (`lint`)
  3    waiting for an approval, a soak or a window
  130  interrupted";

/// Sharded MySQL clusters from a spec: plan, review, apply.
#[derive(Parser, Debug)]
#[command(name = "vtplan", version, about, styles = STYLES, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the cluster's records live: `sqlite:PATH` or `etcd://HOST:PORT,...`
    #[arg(
        long,
        global = true,
        env = "VTPLAN_STATE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite:.vtplan/state.db"
    )]
    pub state: String,
    /// Name of the cluster; needed where neither a spec nor the store says it
    #[arg(
        long,
        global = true,
        env = "VTPLAN_CLUSTER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub cluster: Option<String>,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: reasons in plans, and a log on stderr; twice: in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No colours, as with `NO_COLOR`
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// A number of bytes, written with or without `K`, `M`, `G` or `T` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text
            .strip_suffix("iB")
            .or(text.strip_suffix('B'))
            .unwrap_or(text);
        let (digits, shift) = match text.chars().last().map(|c| c.to_ascii_uppercase()) {
            Some('K') => (&text[..text.len() - 1], 10),
            Some('M') => (&text[..text.len() - 1], 20),
            Some('G') => (&text[..text.len() - 1], 30),
            Some('T') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| "a size is a number with or without `K`, `M`, `G` or `T`".to_owned())?;
        let bytes = number.checked_mul(1 << shift);
        bytes.map(Self).ok_or_else(|| "that is too much".to_owned())
    }
}

/// Output of commands that answer with data.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    // For people.
    #[default]
    Text,
    // For programs; stable.
    Json,
}

/// Output of commands that show plans.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlanFormat {
    // For people.
    #[default]
    Text,
    // For programs; stable.
    Json,
    // For a comment on a pull request.
    Markdown,
    // Graphviz: the steps, and what each waits for.
    Dot,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start an agent and a gate on this machine
    Up(commands::up::UpArgs),
    /// Stop what `up` started
    Down(commands::down::DownArgs),
    /// Run this host's agent
    Agent(commands::agent::AgentArgs),
    /// Run a gate: the cluster's MySQL endpoint
    Gate(commands::gate::GateArgs),
    /// Check specs
    Validate(commands::validate::ValidateArgs),
    /// Find what is unwise in specs
    Lint(commands::lint::LintArgs),
    /// Format specs
    Fmt(commands::fmt::FmtArgs),
    /// Turn YAML specs into KDL and back
    Convert(commands::convert::ConvertArgs),
    /// Print the JSON Schema of specs, plans or workloads
    Schema(commands::schema::SchemaArgs),
    /// Show what a spec would change
    Plan(commands::plan::PlanArgs),
    /// Write the live state to a file, to plan against without the cluster
    Export(commands::export::ExportArgs),
    /// Make a cluster what a spec or a plan file says
    Apply(commands::apply::ApplyArgs),
    /// Show the cluster, a part of it, or a plan
    Show(commands::show::ShowArgs),
    /// Show who changed what
    History(commands::history::HistoryArgs),
    /// Show what runs and how it is
    Status(commands::status::StatusArgs),
    /// Tell how a cluster has left its spec
    Drift(commands::drift::DriftArgs),
    /// Delete everything in the cluster
    Destroy(commands::destroy::DestroyArgs),
    /// Look at data moves, and drive them by hand
    Workflow(commands::workflow::WorkflowArgs),
    /// Export what gates counted of the statements that run
    Workload(commands::workload::WorkloadArgs),
    /// Bring what exists under a spec
    Import(commands::import::ImportArgs),
    /// Take, list, verify, remove and extract backups of servers' data
    Backup(commands::backup::BackupArgs),
    /// Save all records of a cluster, and put them back
    State(commands::state::StateArgs),
    /// Show or release the apply lock
    Lock(commands::lock::LockArgs),
    /// Print a shell's completion script
    Completions(commands::completions::CompletionsArgs),
}

impl Command {
    /// Whether the answer, an error too, is for a program.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Up(a) => a.format == Format::Json,
            Self::Down(a) => a.format == Format::Json,
            Self::Validate(a) => a.format == Format::Json,
            Self::Lint(a) => a.format != commands::lint::LintFormat::Text,
            Self::Plan(a) => a.format == PlanFormat::Json,
            Self::Apply(a) => a.format == Format::Json,
            Self::Show(a) => a.format == PlanFormat::Json,
            Self::History(a) => a.format == Format::Json,
            Self::Status(a) => a.format == Format::Json,
            Self::Workflow(a) => a.wants_json(),
            Self::Import(a) => a.wants_json(),
            Self::State(a) => a.wants_json(),
            Self::Backup(a) => a.wants_json(),
            Self::Lock(a) => a.wants_json(),
            Self::Drift(a) => a.wants_json(),
            Self::Destroy(a) => a.format == Format::Json,
            Self::Agent(_)
            | Self::Gate(_)
            | Self::Fmt(_)
            | Self::Convert(_)
            | Self::Schema(_)
            | Self::Export(_)
            | Self::Workload(_)
            | Self::Completions(_) => false,
        }
    }
}
