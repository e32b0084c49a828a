//! `skep status`.

use crate::apply::{Failed, Layout};
use crate::manager::Usage;
use crate::problem::escaped;
use crate::report::{self, Tint, bytes, short_span};

use super::view::network::NetworkView;
use super::view::{Survey, View, age};
use super::{FAILED, OK, StatusArgs};

/// Width of the labels, which end at the same column.
const LABEL: usize = 12;

/// `skep status`
pub(super) fn status(layout: &Layout, arguments: &StatusArgs) -> u8 {
    let (mut views, unknown) = match zbus::block_on(views(layout, &arguments.names)) {
        Ok(found) => found,
        Err(error) => {
            report::error_line(&error.to_string());
            return FAILED;
        }
    };
    for view in &mut views {
        view.add_console(arguments.lines);
    }
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

/// Lines with a label each; of the same label only the first has it.
#[derive(Default)]
struct Page {
    text: String,
    label: String,
}

impl Page {
    /// Adds a line. Its value may come from anywhere.
    fn put(&mut self, label: &str, value: &str) {
        self.put_whole(label, &escaped(value));
    }

    fn put_some(&mut self, label: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(label, value);
        }
    }

    /// Adds a line that is escaped already, or coloured.
    fn put_whole(&mut self, label: &str, value: &str) {
        let lead = match self.label == label {
            true => " ".repeat(LABEL + 2),
            false => format!("{label:>LABEL$}: "),
        };
        self.label = label.to_owned();
        let line = format!("{lead}{value}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

fn text(view: &View) -> String {
    let mut page = Page {
        text: format!("{}\n", view.name),
        ..Page::default()
    };
    page.put_some("Declaration", view.declaration.as_deref());
    page.put_whole("State", &state(view));
    // systemd keeps the text of the last run, which the last end explains better.
    let over = view.last_end.is_some() && !view.is_running();
    page.put_some("Status", view.status.as_deref().filter(|_| !over));
    page.put_some("Leader", leader(view).as_deref());
    for address in &view.addresses {
        page.put("Address", &address.to_string());
    }
    let start = view
        .boot_msec
        .map(|boot| format!("took {}", short_span(boot)));
    page.put_some("Start", start.as_deref());
    let last = |base: u32| u64::from(base) + u64::from(skep_spec::ID_RANGE) - 1;
    let ids = view.base.map(|base| format!("{base}-{}", last(base)));
    page.put_some("Ids", ids.as_deref());
    if let (Some(root), Some(access)) = (&view.root, view.access) {
        page.put("Root", &format!("{root} ({access})"));
    }
    for line in view.network.iter().flat_map(NetworkView::lines) {
        page.put("Network", &line);
    }
    for port in view.network.iter().flat_map(|network| &network.ports) {
        page.put("Port", port);
    }
    for mount in &view.mounts {
        page.put("Mounts", &mount.line());
    }
    let usage = view.usage.filter(|_| view.is_running()).and_then(usage);
    page.put_some("Uses", usage.as_deref());
    page.put_some("Last end", last_end(view).as_deref());
    page.put("Autostart", &autostart(view));
    if !view.pending.is_empty() {
        page.put("Pending", &pending(view));
    }
    for problem in &view.problems {
        page.put_whole("Problem", &problem.to_string());
    }
    for line in &view.console {
        page.put("Console", line);
    }
    page.text
}

fn state(view: &View) -> String {
    let tint = match view.state.as_str() {
        "active" => Tint::Green,
        "failed" | "refused" => Tint::Red,
        "activating" | "deactivating" | "reloading" | "not-applied" => Tint::Yellow,
        _ => Tint::Plain,
    };
    let sub = view
        .sub
        .as_deref()
        .filter(|sub| *sub != view.state)
        .map(|sub| format!(" ({})", escaped(sub)))
        .unwrap_or_default();
    let result = view
        .result
        .as_deref()
        .map(|result| format!(", result {}", escaped(result)))
        .unwrap_or_default();
    let since = view
        .since
        .map(|since| format!(" since {} ago", report::span(age(since))))
        .unwrap_or_default();
    let restarts = match view.restarts {
        None | Some(0) => String::new(),
        Some(1) => ", restarted once".to_owned(),
        Some(times) => format!(", restarted {times} times"),
    };
    let word = report::tinted(&escaped(&view.state), tint);
    format!("{word}{sub}{since}{result}{restarts}")
}

fn leader(view: &View) -> Option<String> {
    let leader = view.leader?;
    let init = view.init_and_version();
    let init = init.as_deref().unwrap_or("unknown init");
    Some(match &view.os {
        Some(os) => format!("{leader} ({init}, {os})"),
        None => format!("{leader} ({init})"),
    })
}

/// What there are figures of.
fn usage(usage: Usage) -> Option<String> {
    let notes = |notes: [(&str, Option<String>); 2]| {
        let some = notes
            .into_iter()
            .filter_map(|(word, value)| Some(format!("{word} {}", value?)));
        let some: Vec<String> = some.collect();
        match some.is_empty() {
            true => String::new(),
            false => format!(" ({})", some.join(", ")),
        }
    };
    let memory = usage.memory.map(|now| {
        let peak = usage.memory_peak.map(bytes);
        let limit = usage.memory_max.map(bytes);
        format!(
            "memory {}{}",
            bytes(now),
            notes([("peak", peak), ("limit", limit)])
        )
    });
    let tasks = usage.tasks.map(|now| {
        let limit = usage.tasks_max.map(|limit| limit.to_string());
        format!("tasks {now}{}", notes([("limit", limit), ("", None)]))
    });
    let cpu = usage
        .cpu_nsec
        .map(|nsec| format!("CPU {}", short_span(nsec / 1_000_000)));
    let traffic = usage.ip_in.zip(usage.ip_out);
    let traffic = traffic
        .filter(|both| *both != (0, 0))
        .map(|(inward, outward)| format!("network {} in, {} out", bytes(inward), bytes(outward)));
    let all: Vec<String> = [memory, tasks, cpu, traffic]
        .into_iter()
        .flatten()
        .collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn last_end(view: &View) -> Option<String> {
    let last = view.last_end.as_ref()?;
    Some(match last.at {
        Some(at) => format!("{} ago: {}", report::span(age(at)), last.reason),
        None => last.reason.clone(),
    })
}

fn autostart(view: &View) -> String {
    match view.wanted_by.as_slice() {
        [] => "no".to_owned(),
        targets => targets.join(" "),
    }
}

fn pending(view: &View) -> String {
    let what = view.pending.join(" ");
    match view.pending.as_slice() {
        [one] if one == "apply" => "\"skep apply\" has not seen the declaration yet".to_owned(),
        [one] if one == "removal" => "no longer declared; it goes when it stops".to_owned(),
        _ => format!("{what}; \"skep restart {}\" takes it", view.name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::network::LinkView;
    use super::*;

    #[test]
    fn a_page_says_what_is_known_and_no_more() {
        let empty = View {
            name: "web".into(),
            state: "not-applied".into(),
            ..View::default()
        };
        assert_eq!(
            text(&empty),
            "web\n       State: not-applied\n   Autostart: no\n"
        );
        let full = View {
            state: "active".into(),
            sub: Some("running".into()),
            leader: Some(42),
            init: Some("systemd".into()),
            init_version: Some("257".into()),
            os: Some("Debian \u{1b}[31m13".into()),
            addresses: ["10.0.0.5", "fd00::5"]
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            boot_msec: Some(1234),
            network: Some(NetworkView {
                namespace: "private".into(),
                links: vec![LinkView {
                    name: "host0".into(),
                    kind: "nat over skep0".into(),
                    addresses: vec!["10.0.0.5/17".into(), "fd00::5/64".into()],
                    gateways: Vec::new(),
                }],
                ports: vec!["8080/tcp to 80".into()],
            }),
            base: Some(655_360),
            restarts: Some(2),
            console: vec!["a\u{1b}[2J".into(), String::new(), "b".into()],
            ..empty
        };
        let want = "web
       State: active (running), restarted 2 times
      Leader: 42 (systemd 257, Debian \\x1b[31m13)
     Address: 10.0.0.5
              fd00::5
       Start: took 1.234s
         Ids: 655360-720895
     Network: host0 to nat over skep0, 10.0.0.5/17, fd00::5/64
        Port: 8080/tcp to 80
   Autostart: no
     Console: a\\x1b[2J

              b
";
        assert_eq!(text(&full), want);
    }

    #[test]
    fn figures_that_are_missing_are_left_out() {
        assert_eq!(usage(Usage::default()), None);
        let cpu = Usage {
            cpu_nsec: Some(2_500_000_000),
            ip_in: Some(0),
            ip_out: Some(0),
            ..Usage::default()
        };
        assert_eq!(usage(cpu).as_deref(), Some("CPU 2.500s"));
        let all = Usage {
            memory: Some(35_861_299),
            memory_peak: Some(64 << 20),
            memory_max: Some(2 << 30),
            tasks: Some(23),
            tasks_max: Some(16384),
            ip_in: Some(2048),
            ..cpu
        };
        let want = "memory 34.1M (peak 64M, limit 2G), tasks 23 (limit 16384), CPU 2.500s, network 2K in, 0B out";
        assert_eq!(usage(all).as_deref(), Some(want));
    }
}
