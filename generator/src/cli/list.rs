//! `skep list`.

use crate::apply::{Failed, Layout};
use crate::problem::escaped;
use crate::report::{self, Tint};

use super::view::{Survey, View, age};
use super::{FAILED, OK};

const COLUMNS: usize = 7;

const HEADER: [&str; COLUMNS] = [
    "NAME", "STATE", "INIT", "LEADER", "ADDRESS", "SINCE", "PENDING",
];

/// What fits into any terminal.
const LINE: usize = 80;

/// What columns may shrink to, the widest first, when a line would not fit; the others are never wide.
const NARROW: [(usize, usize); 3] = [(NAME, 16), (ADDRESS, 15), (INIT, 7)];

const NAME: usize = 0;
const STATE: usize = 1;
const INIT: usize = 2;
const ADDRESS: usize = 4;

/// `skep list`
pub(super) fn list(layout: &Layout, json: bool) -> u8 {
    match zbus::block_on(views(layout, json)) {
        Ok(views) if json => report::json(&views),
        Ok(views) if views.is_empty() => report::note("no containers are declared"),
        Ok(views) => report::print(&table(&views)),
        Err(error) => {
            report::error_line(&error.to_string());
            return FAILED;
        }
    }
    OK
}

async fn views(layout: &Layout, everything: bool) -> Result<Vec<View>, Failed> {
    let survey = Survey::take(layout).await?;
    let mut views = Vec::new();
    for name in survey.names() {
        views.push(match everything {
            true => survey.view(&name).await?,
            false => survey.brief(&name),
        });
    }
    Ok(views)
}

fn row(view: &View) -> [String; COLUMNS] {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let pending = match view.pending.as_slice() {
        [] => None,
        [one] if one == "apply" || one == "removal" => Some(one.clone()),
        _ => Some("restart".to_owned()),
    };
    let since = view.since.filter(|_| view.is_running());
    [
        view.name.clone(),
        view.state.clone(),
        dash(view.init_and_version().as_deref().map(escaped)),
        dash(view.leader.map(|pid| pid.to_string())),
        dash(view.addresses.first().map(ToString::to_string)),
        dash(since.map(|since| report::span(age(since)))),
        dash(pending),
    ]
}

/// A table whose lines fit into 80 columns.
fn table(views: &[View]) -> String {
    let rows: Vec<[String; COLUMNS]> = views.iter().map(row).collect();
    let mut widths = HEADER.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    shrink(&mut widths);
    let mut out = format_row(&HEADER.map(str::to_owned), &widths, Tint::Plain);
    for (row, view) in rows.iter().zip(views) {
        out.push_str(&format_row(row, &widths, tint(&view.state)));
    }
    out
}

/// Takes what is too much from the columns that can be narrow, always from the one that is furthest above its narrowest.
fn shrink(widths: &mut [usize; COLUMNS]) {
    while widths.iter().sum::<usize>() + COLUMNS - 1 > LINE {
        let spare = |(column, least): &(usize, usize)| widths[*column].saturating_sub(*least);
        match NARROW.iter().max_by_key(|narrow| spare(narrow)) {
            Some(narrow) if spare(narrow) > 0 => widths[narrow.0] -= 1,
            _ => return,
        }
    }
}

fn tint(state: &str) -> Tint {
    match state {
        "active" => Tint::Green,
        "failed" | "refused" => Tint::Red,
        "activating" | "deactivating" | "reloading" | "not-applied" => Tint::Yellow,
        _ => Tint::Plain,
    }
}

fn format_row(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], state: Tint) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let text = shortened(cell, *width);
        let gap = " ".repeat(width.saturating_sub(text.chars().count()) + 1);
        line.push_str(&match column {
            STATE => report::tinted(&text, state),
            _ => text,
        });
        line.push_str(&gap);
    }
    format!("{}\n", line.trim_end())
}

/// Names of a family differ at their ends, addresses too: what is too long is cut in the middle.
fn shortened(cell: &str, width: usize) -> String {
    let length = cell.chars().count();
    if length <= width {
        return cell.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head: String = cell.chars().take(kept.div_ceil(2)).collect();
    let tail: String = cell.chars().skip(length - kept / 2).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(name: &str, address: &str) -> View {
        View {
            name: name.into(),
            state: "deactivating".into(),
            leader: Some(4_194_304),
            init: Some("systemd\u{1b}[31m".into()),
            init_version: Some("257.13~rc1".into()),
            addresses: address.parse().into_iter().collect(),
            // 20000 days and 23 hours ago: as wide as it gets.
            since: Some(age(20_000 * 86_400 + 23 * 3600)),
            pending: vec!["Restart=".into(), "container".into()],
            ..View::default()
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        let long = busy(&"n".repeat(64), "fd00:1111:2222:3333:4444:5555:6666:7777");
        let plain = View {
            name: "web".into(),
            state: "inactive".into(),
            ..View::default()
        };
        let instance = busy(
            &format!("{}@{}", "t".repeat(64), "i".repeat(64)),
            "10.255.255.255",
        );
        for views in [
            vec![long, busy("a", "10.0.0.1")],
            vec![plain],
            vec![instance],
        ] {
            let text = table(&views);
            assert!(
                text.lines().all(|line| line.chars().count() <= LINE),
                "{text}"
            );
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn names_of_a_family_stay_apart() {
        let table = table(&[busy(&format!("{}-1", "n".repeat(60)), "10.0.0.1")]);
        assert!(table.contains("nnn…nnn"), "{table}");
        assert!(table.contains("n-1 deactivating"), "{table}");
        assert_eq!(shortened("abcdefgh", 5), "ab…gh");
        assert_eq!(shortened("abcdefgh", 1), "…");
        assert_eq!(shortened("abc", 3), "abc");
    }

    #[test]
    fn a_quiet_container_has_dashes() {
        let view = View {
            name: "web".into(),
            state: "inactive".into(),
            ..View::default()
        };
        assert_eq!(
            row(&view),
            ["web", "inactive", "-", "-", "-", "-", "-"].map(str::to_owned)
        );
    }
}
