//! Logs: lines on stderr.

use tracing_subscriber::EnvFilter;

use crate::args::Global;

/// For commands that end: nothing but errors unless `-v` asks for more.
pub fn start_quiet(global: &Global) {
    let level = match global.verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    start_at(level);
}

/// `-q`: warnings; `-v`, `-vv`: more of vtplan itself. `VTPLAN_LOG` overrides all of it with a
/// filter such as `vtplan_agent=debug,info`.
pub fn start(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "info,vtplan=debug,vtplan_agent=debug,vtplan_gate=debug,vtplan_state=debug",
        (false, _) => "debug,vtplan=trace,vtplan_agent=trace,vtplan_gate=trace,vtplan_state=trace",
    };
    start_at(level);
}

fn start_at(level: &str) {
    let filter = std::env::var("VTPLAN_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(level));
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // A second one is not an error: tests of the library may have one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .try_init();
}
