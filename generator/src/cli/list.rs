//! `skep list`.

use crate::apply::{Failed, Layout};
use crate::problem::escaped;
use crate::report::{self, Tint};

use super::view::{Survey, View, age};
use super::{FAILED, OK};

const HEADER: [&str; 7] = [
    "NAME", "STATE", "LEADER", "INIT", "BASE", "SINCE", "PENDING",
];

/// Widths that columns shrink to when a line would not fit into 80 columns.
const NARROW: [usize; 7] = [20, 12, 8, 8, 10, 9, 7];

/// `skep list`
pub(super) fn list(layout: &Layout, json: bool) -> u8 {
    match zbus::block_on(views(layout)) {
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

async fn views(layout: &Layout) -> Result<Vec<View>, Failed> {
    let survey = Survey::take(layout).await?;
    let mut views = Vec::new();
    for name in survey.names() {
        views.push(survey.brief(&name).await?);
    }
    Ok(views)
}

fn row(view: &View) -> [String; 7] {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let running = matches!(
        view.state.as_str(),
        "active" | "activating" | "deactivating" | "reloading"
    );
    let pending = match view.pending.as_slice() {
        [] => None,
        [one] if one == "apply" || one == "removal" => Some(one.clone()),
        _ => Some("restart".to_owned()),
    };
    [
        view.name.clone(),
        view.state.clone(),
        dash(view.leader.map(|pid| pid.to_string())),
        dash(view.init.as_deref().map(escaped)),
        dash(view.base.map(|base| base.to_string())),
        dash(
            view.since
                .filter(|_| running)
                .map(|since| report::span(age(since))),
        ),
        dash(pending),
    ]
}

/// A table whose lines fit into 80 columns.
fn table(views: &[View]) -> String {
    let rows: Vec<[String; 7]> = views.iter().map(row).collect();
    let mut widths = HEADER.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if widths.iter().sum::<usize>() + widths.len() - 1 > 80 {
        for (width, narrow) in widths.iter_mut().zip(NARROW) {
            *width = (*width).min(narrow);
        }
    }
    let mut out = format_row(&HEADER.map(str::to_owned), &widths, Tint::Plain);
    for (row, view) in rows.iter().zip(views) {
        out.push_str(&format_row(row, &widths, tint(&view.state)));
    }
    out
}

fn tint(state: &str) -> Tint {
    match state {
        "active" => Tint::Green,
        "failed" | "refused" => Tint::Red,
        "activating" | "deactivating" | "reloading" | "not-applied" => Tint::Yellow,
        _ => Tint::Plain,
    }
}

fn format_row(cells: &[String; 7], widths: &[usize; 7], state: Tint) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let text = shortened(cell, *width);
        let gap = " ".repeat(width.saturating_sub(text.chars().count()) + 1);
        line.push_str(&if column == 1 {
            report::tinted(&text, state)
        } else {
            text
        });
        line.push_str(&gap);
    }
    format!("{}\n", line.trim_end())
}

fn shortened(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal() {
        let long = View {
            name: "n".repeat(64),
            state: "deactivating".into(),
            leader: Some(4_194_304),
            init: Some("systemd\u{1b}[31m".into()),
            base: Some(0x6FFF_0000),
            since: Some(1),
            pending: vec!["Restart=".into(), "container".into()],
            ..View::default()
        };
        let short = View {
            name: "web".into(),
            state: "inactive".into(),
            ..View::default()
        };
        for views in [vec![long], vec![short]] {
            let text = table(&views);
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
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
