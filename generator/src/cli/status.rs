//! `skep status`.

use crate::apply::{Failed, Layout};
use crate::problem::escaped;
use crate::report;

use super::view::{Survey, View, age};
use super::{FAILED, OK, StatusArgs};

/// `skep status`
pub(super) fn status(layout: &Layout, arguments: &StatusArgs) -> u8 {
    let (views, unknown) = match zbus::block_on(views(layout, &arguments.names)) {
        Ok(found) => found,
        Err(error) => {
            report::error_line(&error.to_string());
            return FAILED;
        }
    };
    if arguments.json {
        report::json(&views);
    } else {
        let texts: Vec<String> = views.iter().map(text).collect();
        report::print(&texts.join("\n"));
    }
    for name in &unknown {
        report::error_line(&format!("no container is called {name}"));
    }
    if unknown.is_empty() { OK } else { FAILED }
}

async fn views(layout: &Layout, names: &[String]) -> Result<(Vec<View>, Vec<String>), Failed> {
    let survey = Survey::take(layout).await?;
    let mut views = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        match survey.knows(name) {
            true => views.push(survey.view(name).await?),
            false => unknown.push(name.clone()),
        }
    }
    Ok((views, unknown))
}

fn text(view: &View) -> String {
    let mut out = format!("{}\n", view.name);
    let mut put =
        |label: &str, value: String| out.push_str(&format!("{label:>12}: {}\n", escaped(&value)));
    if let Some(path) = &view.declaration {
        put("Declaration", path.clone());
    }
    put("State", state(view));
    if let Some(status) = &view.status {
        put("Status", status.clone());
    }
    if let Some(leader) = view.leader {
        let init = view.init.as_deref().unwrap_or("unknown init");
        let os = view
            .os
            .as_deref()
            .map(|os| format!(", {os}"))
            .unwrap_or_default();
        put("Leader", format!("{leader} ({init}{os})"));
    }
    if let Some(base) = view.base {
        put(
            "Ids",
            format!(
                "{base}-{}",
                u64::from(base) + u64::from(skep_spec::ID_RANGE) - 1
            ),
        );
    }
    put(
        "Autostart",
        match view.wanted_by.as_slice() {
            [] => "no".to_owned(),
            targets => targets.join(" "),
        },
    );
    if !view.pending.is_empty() {
        put("Pending", pending(view));
    }
    for problem in &view.problems {
        out.push_str(&format!("{:>12}: {problem}\n", "Problem"));
    }
    out
}

fn state(view: &View) -> String {
    let sub = view
        .sub
        .as_deref()
        .filter(|sub| *sub != view.state)
        .map(|sub| format!(" ({sub})"))
        .unwrap_or_default();
    let result = view
        .result
        .as_deref()
        .map(|result| format!(", result {result}"))
        .unwrap_or_default();
    let since = view
        .since
        .map(|since| format!(" since {} ago", report::span(age(since))))
        .unwrap_or_default();
    format!("{}{sub}{since}{result}", view.state)
}

fn pending(view: &View) -> String {
    let what = view.pending.join(" ");
    match view.pending.as_slice() {
        [one] if one == "apply" => "\"skep apply\" has not seen the declaration yet".to_owned(),
        [one] if one == "removal" => "no longer declared; it goes when it stops".to_owned(),
        _ => format!("{what}; \"skep restart {}\" takes it", view.name),
    }
}
