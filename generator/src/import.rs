//! systemd.nspawn(5) files to declarations.
//!
//! Pure: text in, text and remarks out. Each setting becomes the key that means the same, or a remark that says what
//! becomes of it. What comes out is validated like any declaration, with the lines of the file that it came from. skep
//! itself never reads such a file: one that lies beside a tree may be the tree's maker's.

mod network;

use std::path::Path;

use crate::declaration::keys::{self, KeyRow, Section};
use crate::declaration::{Declaration, Facts, LoadState, Setting, ini};
use crate::problem::{Origin, Problem, ProblemList, Severity, escaped};
use crate::validate::validate;

/// What came of a file.
#[derive(Debug)]
pub struct Imported {
    /// The declaration.
    pub declaration: String,
    /// What has no equivalent or another meaning, in the order of the file.
    pub remarks: Vec<Problem>,
}

/// An assignment of a declaration; nothing when none is needed; or why there is none.
type Translated = Result<Option<(Section, &'static str, String)>, String>;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The same key and value in this section.
    Same(Section),
    /// Another key, or one whose values differ.
    Changed(fn(&str) -> Translated),
    /// Nothing: the reason, and the way out.
    Gone(&'static str),
}

const CONTAINER: Fate = Fate::Same(Section::Container);
const SERVICE: Fate = Fate::Same(Section::Service);

/// All settings of systemd 262, but those of `[Network]` that say something together.
const SETTINGS: &[(&str, &str, Fate)] = &[
    ("Exec", "Boot", Fate::Changed(boot)),
    ("Exec", "Ephemeral", CONTAINER),
    ("Exec", "ProcessTwo", CONTAINER),
    ("Exec", "Parameters", CONTAINER),
    ("Exec", "Environment", CONTAINER),
    (
        "Exec",
        "User",
        Fate::Gone("an init runs as root; for one command there is \"skep run --user\""),
    ),
    (
        "Exec",
        "WorkingDirectory",
        Fate::Gone("an init starts in /; for one command there is \"skep run --chdir\""),
    ),
    ("Exec", "PivotRoot", Fate::Gone("not supported")),
    ("Exec", "Capability", CONTAINER),
    ("Exec", "DropCapability", CONTAINER),
    (
        "Exec",
        "AmbientCapability",
        Fate::Gone("the init runs as root and needs none"),
    ),
    ("Exec", "NoNewPrivileges", CONTAINER),
    ("Exec", "KillSignal", CONTAINER),
    ("Exec", "Personality", Fate::Changed(personality)),
    ("Exec", "MachineID", CONTAINER),
    ("Exec", "PrivateUsers", Fate::Changed(users)),
    ("Exec", "NotifyReady", CONTAINER),
    ("Exec", "SystemCallFilter", CONTAINER),
    ("Exec", "LimitCPU", SERVICE),
    ("Exec", "LimitFSIZE", SERVICE),
    ("Exec", "LimitDATA", SERVICE),
    ("Exec", "LimitSTACK", SERVICE),
    ("Exec", "LimitCORE", SERVICE),
    ("Exec", "LimitRSS", SERVICE),
    ("Exec", "LimitNOFILE", SERVICE),
    ("Exec", "LimitAS", SERVICE),
    ("Exec", "LimitNPROC", SERVICE),
    ("Exec", "LimitMEMLOCK", SERVICE),
    ("Exec", "LimitLOCKS", SERVICE),
    ("Exec", "LimitSIGPENDING", SERVICE),
    ("Exec", "LimitMSGQUEUE", SERVICE),
    ("Exec", "LimitNICE", SERVICE),
    ("Exec", "LimitRTPRIO", SERVICE),
    ("Exec", "LimitRTTIME", SERVICE),
    ("Exec", "OOMScoreAdjust", SERVICE),
    ("Exec", "CPUAffinity", SERVICE),
    ("Exec", "Hostname", CONTAINER),
    ("Exec", "ResolvConf", Fate::Changed(resolv_conf)),
    ("Exec", "Timezone", Fate::Changed(timezone)),
    ("Exec", "LinkJournal", CONTAINER),
    ("Exec", "SuppressSync", Fate::Gone("not supported")),
    ("Files", "ReadOnly", CONTAINER),
    ("Files", "Volatile", CONTAINER),
    ("Files", "Bind", CONTAINER),
    ("Files", "BindReadOnly", CONTAINER),
    (
        "Files",
        "BindUser",
        Fate::Gone("make the user in the container and bind its home"),
    ),
    (
        "Files",
        "BindUserShell",
        Fate::Gone("make the user in the container and bind its home"),
    ),
    ("Files", "TemporaryFileSystem", CONTAINER),
    (
        "Files",
        "Inaccessible",
        Fate::Gone("put a TemporaryFileSystem= over the directory"),
    ),
    ("Files", "Overlay", CONTAINER),
    ("Files", "OverlayReadOnly", CONTAINER),
    (
        "Files",
        "PrivateUsersOwnership",
        Fate::Gone("not needed: the tree is mapped and never changed"),
    ),
    (
        "Files",
        "PrivateUsersChown",
        Fate::Gone("not needed: the tree is mapped and never changed"),
    ),
    ("Network", "Port", CONTAINER),
];

fn boolean(value: &str) -> Result<bool, String> {
    crate::declaration::value::boolean(value)
}

fn boot(value: &str) -> Translated {
    match boolean(value)? {
        true => Ok(None),
        false => Err("skep boots the init of the tree; for another program set Init=".into()),
    }
}

/// `BASE:COUNT` has a fixed count here, and yes means that the tree's owner tells the base.
fn users(value: &str) -> Translated {
    let key = |value: &str| Ok(Some((Section::Container, "PrivateUsers", value.to_owned())));
    match value.split_once(':') {
        Some((base, "65536")) => return key(base),
        Some(_) => return Err("a container has 65536 ids; write the first one only".into()),
        None => {}
    }
    match (value, boolean(value)) {
        ("managed", _) => Err("not supported: ids are picked and mapped by skep".into()),
        ("pick" | "identity", _) => key(value),
        (_, Ok(true)) => key("pick"),
        (_, Ok(false)) => key("no"),
        (_, Err(_)) => key(value),
    }
}

/// A copy in the tree becomes a mount that follows the host's file.
fn resolv_conf(value: &str) -> Translated {
    let value = match value.split_once('-') {
        Some(("copy" | "replace", what)) => format!("bind-{what}"),
        _ => value.to_owned(),
    };
    Ok(Some((Section::Container, "ResolvConf", value)))
}

fn timezone(value: &str) -> Translated {
    let value = if value == "copy" { "bind" } else { value };
    Ok(Some((Section::Container, "Timezone", value.to_owned())))
}

/// The container still says what machine it is on.
fn personality(value: &str) -> Translated {
    match value {
        "x86" => Ok(Some((
            Section::Container,
            "SystemCallArchitectures",
            "native x86".to_owned(),
        ))),
        _ => Err("programs of the machine's own architecture run, and 32-bit ones with SystemCallArchitectures=native x86".into()),
    }
}

/// Translates the file at `path`, for container `name`.
pub fn import(bytes: &[u8], path: &Path, name: &str, facts: &Facts) -> Imported {
    let text = ini::parse(bytes);
    let mut declaration = Declaration {
        name: name.to_owned(),
        source: path.to_owned(),
        settings: Vec::new(),
        problems: ProblemList::default(),
    };
    let file = declaration.problems.add_file(path);
    let mut remarks = ProblemList::default();
    remarks.add_file(path);
    for flaw in &text.flaws {
        let origin = Origin {
            file,
            line: flaw.line,
        };
        remarks.error(origin, None, || flaw.message.clone());
    }
    let mut network = network::Network::default();
    for entry in &text.entries {
        let origin = Origin {
            file,
            line: entry.line,
        };
        let section = text
            .sections
            .get(entry.section)
            .map_or("", |header| header.name.as_str());
        let taken = (section == "Network")
            .then(|| network.take(origin, &entry.key, &entry.value))
            .flatten();
        match taken {
            Some(Ok(())) => continue,
            Some(Err(message)) => {
                remarks.error(origin, Some(&entry.key), || message);
                continue;
            }
            None => {}
        }
        match translate(section, &entry.key, &entry.value) {
            Err(message) => remarks.error(origin, Some(&entry.key), || message),
            Ok(None) => {}
            Ok(Some((section, key, value))) => match keys::find(section, key) {
                Some(row) => {
                    let value = literal(row, value);
                    declaration.settings.push(Setting { origin, row, value });
                }
                None => remarks.error(origin, Some(key), || keys::explain(section, key)),
            },
        }
    }
    let (lines, said) = network.translate();
    for (origin, key, remark) in said {
        remarks.error(origin, Some(key), || remark.to_owned());
    }
    for (origin, key, value) in lines {
        if let Some(row) = keys::find(Section::Container, key) {
            let value = literal(row, value);
            declaration.settings.push(Setting { origin, row, value });
        }
    }
    finish(declaration, remarks, facts)
}

/// A value without specifiers: such a file has none, a declaration has where the key takes them.
fn literal(row: &KeyRow, value: String) -> String {
    match row.expands() {
        true => value.replace('%', "%%"),
        false => value,
    }
}

fn translate(section: &str, key: &str, value: &str) -> Translated {
    let found = SETTINGS
        .iter()
        .find(|(of, name, _)| *of == section && *name == key);
    let Some((_, name, fate)) = found else {
        return Err(format!("not a setting of [{section}] in systemd.nspawn(5)"));
    };
    match fate {
        Fate::Same(section) => Ok(Some((*section, name, value.to_owned()))),
        Fate::Changed(change) => change(value),
        Fate::Gone(why) => Err(format!("no equivalent: {why}")),
    }
}

/// The value as a terminal may show it. A tab parts words, and escaped it would be part of one.
fn printable(value: &str) -> String {
    let parts: Vec<_> = value.split('\t').map(escaped).collect();
    parts.join("\t")
}

/// Leaves out what a declaration may not say, with the reason.
fn finish(declaration: Declaration, remarks: ProblemList, facts: &Facts) -> Imported {
    let settings: Vec<(u32, Section, &str, String)> = declaration
        .settings
        .iter()
        .map(|one| {
            (
                one.origin.line,
                one.row.section,
                one.row.name,
                one.value.clone(),
            )
        })
        .collect();
    let verdict = validate(declaration, facts);
    let wrong = match verdict.state {
        LoadState::Invalid { problems, .. } => problems,
        LoadState::Valid(_) | LoadState::Masked | LoadState::Template => Vec::new(),
    };
    let (errors, warnings) = remarks.finish();
    let is_wrong = |line: u32, key: &str| {
        let here =
            |problem: &Problem| problem.line == Some(line) && problem.key.as_deref() == Some(key);
        wrong.iter().any(here)
    };
    let mut text = String::new();
    for section in Section::ALL {
        let lines: Vec<String> = settings
            .iter()
            .filter(|(line, of, key, _)| *of == section && !is_wrong(*line, key))
            .map(|(_, _, key, value)| format!("{key}={}\n", printable(value)))
            .collect();
        if !lines.is_empty() || section == Section::Container {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{section}]\n{}", lines.concat()));
        }
    }
    let mut remarks: Vec<Problem> = errors
        .into_iter()
        .chain(warnings)
        .chain(wrong)
        .chain(verdict.warnings)
        .collect();
    remarks.sort_by_key(|problem| problem.line);
    for remark in &mut remarks {
        remark.severity = Severity::Warning;
    }
    Imported {
        declaration: text,
        remarks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            systemd: None,
            hostname: "host".into(),
            machine_id: None,
            boot_id: String::new(),
            kernel: String::new(),
        }
    }

    fn imported(text: &str) -> (String, Vec<String>) {
        let done = import(
            text.as_bytes(),
            Path::new("/etc/systemd/nspawn/web.nspawn"),
            "web",
            &facts(),
        );
        let remarks = done.remarks.iter().map(ToString::to_string).collect();
        (done.declaration, remarks)
    }

    #[test]
    fn what_has_an_equivalent_is_translated() {
        let (text, remarks) = imported(
            "[Exec]\nBoot=yes\nPrivateUsers=yes\nResolvConf=copy-stub\nTimezone=copy\nLinkJournal=try-host\nLimitNOFILE=1024\nEnvironment=RATE=50%\n\
             [Files]\nBind=/srv/a:/a\nVolatile=state\n[Network]\nPrivate=no\n",
        );
        let want = "[Container]\nPrivateUsers=pick\nResolvConf=bind-stub\nTimezone=bind\nLinkJournal=try-host\nEnvironment=RATE=50%%\nBind=/srv/a:/a\nVolatile=state\nNetwork=host\n\n\
            [Service]\nLimitNOFILE=1024\n";
        assert_eq!((text.as_str(), remarks), (want, Vec::new()));
    }

    #[test]
    fn values_keep_their_meaning() {
        for (text, want) in [
            // A tab parts words.
            ("[Exec]\nEnvironment=A=1\tB=2\n", "Environment=A=1\tB=2\n"),
            ("[Exec]\nEnvironment=A=%i\n", "Environment=A=%%i\n"),
            (
                "[Network]\nNamespacePath=/run/netns/a%b\n",
                "Network=netns:/run/netns/a%%b\n",
            ),
            ("[Exec]\nCPUAffinity=0\t1\n", "CPUAffinity=0\t1\n"),
        ] {
            let (out, remarks) = imported(text);
            assert!(out.contains(&format!("\n{want}")), "{out:?} {remarks:?}");
        }
        let tell = |key: &str, section| {
            let row = keys::find(section, key).into_iter();
            row.map(|row| literal(row, "50%".to_owned()))
                .collect::<String>()
        };
        assert_eq!(tell("Environment", Section::Container), "50%%");
        assert_eq!(tell("MemoryMax", Section::Service), "50%");
    }

    #[test]
    fn what_has_none_is_named_with_its_line() {
        for (text, line, want) in [
            (
                "[Exec]\nUser=www\n",
                2,
                "no equivalent: an init runs as root",
            ),
            ("[Network]\n\nZone=a/b\n", 3, "not the name of a link"),
            ("[Network]\nPrivate=maybe\n", 2, "not a boolean"),
            ("[Network]\nPort=80\n", 2, "no link leads from the host"),
            ("[Network]\nFrob=1\n", 2, "not a setting of [Network]"),
            ("[Exec]\nBoot=no\n", 2, "set Init="),
            (
                "[Exec]\nLinkJournal=guest\n",
                2,
                "paths that the container controls",
            ),
            ("[Exec]\nTimezone=delete\n", 2, "would write to the tree"),
            ("[Exec]\nPrivateUsers=managed\n", 2, "not supported"),
            ("[Exec]\nPrivateUsers=1048576:1000\n", 2, "65536 ids"),
            ("[Exec]\nFrob=1\n", 2, "not a setting of [Exec]"),
            ("[Files]\nBind=/proc/sys:/x\n", 2, "kernel interface"),
            ("[Exec]\nHostname=a b\n", 2, "not a host name"),
            ("[Exec\n", 1, ""),
        ] {
            let (out, remarks) = imported(text);
            assert_eq!(out, "[Container]\n", "{text}");
            assert_eq!(remarks.len(), 1, "{text}: {remarks:?}");
            let place = format!("/etc/systemd/nspawn/web.nspawn:{line}: ");
            assert!(
                remarks[0].starts_with(&place) && remarks[0].contains(want),
                "{remarks:?}"
            );
        }
    }

    #[test]
    fn networks_are_put_together() {
        for (text, want, remarks) in [
            ("Private=yes\n", "Network=private\n", 0),
            ("Private=no\n", "Network=host\n", 0),
            (
                "VirtualEthernet=yes\nPort=tcp:8080:80\n",
                "Port=tcp:8080:80\nNetwork=veth\n",
                1,
            ),
            ("VirtualEthernet=no\n", "", 0),
            (
                "VirtualEthernet=yes\nBridge=br0\n",
                "Network=bridge:br0\n",
                0,
            ),
            (
                "Zone=lan\nMACVLAN=eth0 eth1:lan\n",
                "Network=zone:lan\nLink=macvlan:eth0\nLink=macvlan:eth1,name=lan\n",
                0,
            ),
            (
                "IPVLAN=eth0\nInterface=eth1:wan\n",
                "Network=ipvlan:eth0\nLink=interface:eth1,name=wan\n",
                0,
            ),
            (
                "MACVLAN=eth0\nMACVLAN=\nVirtualEthernetExtra=ve-x:in\n",
                "Network=veth,name=in\n",
                1,
            ),
            (
                "NamespacePath=/run/netns/a\nPrivate=yes\n",
                "Network=netns:/run/netns/a\n",
                0,
            ),
            // Not both: nspawn refuses it too.
            (
                "NamespacePath=/run/netns/a\nBridge=br0\n",
                "Network=netns:/run/netns/a\n",
                1,
            ),
        ] {
            let (out, said) = imported(&format!("[Network]\n{text}"));
            assert_eq!(out, format!("[Container]\n{want}"), "{text}");
            assert_eq!(said.len(), remarks, "{text}: {said:?}");
        }
    }

    #[test]
    fn the_table_names_keys_that_exist() {
        for (section, name, fate) in SETTINGS {
            if let Fate::Same(of) = fate {
                assert!(keys::find(*of, name).is_some(), "[{section}] {name}");
            }
        }
    }
}
