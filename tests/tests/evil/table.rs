//! The reports side by side, and what they must say.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};

use crate::golden::{ALLOWED, ALLOWED_STRICT, AT_LEAST, Exception};

/// What one run of the payload said.
#[derive(Debug)]
pub(crate) struct Report {
    /// Probes in their order.
    names: Vec<String>,
    outcomes: BTreeMap<String, (String, String)>,
}

impl Report {
    pub(crate) fn parse(text: &str) -> Result<Report> {
        let rows: Vec<BTreeMap<String, String>> =
            serde_json::from_str(text).context("the report is no JSON")?;
        let mut report = Report {
            names: Vec::new(),
            outcomes: BTreeMap::new(),
        };
        for row in rows {
            let field = |key: &str| row.get(key).cloned().context("a row without a field");
            let name = field("probe")?;
            report
                .outcomes
                .insert(name.clone(), (field("outcome")?, field("detail")?));
            report.names.push(name);
        }
        Ok(report)
    }

    fn word(&self, probe: &str) -> &str {
        self.outcomes.get(probe).map_or("missing", |(word, _)| word)
    }

    /// What it allows beside the exceptions.
    fn beyond(&self, title: &str, exceptions: &[Exception]) -> Vec<String> {
        let known = |name: &str| exceptions.iter().any(|exception| exception.probe == name);
        let beyond = self
            .names
            .iter()
            .filter(|name| self.allows(name) && !known(name));
        beyond
            .map(|name| format!("{title} allows {name}"))
            .collect()
    }

    fn allows(&self, probe: &str) -> bool {
        self.word(probe) == "allowed"
    }
}

/// All reports.
#[derive(Debug)]
pub(crate) struct Table {
    /// The host itself.
    pub(crate) control: Report,
    pub(crate) nspawn: Report,
    pub(crate) default: Report,
    /// With `Profile=strict`.
    pub(crate) strict: Report,
}

impl Table {
    fn columns(&self) -> [(&'static str, &Report); 4] {
        [
            ("host", &self.control),
            ("nspawn", &self.nspawn),
            ("skep", &self.default),
            ("strict", &self.strict),
        ]
    }

    /// Nothing that nspawn blocks is allowed, and nothing but the exceptions.
    pub(crate) fn judge(&self) -> Result<()> {
        let count = self.default.names.len();
        ensure!(count >= AT_LEAST, "only {count} probes");
        let mut wrong = self.default.beyond("skep", ALLOWED);
        wrong.extend(self.strict.beyond("strict", ALLOWED_STRICT));
        for name in &self.default.names {
            if self.default.allows(name) && !self.nspawn.allows(name) {
                wrong.push(format!("{name}: allowed, and nspawn does not"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34}", "probe")?;
        for (title, _) in self.columns() {
            write!(f, "{title:<10}")?;
        }
        writeln!(f)?;
        for name in &self.default.names {
            write!(f, "{name:<34}")?;
            for (_, report) in self.columns() {
                write!(f, "{:<10}", report.word(name))?;
            }
            let detail = self.default.outcomes.get(name).map_or("", |(_, text)| text);
            let exception = ALLOWED.iter().find(|exception| exception.probe == name);
            match exception.filter(|_| self.default.allows(name)) {
                Some(exception) => writeln!(f, "{}", exception.why)?,
                // The host could not do it either: blocking it proves nothing.
                None if !self.control.allows(name) => writeln!(f, "{detail} (vacuous)")?,
                None => writeln!(f, "{detail}")?,
            }
        }
        for (title, report) in self.columns() {
            let blocked = report.names.iter().filter(|name| !report.allows(name));
            writeln!(
                f,
                "{title}: {} of {} blocked",
                blocked.count(),
                report.names.len()
            )?;
        }
        Ok(())
    }
}
