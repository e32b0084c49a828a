//! Rows as a table for people and as JSON for programs, both with ratios and verdicts. Pure.

use std::fmt::Write;

use serde::Serialize;

use super::figure::{Limit, Row, SECTIONS, Section, Target};

/// Where the figures come from: they mean something next to each other only.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Origin {
    /// OS of the test host.
    pub(super) os: String,
    /// systemd of the test host.
    pub(super) systemd: String,
    /// Kernel of the machine.
    pub(super) kernel: String,
    /// Processors of the machine.
    pub(super) processors: usize,
}

/// Everything that one run has measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    origin: Origin,
    sections: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    title: &'static str,
    rows: Vec<Line>,
    targets: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct Line {
    contender: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    /// Median in terms of the section's first row, which is ours.
    ratio: f64,
    note: Option<String>,
    samples: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    target: String,
    measured: f64,
    met: bool,
}

impl Report {
    /// Judges rows.
    pub(super) fn new(origin: Origin, rows: &[Row]) -> Report {
        let sections = SECTIONS
            .iter()
            .filter_map(|section| measured(section, rows));
        Report {
            origin,
            sections: sections.collect(),
        }
    }

    /// Targets that were missed, as text.
    pub(super) fn missed(&self) -> Vec<String> {
        let verdicts = self.sections.iter().flat_map(|section| {
            section
                .targets
                .iter()
                .map(move |verdict| (section.title, verdict))
        });
        verdicts
            .filter(|(_, verdict)| !verdict.met)
            .map(|(title, verdict)| {
                format!(
                    "{title}: {}, measured {:.2}",
                    verdict.target, verdict.measured
                )
            })
            .collect()
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let Origin {
            os,
            systemd,
            kernel,
            processors,
        } = &self.origin;
        let mut text =
            format!("host {os}, systemd {systemd}, kernel {kernel}, {processors} processors\n");
        for section in &self.sections {
            text.push_str(&section.table());
        }
        text
    }
}

impl Measured {
    fn table(&self) -> String {
        let mut text = format!("\n{}\n", self.title);
        for line in &self.rows {
            let note = line
                .note
                .as_deref()
                .map(|note| format!("  {note}"))
                .unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {:<26} {:>9.1} {}  {:>7.2} x  [{:.1} .. {:.1}, {} runs]{note}",
                line.contender,
                line.median,
                line.unit,
                line.ratio,
                line.min,
                line.max,
                line.samples.len()
            );
        }
        for Verdict {
            target,
            measured,
            met,
        } in &self.targets
        {
            let verdict = if *met { "met" } else { "MISSED" };
            let _ = writeln!(text, "  target: {target}: {verdict} ({measured:.2})");
        }
        text
    }
}

fn measured(section: &Section, rows: &[Row]) -> Option<Measured> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.section == section.name)
        .collect();
    let base = rows.first()?.median();
    let line = |row: &&Row| {
        let (min, max) = row.range();
        Line {
            contender: row.contender.clone(),
            unit: row.unit.name(),
            median: row.median(),
            min,
            max,
            ratio: row.median() / base,
            note: row.note.clone(),
            samples: row.samples.clone(),
        }
    };
    Some(Measured {
        name: section.name,
        title: section.title,
        rows: rows.iter().map(line).collect(),
        targets: section
            .targets
            .iter()
            .filter_map(|target| judge(target, &rows))
            .collect(),
    })
}

/// `None` when one of the rows was not measured.
fn judge(target: &Target, rows: &[&Row]) -> Option<Verdict> {
    let find = |name: &str| rows.iter().find(|row| row.contender == name);
    let row = find(target.contender)?;
    let verdict = match target.limit {
        Limit::Value(limit) => {
            let measured = row.median();
            let target = format!("{} <= {limit} {}", row.contender, row.unit.name());
            Verdict {
                target,
                measured,
                met: measured <= limit,
            }
        }
        Limit::Times(factor, other) => {
            let measured = row.median() / find(other)?.median();
            let target = format!("{} <= {factor} x {other}", row.contender);
            Verdict {
                target,
                measured,
                met: measured <= factor,
            }
        }
    };
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Unit;

    fn row(section: &str, contender: &str, samples: &[f64]) -> Row {
        Row {
            section: section.into(),
            contender: contender.into(),
            unit: Unit::Milliseconds,
            samples: samples.to_vec(),
            note: None,
        }
    }

    #[test]
    fn targets_are_judged_by_medians() {
        let origin = Origin {
            os: "x".into(),
            systemd: "1".into(),
            kernel: "6".into(),
            processors: 2,
        };
        let rows = [
            row("fleet", "skep@", &[20.0, 30.0, 40.0]),
            row("fleet", "systemd-nspawn@", &[100.0]),
            row("apply", "skep apply, unchanged", &[10.0]),
        ];
        let report = Report::new(origin, &rows);
        assert_eq!(report.missed().len(), 1, "{:?}", report.missed());
        assert!(report.missed()[0].contains("0.25 x systemd-nspawn@, measured 0.30"));
        let table = report.table();
        assert!(table.contains("3.33 x"), "{table}");
        assert!(table.contains("<= 50 ms: met (10.00)"), "{table}");
        assert!(!table.contains("bare"), "{table}");
    }
}
