//! The table that is printed at the end.

use crate::measure::Cost;
use std::{fmt, time::Duration};

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 6]>);

impl Table {
    /// A time against another's time and a factor that it should stay below.
    pub(crate) fn compared(&mut self, what: &str, ours: Cost, against: &str, theirs: Cost, limit: f64) {
        let ratio = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
        let verdict = verdict(ratio <= limit);
        self.row([
            what,
            &ours.to_string(),
            against,
            &theirs.to_string(),
            &format!("{ratio:.2} x"),
            &format!("{limit} x  {verdict}"),
        ]);
    }

    /// A time against a fixed one.
    pub(crate) fn bounded(&mut self, what: &str, ours: Cost, limit: Duration) {
        let verdict = verdict(ours.wall <= limit);
        self.row([what, &ours.to_string(), "", "", "", &format!("{}  {verdict}", show(limit))]);
    }

    /// An amount of memory against a fixed one, in KiB.
    pub(crate) fn memory(&mut self, what: &str, kib: u64, limit_mib: u64) {
        let verdict = verdict(kib <= limit_mib << 10);
        self.row([what, &format!("{:.1} MiB", mib(kib)), "", "", "", &format!("{limit_mib} MiB  {verdict}")]);
    }

    /// A number that stands for itself.
    pub(crate) fn plain(&mut self, what: &str, ours: Cost) {
        self.row([what, &ours.to_string(), "", "", "", ""]);
    }

    /// A row that could not be measured here.
    pub(crate) fn missing(&mut self, what: &str, why: &str) {
        self.row([what, "not measured", why, "", "", ""]);
    }

    /// The rows of a table that was printed elsewhere.
    pub(crate) fn adopt(&mut self, place: &str, printed: &str) {
        // Its first two lines are the headings.
        for line in printed.lines().filter(|line| line.starts_with("| ")).skip(2) {
            let mut cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let what = format!("{place}{}", cells[0]);
            cells[0] = &what;
            if let Ok(cells) = <[&str; 6]>::try_from(cells) {
                self.row(cells);
            }
        }
    }

    fn row(&mut self, cells: [&str; 6]) {
        eprintln!("bench:   {}", cells.iter().filter(|cell| !cell.is_empty()).copied().collect::<Vec<_>>().join(" | "));
        self.0.push(cells.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "banger: wall (cpu)", "against", "wall (cpu)", "ratio", "at most"].map(str::to_owned);
        let width = |column: usize| {
            self.0.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String; 6]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, &head)?;
        line(f, &std::array::from_fn(|column| "-".repeat(widths[column])))?;
        self.0.iter().try_for_each(|row| line(f, row))
    }
}

fn verdict(within: bool) -> &'static str {
    if within { "ok" } else { "OVER" }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A duration as people read it.
pub(crate) fn show(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 90.0 => format!("{:.1} min", s / 60.0),
        s if s >= 1.0 => format!("{s:.2} s"),
        s => format!("{:.1} ms", s * 1000.0),
    }
}
