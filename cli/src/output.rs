//! Writing to the terminal. Text is styled where it is made; [`anstream`] takes the styles out
//! where stdout or stderr is no terminal or colours are not wanted.

use std::io::{IsTerminal as _, Write};

use crate::args::Global;

/// `--no-color`; `NO_COLOR`, `TERM=dumb` and pipes are known to [`anstream`] itself.
pub fn set_color(global: &Global) {
    if global.no_color {
        anstream::ColorChoice::Never.write_global();
    }
}

/// Writes to stdout.
pub fn out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    ended(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

/// Writes to stdout piece by piece what is too long for one text, and has no styles.
pub fn stream(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    let mut stdout = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    ended(write(&mut stdout).and_then(|()| stdout.flush()));
}

/// Writes to stdout, a terminal, what moves its cursor. Colours are taken out as from [`out`].
pub fn raw(text: &str) {
    let text = match anstream::AutoStream::choice(&std::io::stdout()) {
        // Colours are escape sequences that end with `m`.
        anstream::ColorChoice::Never => without_colors(text),
        _ => text.to_owned(),
    };
    let mut stdout = std::io::stdout().lock();
    ended(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

fn without_colors(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        let end = rest[at + 2..].find(|c: char| c.is_ascii_alphabetic());
        let after = end.map_or(rest.len(), |end| at + 2 + end + 1);
        if !rest[at..after].ends_with('m') {
            plain.push_str(&rest[at..after]);
        }
        rest = &rest[after..];
    }
    plain.push_str(rest);
    plain
}

/// Writes to stderr.
pub fn err(text: &str) {
    let mut stderr = anstream::stderr().lock();
    // There is nowhere to complain to.
    let _ = stderr.write_all(text.as_bytes());
}

/// A reader that has seen enough (`vtplan plan | head`) ends the program quietly, as it does for
/// other tools; a full disk does not go unsaid.
fn ended(result: std::io::Result<()>) {
    if let Err(error) = result {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(141);
        }
        err(&format!("error: cannot write to stdout: {error}\n"));
        std::process::exit(1);
    }
}

/// Whether a person can be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether progress may move about on stderr.
pub fn live_progress() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Asks on stderr and reads one line from stdin. `None`: stdin has ended.
pub fn ask(question: &str) -> Option<String> {
    err(question);
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim().to_owned()),
        _ => None,
    }
}

/// `text` as stderr shows it: without its styles unless colours are wanted there.
pub fn err_styled(text: &str) -> String {
    match anstream::AutoStream::choice(&std::io::stderr()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    }
}

/// `user@host` of whoever runs this, for records that say who did something.
pub fn who() -> String {
    let user = std::env::var("SUDO_USER")
        .ok()
        .or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok()?;
            user.map(|u| u.name)
        })
        .unwrap_or_else(|| format!("uid{}", nix::unistd::geteuid()));
    format!("{user}@{}", host_name())
}

/// The machine's name.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
