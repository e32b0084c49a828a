//! `ResolvConf=`, `Timezone=` and `LinkJournal=`: what of the host appears in the container.
//!
//! The names and values are those of systemd.nspawn(5), as far as they leave the tree alone: skep shows files of the host by
//! mounts of its own and never writes to a tree.

use skep_spec::{LinkJournal, ResolvConf, Timezone};

use super::Reader;
use crate::declaration::value::choice;
use crate::problem::quoted;
use crate::property::{Property, Value};

/// What the keys say.
pub(super) struct Read {
    pub(super) resolv_conf: ResolvConf,
    pub(super) timezone: Timezone,
    pub(super) link_journal: LinkJournal,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let resolv_conf = reader.scalar("ResolvConf", resolv_conf);
    let timezone = reader.scalar("Timezone", timezone);
    let link_journal = reader.scalar("LinkJournal", link_journal);
    Read {
        resolv_conf: resolv_conf.map_or(ResolvConf::Auto, |at| at.value),
        timezone: timezone.map_or(Timezone::Off, |at| at.value),
        link_journal: link_journal.map_or(LinkJournal::No, |at| at.value),
    }
}

fn resolv_conf(text: &str) -> Result<ResolvConf, String> {
    const WORDS: [&str; 6] = [
        "auto",
        "off",
        "bind-host",
        "bind-static",
        "bind-uplink",
        "bind-stub",
    ];
    writes_to_tree(text, &WORDS)?;
    Ok(match choice(text, &WORDS)? {
        "auto" => ResolvConf::Auto,
        "bind-host" => ResolvConf::Host,
        "bind-static" => ResolvConf::Static,
        "bind-uplink" => ResolvConf::Uplink,
        "bind-stub" => ResolvConf::Stub,
        _ => ResolvConf::Off,
    })
}

/// `copy-...`, `replace-...` and `delete` of systemd-nspawn.
fn writes_to_tree(text: &str, words: &[&str]) -> Result<(), String> {
    let (verb, what) = text.split_once('-').unwrap_or((text, ""));
    if !matches!(verb, "copy" | "replace" | "delete") || words.contains(&text) {
        return Ok(());
    }
    let instead = match (verb, what) {
        ("delete", _) => "off".to_owned(),
        (_, "") => "bind".to_owned(),
        (_, what) => format!("bind-{what}"),
    };
    let known = words.contains(&instead.as_str());
    let instead = if known { &instead } else { "off" };
    Err(format!(
        "{} would write to the tree, which skep never does; use {instead}",
        quoted(text)
    ))
}

fn timezone(text: &str) -> Result<Timezone, String> {
    const WORDS: [&str; 4] = ["off", "auto", "symlink", "bind"];
    writes_to_tree(text, &WORDS)?;
    Ok(match choice(text, &WORDS)? {
        "auto" => Timezone::Auto,
        "symlink" => Timezone::Symlink,
        "bind" => Timezone::Bind,
        _ => Timezone::Off,
    })
}

fn link_journal(text: &str) -> Result<LinkJournal, String> {
    if matches!(text, "guest" | "try-guest") {
        return Err(format!(
            "{} would let the host follow paths that the container controls; use host, or \"journalctl -M\"",
            quoted(text)
        ));
    }
    Ok(match choice(text, &["no", "host", "try-host", "auto"])? {
        "host" => LinkJournal::Host,
        "try-host" => LinkJournal::TryHost,
        "auto" => LinkJournal::Auto,
        _ => LinkJournal::No,
    })
}

/// The names of the credentials that the unit is given, each once.
pub(super) fn credentials(properties: &[Property]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for property in properties {
        let found: Vec<&String> = match (property.name, &property.value) {
            ("LoadCredential" | "LoadCredentialEncrypted", Value::Pairs(pairs)) => {
                pairs.iter().map(|(name, _)| name).collect()
            }
            ("SetCredential" | "SetCredentialEncrypted", Value::Blobs(blobs)) => {
                blobs.iter().map(|(name, _)| name).collect()
            }
            ("ImportCredential", Value::List(globs)) => globs.iter().collect(),
            _ => continue,
        };
        for name in found {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// What the unit's lines are called in the journal, when it is not the container's name.
pub(super) fn identifier(properties: &[Property]) -> Option<String> {
    let found = properties
        .iter()
        .rev()
        .find(|property| property.name == "SyslogIdentifier")?;
    match &found.value {
        Value::Str(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_would_write_to_the_tree_is_refused_with_what_does_not() {
        for (text, want) in [
            ("copy-host", "use bind-host"),
            ("replace-stub", "use bind-stub"),
            ("delete", "use off"),
            ("bind", "bind-host"),
        ] {
            let message = resolv_conf(text).unwrap_err();
            assert!(message.contains(want), "{message}");
        }
        assert!(timezone("copy").unwrap_err().contains("use bind"));
        assert!(timezone("delete").unwrap_err().contains("use off"));
        assert!(link_journal("try-guest").unwrap_err().contains("use host"));
        assert_eq!(resolv_conf("bind-uplink"), Ok(ResolvConf::Uplink));
        assert_eq!(timezone("symlink"), Ok(Timezone::Symlink));
        assert_eq!(link_journal("try-host"), Ok(LinkJournal::TryHost));
    }
}
