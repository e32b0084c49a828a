//! What is measured: sections, rows of samples, and the bounds that we set ourselves.

use serde::{Deserialize, Serialize};

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Units of 1024 bytes.
    #[serde(rename = "kB")]
    Kilobytes,
}

impl Unit {
    /// As the table shows it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Kilobytes => "kB",
        }
    }
}

/// The samples of one contender; the driver prints one per line as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// [`Section::name`].
    pub section: String,
    /// Who was measured; ours begins with `skep`.
    pub contender: String,
    /// What the samples count.
    pub unit: Unit,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
    /// What a reader must know to judge the row.
    pub note: Option<String>,
}

impl Row {
    /// The middle sample, or the mean of the two in the middle; NaN without samples.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2) {
            (Some(value), 1) => *value,
            (Some(value), _) => f64::midpoint(sorted[middle - 1], *value),
            (None, _) => f64::NAN,
        }
    }

    /// Smallest and largest sample.
    pub fn range(&self) -> (f64, f64) {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        self.samples.iter().fold((low, high), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
    }
}

/// A group of rows that are compared with each other.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// On the command line and in rows.
    pub name: &'static str,
    /// In the table.
    pub title: &'static str,
    /// What we promise.
    pub targets: &'static [Target],
}

/// A promise about the median of a contender.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Whose median.
    pub contender: &'static str,
    /// What it must not exceed.
    pub limit: Limit,
}

/// The upper limit of a median.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// A value in the unit of the row.
    Value(f64),
    /// So many times the median of another contender.
    Times(f64, &'static str),
}

const fn times(contender: &'static str, factor: f64, other: &'static str) -> Target {
    Target {
        contender,
        limit: Limit::Times(factor, other),
    }
}

const fn at_most(contender: &'static str, value: f64) -> Target {
    Target {
        contender,
        limit: Limit::Value(value),
    }
}

/// Everything that can be measured, in the order in which it is. "Never slower" leaves five per cent for noise.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "true",
        title: "exec to exit of /bin/true, all namespaces, private ids",
        targets: &[
            times("skep", 1.0, "bwrap --unshare-all"),
            times("skep", 0.1, "systemd-nspawn"),
        ],
    },
    Section {
        name: "fleet",
        title: "systemctl start of 20 busybox systems at once, per system",
        targets: &[times("skep@", 0.25, "systemd-nspawn@")],
    },
    Section {
        name: "rss",
        title: "supervisor, resident",
        targets: &[times("skep@", 1.0, "systemd-nspawn@")],
    },
    Section {
        name: "pss",
        title: "supervisor, proportional share",
        targets: &[times("skep@", 1.0, "systemd-nspawn@")],
    },
    Section {
        name: "dirty",
        title: "supervisor, private dirty",
        targets: &[at_most("skep@", 150.0)],
    },
    Section {
        name: "debian-12",
        title: "systemctl start of Debian 12 until its default target",
        targets: &[times("skep@", 1.05, "systemd-nspawn@")],
    },
    Section {
        name: "debian-13",
        title: "systemctl start of Debian 13 until its default target",
        targets: &[times("skep@", 1.05, "systemd-nspawn@")],
    },
    Section {
        name: "stop",
        title: "systemctl stop, 50 ms after the start of Debian 12",
        targets: &[
            times("skep@", 1.0, "systemd-nspawn@"),
            at_most("skep@", 5000.0),
        ],
    },
    Section {
        name: "apply",
        title: "1,000 declarations",
        targets: &[
            times("skep apply, first", 1.3, "the bare call"),
            times("skep apply, known ranges", 1.3, "the bare call"),
            at_most("skep apply, unchanged", 50.0),
        ],
    },
    Section {
        name: "reload",
        title: "systemctl daemon-reload",
        targets: &[],
    },
    Section {
        name: "files",
        title: "systemctl start by the number of files in the tree",
        targets: &[times("skep@, 200,000 files", 1.1, "skep@, 400 files")],
    },
    Section {
        name: "network",
        title: "128 MiB over TCP, from the host to a container",
        targets: &[times("skep@, veth", 1.1, "systemd-nspawn@, veth")],
    },
    Section {
        name: "latency",
        title: "2,000 round trips of a byte over TCP, host and container",
        targets: &[times("skep@, veth", 1.1, "systemd-nspawn@, veth")],
    },
    Section {
        name: "start-net",
        title: "systemctl start by kind of network",
        targets: &[times("skep@, veth", 1.0, "systemd-nspawn@, veth")],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (samples, median) in [
            (vec![3.0], 3.0),
            (vec![4.0, 1.0], 2.5),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![1.0, 100.0, 3.0, 2.0], 2.5),
        ] {
            let row = Row {
                section: String::new(),
                contender: String::new(),
                unit: Unit::Milliseconds,
                samples,
                note: None,
            };
            assert!((row.median() - median).abs() < f64::EPSILON, "{row:?}");
        }
    }
}
