//! Scripts in `/etc/init.d`, of System V init and of OpenRC: a script that does nothing is mounted over one that does not
//! fit. It provides what the other provides, so that what needs it finds it started.

use skep_spec::ContainerSpec;

use super::{Adaptation, Effect, Entry, choose, runit, service, table};
use crate::plan::mounts::MountOp;
use crate::tree::services::Services;

pub(super) fn plan(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    let reach = table::Reach::of(spec);
    let known = services
        .scripts
        .keys()
        .filter_map(|name| table::script(name, reach))
        .chain(services.runs.iter().filter_map(|name| runit::login(name)));
    for entry in choose(spec, known) {
        let found = services
            .scripts
            .iter()
            .find(|(name, _)| service(name) == service(&entry.name));
        match found {
            Some((name, text)) => {
                let path = format!("/etc/init.d/{name}").into();
                let empty = stand_in(text, &entry.reason).into_bytes();
                adaptation.mounts.push(MountOp::Script(path, empty));
                adaptation.entries.push(Entry {
                    name: name.clone(),
                    effect: Effect::StandIn,
                    reason: entry.reason,
                });
            }
            None if services.runs.contains(service(&entry.name)) => {
                runit::cover(entry, adaptation);
            }
            None => adaptation.notes.push(format!(
                "Mask={}: the tree has no such service in /etc/init.d",
                entry.name
            )),
        }
    }
    if adaptation
        .entries
        .iter()
        .any(|entry| service(&entry.name) == "mountkernfs")
    {
        adaptation.mounts.extend(run_of_debian());
    }
}

/// What Debian's script leaves in `/run` where others rely on it. The empty files keep a later script from clearing the
/// directories.
fn run_of_debian() -> [MountOp; 5] {
    let directory = |path: &str, mode| MountOp::Directory {
        path: path.into(),
        mode,
    };
    [
        MountOp::File("/run/.tmpfs".into(), Vec::new()),
        directory("/run/lock", 0o1777),
        MountOp::File("/run/lock/.tmpfs".into(), Vec::new()),
        directory("/run/sendsigs.omit.d", 0o755),
        MountOp::Link {
            path: "/run/shm".into(),
            to: "/dev/shm",
        },
    ]
}

/// A script that does nothing instead of `text`.
fn stand_in(text: &str, reason: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("#!") && (first.contains("openrc-run") || first.contains("runscript")) {
        let provides: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("provide ") && is_plain(line))
            .collect();
        return format!(
            "{first}\ndescription=\"Left out by skep: {reason}\"\n\ndepend() {{\n\t{}\n}}\n\n\
             start() {{ :; }}\nstop() {{ :; }}\n",
            if provides.is_empty() {
                ":".to_owned()
            } else {
                provides.join("\n\t")
            }
        );
    }
    let header: String = text
        .lines()
        .skip_while(|line| !line.starts_with("### BEGIN INIT INFO"))
        .take_while(|line| line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    format!("#!/bin/sh\n{header}# Left out by skep: {reason}\nexit 0\n")
}

/// Words of a dependency, nothing that a shell would act on.
fn is_plain(line: &str) -> bool {
    line.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '\t' | '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;
    use crate::tree::services::Runner;

    const LSB: &str =
        "#!/bin/sh -e\n### BEGIN INIT INFO\n# Provides: networking\n### END INIT INFO\nrm -rf /\n";
    const RC: &str = "#!/sbin/openrc-run\ndepend() {\n\tneed localmount\n\tprovide net\n\tprovide $(reboot)\n}\nstart() { x; }\n";

    #[test]
    fn scripts_keep_what_they_provide() {
        assert_eq!(
            stand_in(LSB, "r"),
            "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: networking\n### END INIT INFO\n# Left out by skep: r\nexit 0\n"
        );
        assert_eq!(
            stand_in(RC, "r"),
            "#!/sbin/openrc-run\ndescription=\"Left out by skep: r\"\n\ndepend() {\n\tprovide net\n}\n\nstart() { :; }\nstop() { :; }\n"
        );
    }

    #[test]
    fn a_mask_of_nothing_is_a_note() {
        let mut spec = spec();
        spec.adapt.mask = vec!["web".into(), "cron.service".into()];
        let services = Services {
            runner: Runner::Sysv,
            scripts: [("cron".to_owned(), LSB.to_owned())].into(),
            ..Services::default()
        };
        let mut adaptation = Adaptation::default();
        plan(&spec, &services, &mut adaptation);
        assert_eq!(adaptation.entries.len(), 1);
        assert_eq!(adaptation.entries[0].name, "cron");
        assert_eq!(adaptation.notes.len(), 1);
    }
}
