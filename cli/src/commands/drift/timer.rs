//! Running `vtplan drift` again and again: a systemd timer, or a line for a crontab.

use std::path::{Path, PathBuf};

use super::{DriftArgs, DriftFormat};
use crate::args::Global;
use crate::commands::Outcome;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::out;

/// How often, in minutes.
pub fn every(text: &str) -> Result<u64, String> {
    let wrong = || "write minutes or hours, such as `15m` or `1h`, up to a day".to_owned();
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let minutes = match unit {
        "m" => number,
        "h" => number.saturating_mul(60),
        _ => return Err(wrong()),
    };
    if (1..=1440).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(wrong())
    }
}

/// Writes a service and a timer. Written again they are the same.
pub fn install(args: &DriftArgs, global: &Global, cluster: &str) -> Outcome {
    let name = format!("vtplan-drift-{cluster}");
    let command: Vec<String> = command(args, global)?
        .iter()
        .map(|word| quoted(word))
        .collect();
    let service = format!(
        "# Written by `vtplan drift --install-timer`.\n\
         # It fails (exit code 2) while there is drift: add OnFailure= to be told.\n\
         [Unit]\n\
         Description=Drift of cluster {cluster} from its spec\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={}\n\
         TimeoutStartSec=300\n",
        command.join(" ")
    );
    let timer = format!(
        "# Written by `vtplan drift --install-timer`.\n\
         [Unit]\n\
         Description=Looks for drift of cluster {cluster} every {minutes} minutes\n\
         \n\
         [Timer]\n\
         OnBootSec={minutes}min\n\
         OnUnitActiveSec={minutes}min\n\
         RandomizedDelaySec=30\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        minutes = args.every
    );
    let (service_file, timer_file) = (
        args.unit_dir.join(format!("{name}.service")),
        args.unit_dir.join(format!("{name}.timer")),
    );
    for (path, text) in [(&service_file, service), (&timer_file, timer)] {
        let written = files::replace(path, 0o644, "unit", |to| to.write_all(text.as_bytes()));
        written.map_err(|e| {
            e.help("run it as root, or give a folder of yours: `--unit-dir ~/.config/systemd/user`")
        })?;
    }
    let user = if args.unit_dir.starts_with("/etc") || args.unit_dir.starts_with("/usr") {
        ""
    } else {
        " --user"
    };
    out(&format!(
        "Wrote {} and {}.\nStart it: systemctl{user} daemon-reload && systemctl{user} enable --now {name}.timer\nSee it:   journalctl{user} -u {name}\n",
        service_file.display(),
        timer_file.display()
    ));
    Ok(Exit::Done)
}

/// Prints a line for a crontab. cron mails what it prints: it is quiet when there is no drift.
pub fn crontab(args: &DriftArgs, global: &Global) -> Outcome {
    let words: Vec<String> = command(args, global)?
        .iter()
        .map(|word| shell(Path::new(word)))
        .collect();
    // In a crontab a percent sign is a new line.
    let command = words.join(" ").replace('%', "\\%");
    let when = match args.every {
        minutes if minutes < 60 && 60 % minutes == 0 => format!("*/{minutes} * * * *"),
        60 => "0 * * * *".to_owned(),
        minutes if minutes % 60 == 0 && 1440 % minutes == 0 && minutes < 1440 => {
            format!("0 */{} * * *", minutes / 60)
        }
        1440 => "0 0 * * *".to_owned(),
        minutes => {
            return Err(CliError::new(
                "bad-interval",
                format!("a crontab cannot run something every {minutes} minutes evenly"),
            )
            .help("give minutes that divide an hour, or hours that divide a day; a systemd timer (`--install-timer`) takes any"));
        }
    };
    let line = if args.out.is_some() {
        format!("{when} {command} >/dev/null\n")
    } else {
        format!("{when} report=$({command} 2>&1) || echo \"$report\"\n")
    };
    out(&line);
    Ok(Exit::Done)
}

/// The command with everything that does not come from the terminal it was typed in.
fn command(args: &DriftArgs, global: &Global) -> Result<Vec<String>, CliError> {
    let here = |what: &str, path: &Path| {
        std::path::absolute(path).map_err(|e| {
            CliError::new("io", format!("the path of {what} cannot be told")).because(&e)
        })
    };
    let program = std::env::current_exe()
        .map_err(|e| CliError::new("io", "the path of this program cannot be told").because(&e))?;
    let state = match global.state.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{}", here("the store", Path::new(path))?.display()),
        None => global.state.clone(),
    };
    let mut words = vec![program.display().to_string(), "drift".to_owned()];
    for spec in &args.specs {
        words.push(here("the spec", spec)?.display().to_string());
    }
    words.extend(["--state".to_owned(), state]);
    words.extend(["--timeout".to_owned(), args.timeout.to_string()]);
    let format = match args.format {
        DriftFormat::Text => None,
        DriftFormat::Json => Some("json"),
        DriftFormat::Markdown => Some("markdown"),
        DriftFormat::Prometheus => Some("prometheus"),
    };
    if let Some(format) = format {
        words.extend(["--format".to_owned(), format.to_owned()]);
    }
    if let Some(file) = &args.out {
        let file: PathBuf = here("the report", file)?;
        words.extend(["--out".to_owned(), file.display().to_string()]);
    }
    Ok(words)
}

/// A word as systemd takes it in `ExecStart`.
fn quoted(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@=%$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        escaped
    } else {
        format!("\"{escaped}\"")
    }
}

/// A path as a shell takes it.
pub fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_minutes_or_hours() {
        assert_eq!(every("15m"), Ok(15));
        assert_eq!(every("2h"), Ok(120));
        for wrong in [
            "",
            "m",
            "0m",
            "25h",
            "15",
            "15s",
            "-1m",
            "99999999999999999999h",
        ] {
            assert!(every(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_survive_systemd_and_shells() {
        assert_eq!(quoted("/a b/50%"), "\"/a b/50%%\"");
        assert_eq!(quoted("/a/$x"), "/a/$$x");
        assert_eq!(shell(Path::new("it's")), r"'it'\''s'");
    }
}
