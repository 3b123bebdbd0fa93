//! What was measured, as a table; what processes used meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A line of the table.
struct Line {
    what: String,
    measured: String,
    beside: String,
    ratio: String,
    limit: String,
}

/// The table, filled while the figures come.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
    notes: Vec<String>,
    unmeasured: Vec<String>,
}

impl Report {
    /// A time beside another one.
    pub fn beside(&mut self, what: &str, took: Duration, other: (&str, Duration), limit: &str) {
        let (name, other) = other;
        self.lines.push(Line {
            what: what.to_owned(),
            measured: seconds(took),
            beside: format!("{name}: {}", seconds(other)),
            ratio: format!("{:.2}", took.as_secs_f64() / other.as_secs_f64()),
            limit: limit.to_owned(),
        });
        self.tell_last();
    }

    /// A figure by itself.
    pub fn figure(&mut self, what: &str, measured: String, beside: &str, limit: &str) {
        self.lines.push(Line {
            what: what.to_owned(),
            measured,
            beside: beside.to_owned(),
            ratio: String::new(),
            limit: limit.to_owned(),
        });
        self.tell_last();
    }

    pub fn note(&mut self, note: String) {
        println!("    {note}");
        self.notes.push(note);
    }

    pub fn not_measured(&mut self, what: &str, why: &str) {
        println!("    not measured: {what}: {why}");
        self.unmeasured.push(format!("{what}: {why}"));
    }

    fn tell_last(&self) {
        if let Some(line) = self.lines.last() {
            println!(
                "    {}: {} {} {}",
                line.what, line.measured, line.beside, line.ratio
            );
        }
    }

    pub fn print(&self) {
        let head = Line {
            what: "figure".to_owned(),
            measured: "measured".to_owned(),
            beside: "beside".to_owned(),
            ratio: "ratio".to_owned(),
            limit: "limit".to_owned(),
        };
        let cells = |l: &'_ Line| {
            [&l.what, &l.measured, &l.beside, &l.ratio, &l.limit].map(String::to_owned)
        };
        let lines: Vec<[String; 5]> = std::iter::once(&head)
            .chain(&self.lines)
            .map(cells)
            .collect();
        let width = |c: usize| -> usize {
            lines
                .iter()
                .map(|l| l[c].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        println!();
        for line in &lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _ = write!(text, "{cell:width$}  ");
            }
            println!("{}", text.trim_end());
        }
        for note in &self.notes {
            println!("{note}");
        }
        match self.unmeasured.as_slice() {
            [] => println!("everything was measured"),
            missing => println!("not measured: {}", missing.join("; ")),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Seconds of processor time that processes have used, by what they are called.
pub fn processor_times(processes: &BTreeMap<String, i32>) -> BTreeMap<String, f64> {
    let used = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / 100.0)
    };
    processes
        .iter()
        .filter_map(|(name, pid)| Some((name.clone(), used(pid)?)))
        .collect()
}

/// Begins to measure a process's peak anew.
pub fn forget_peak(pid: i32) {
    // Where it cannot be, the peak is that of all phases so far.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The most memory that a process held since [`forget_peak`], MiB.
pub fn peak(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}
