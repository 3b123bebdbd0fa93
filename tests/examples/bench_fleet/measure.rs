//! Runs a command several times: the shortest time, and the most memory.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs commands, and prints a line for each.
pub struct Runs {
    vtplan: PathBuf,
    dir: PathBuf,
    /// Other processes disturb: the shortest counts.
    times: usize,
}

/// One run of a command.
struct Measured {
    took: Duration,
    first_byte: Duration,
    bytes: usize,
    exit: Option<i32>,
    peak_kib: u64,
}

impl Runs {
    pub fn new(vtplan: &Path, dir: &Path) -> Self {
        let times = std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok());
        Self {
            vtplan: vtplan.to_owned(),
            dir: dir.to_owned(),
            times: times.unwrap_or(3).max(1),
        }
    }

    /// A figure to compare with.
    pub fn beside(&mut self, what: &str, took: Duration) {
        println!("{what:<34} {:>6.2} s", took.as_secs_f64());
    }

    pub fn run(&mut self, what: &str, state: &str, args: &[&str]) -> Result<(), super::Error> {
        let mut best: Option<Measured> = None;
        for _ in 0..self.times {
            let run = self.once(state, args)?;
            if best.as_ref().is_none_or(|best| run.took < best.took) {
                best = Some(run);
            }
        }
        let run = best.ok_or("it ran at least once")?;
        println!(
            "{what:<34} {:>6.2} s  first byte {:>6.2} s  {:>7.1} MiB printed  {:>4} MiB of memory  exit {}",
            run.took.as_secs_f64(),
            run.first_byte.as_secs_f64(),
            run.bytes as f64 / 1_048_576.0,
            run.peak_kib / 1024,
            run.exit.map_or("?".to_owned(), |code| code.to_string()),
        );
        Ok(())
    }

    fn once(&self, state: &str, args: &[&str]) -> Result<Measured, super::Error> {
        let start = Instant::now();
        let mut child = Command::new(&self.vtplan)
            .args(args)
            .env("VTPLAN_STATE", state)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let status = format!("/proc/{}/status", child.id());
        let watch = thread::spawn(move || {
            let mut peak = 0;
            // What the process has when it is waited for is gone: the last look counts.
            while let Some(now) = peak_kib(&status) {
                peak = now;
                thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let mut out = child.stdout.take().ok_or("its output is piped")?;
        let mut buffer = vec![0; 1 << 16];
        let (mut bytes, mut first_byte) = (0, Duration::ZERO);
        loop {
            let read = out.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            if bytes == 0 {
                first_byte = start.elapsed();
            }
            bytes += read;
        }
        let exit = child.wait()?.code();
        let took = start.elapsed();
        let peak_kib = watch.join().map_err(|_| "the memory was not watched")?;
        Ok(Measured {
            took,
            first_byte,
            bytes,
            exit,
            peak_kib,
        })
    }
}

fn peak_kib(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
