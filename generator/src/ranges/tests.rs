#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use super::*;

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn only(assigned: &BTreeMap<String, Result<u32, Exhausted>>, name: &str) -> u32 {
    assigned[name].unwrap()
}

#[test]
fn a_name_keeps_its_range() {
    let mut leases = Leases::default();
    let first = assign(
        &names(&["web", "db"]),
        &mut leases,
        &Taken::default(),
        &mut |_| false,
    );
    let again = assign(
        &names(&["db", "mail", "web"]),
        &mut leases,
        &Taken::default(),
        &mut |_| true,
    );
    assert_eq!(only(&first, "web"), only(&again, "web"));
    assert_eq!(only(&first, "db"), only(&again, "db"));
    assert!(
        again["mail"].is_err(),
        "every new range was said to be known"
    );
    assert!(is_base(only(&first, "web")));
}

#[test]
fn ranges_of_many_names_are_disjoint() {
    let many: BTreeSet<String> = (0..5000).map(|n| format!("c{n}")).collect();
    let assigned = assign(
        &many,
        &mut Leases::default(),
        &Taken::default(),
        &mut |_| false,
    );
    let bases: BTreeSet<u32> = assigned.values().map(|base| base.unwrap()).collect();
    assert_eq!(bases.len(), many.len());
}

#[test]
fn ranges_in_use_are_passed_over() {
    let free = only(
        &assign(
            &names(&["web"]),
            &mut Leases::default(),
            &Taken::default(),
            &mut |_| false,
        ),
        "web",
    );
    type Occupy = Box<dyn Fn(&mut Taken)>;
    let in_use: Vec<(&str, Occupy)> = vec![
        ("declared", Box::new(move |taken| taken.add_declared(free))),
        (
            "subuid",
            Box::new(move |taken| taken.add_subordinate(&format!("alice:{}:10", free + 100))),
        ),
        (
            "subuid before",
            Box::new(move |taken| taken.add_subordinate(&format!("alice:{}:65536", free - 1))),
        ),
        (
            "passwd",
            Box::new(move |taken| {
                taken.add_accounts(&format!("bob:x:{}:7::/:/bin/sh", free + 65535))
            }),
        ),
    ];
    for (what, take) in in_use {
        let mut taken = Taken::default();
        take(&mut taken);
        let got = only(
            &assign(
                &names(&["web"]),
                &mut Leases::default(),
                &taken,
                &mut |_| false,
            ),
            "web",
        );
        assert_ne!(got, free, "{what}");
    }
    let got = only(
        &assign(
            &names(&["web"]),
            &mut Leases::default(),
            &Taken::default(),
            &mut |id| id == free,
        ),
        "web",
    );
    assert_ne!(got, free, "name service");
}

#[test]
fn junk_of_the_host_takes_nothing() {
    let mut taken = Taken::default();
    taken.add_subordinate("\n:::\nalice\nalice:x:y\nalice:1\n");
    taken.add_accounts("root\n::\nroot:x:-1\n");
    assert!(!taken.overlaps(FIRST));
}

#[test]
fn a_lease_yields_to_a_range_declared_by_number() {
    let mut leases = Leases::default();
    let before = only(
        &assign(
            &names(&["web"]),
            &mut leases,
            &Taken::default(),
            &mut |_| false,
        ),
        "web",
    );
    let mut taken = Taken::default();
    taken.add_declared(before);
    let after = only(
        &assign(&names(&["web"]), &mut leases, &taken, &mut |_| false),
        "web",
    );
    assert_ne!(before, after);
}

#[test]
fn exhaustion_frees_old_leases_and_then_hurts_one_container_only() {
    let mut leases = Leases::default();
    // All but two ranges are in use by somebody else.
    let mut taken = Taken::default();
    taken.add_subordinate(&format!(
        "all:{}:{}",
        FIRST,
        u64::from(LAST - FIRST) - u64::from(ID_RANGE)
    ));
    let assigned = assign(&names(&["old1", "old2"]), &mut leases, &taken, &mut |_| {
        false
    });
    assert!(assigned.values().all(Result::is_ok));
    let assigned = assign(&names(&["a", "b", "c"]), &mut leases, &taken, &mut |_| {
        false
    });
    let failed = assigned.values().filter(|base| base.is_err()).count();
    assert_eq!(failed, 1, "{assigned:?}");
}

#[test]
fn broken_lines_are_dropped() {
    let text = "# comment\nweb 524288\n\ndb 524289\nmail 524288\nbad/name 655360\nweb 720896\nlow 65536\nx\nok 655360\n";
    let (leases, dropped) = Leases::parse(text);
    assert_eq!(leases.base_of("web"), Some(524_288));
    assert_eq!(leases.base_of("ok"), Some(655_360));
    assert_eq!(dropped, 6);
}

#[test]
fn the_file_survives_a_round_trip() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lib/skep/ids");
    let (mut leases, _) = Leases::load(&path).unwrap();
    leases.save(&path).unwrap();
    assert!(!path.exists(), "nothing changed, nothing written");
    assign(
        &names(&["web", "db"]),
        &mut leases,
        &Taken::default(),
        &mut |_| false,
    );
    leases.save(&path).unwrap();
    let (read, dropped) = Leases::load(&path).unwrap();
    assert_eq!(dropped, 0);
    assert_eq!(read.base_of("web"), leases.base_of("web"));
    assert!(fs::read_to_string(&path).unwrap().starts_with('#'));
}

#[test]
fn the_name_service_is_asked_where_it_may_know_more() {
    let debian = "passwd:         files systemd\ngroup:          files systemd\nhosts: files dns\n";
    let sssd = "passwd: files sss\ngroup: files\n";
    let action = "passwd: files [ NOTFOUND=return ] # sss\ngroup: files [SUCCESS=merge] systemd\n";
    for (switch, provider, want) in [
        (debian, None, false),
        (debian, Some("io.systemd.DynamicUser"), false),
        (debian, Some("io.systemd.Machine"), true),
        (debian, Some("alice.user"), true),
        (sssd, None, true),
        (action, None, false),
        (action, Some("org.example.Directory"), true),
        ("passwd: compat\n", None, true),
        ("", Some("io.systemd.Machine"), false),
    ] {
        let providers: Vec<String> = provider.into_iter().map(str::to_owned).collect();
        assert_eq!(
            taken::may_know_more(switch, &providers),
            want,
            "{switch:?} {provider:?}"
        );
    }
}
