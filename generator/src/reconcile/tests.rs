#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::sample;
use crate::unit::render;

/// What a case's container has in `[Service]`.
type Properties = Vec<Property>;

fn memory(bytes: u64) -> Properties {
    vec![Property::new("MemoryMax", Value::U64(bytes))]
}

fn restart() -> Properties {
    vec![Property::new("Restart", "on-failure".into())]
}

fn draft(properties: Properties) -> UnitDraft {
    render(&sample::wanted("web", properties), 252)
}

/// A world with one container, made as `made` by generation 3 and declared as `declared`.
fn world(
    made: Option<Properties>,
    declared: Option<Properties>,
    activity: Option<Activity>,
) -> World {
    let mut world = World::default();
    if let Some(properties) = made {
        world.record.generation = 3;
        world
            .record
            .units
            .insert("web".into(), Fingerprint::of(&draft(properties)));
        world.keepers = vec![3];
    }
    if let Some(properties) = declared {
        let draft = draft(properties);
        world.declared.insert(
            "web".into(),
            Declared {
                draft,
                refused: false,
            },
        );
    }
    if let Some(activity) = activity {
        world.loaded.insert("web".into(), Existing { activity });
    }
    world
}

fn printed(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| action.to_string())
        .collect()
}

#[test]
fn each_situation_has_its_action() {
    use Activity::{Failed, Inactive, Running};
    let none = Vec::new;
    // made as, declared as, activity, action, new generation, held afterwards
    type Case = (
        Option<Properties>,
        Option<Properties>,
        Option<Activity>,
        &'static str,
        bool,
        bool,
    );
    let cases: Vec<Case> = vec![
        (None, Some(none()), None, "create web", true, true),
        (
            Some(none()),
            Some(none()),
            Some(Inactive),
            "keep web",
            false,
            true,
        ),
        (
            Some(none()),
            Some(none()),
            Some(Running),
            "keep web",
            false,
            true,
        ),
        (
            Some(none()),
            Some(none()),
            Some(Failed),
            "keep web",
            false,
            true,
        ),
        (
            Some(none()),
            Some(memory(1)),
            Some(Inactive),
            "set web MemoryMax=1",
            false,
            true,
        ),
        (
            Some(none()),
            Some(memory(1)),
            Some(Running),
            "set web MemoryMax=1",
            false,
            true,
        ),
        (
            Some(memory(1)),
            Some(none()),
            Some(Running),
            "set web MemoryMax=infinity",
            false,
            true,
        ),
        (
            Some(none()),
            Some(restart()),
            Some(Inactive),
            "recreate web",
            true,
            true,
        ),
        (
            Some(none()),
            Some(restart()),
            Some(Failed),
            "recreate web",
            true,
            true,
        ),
        (
            Some(none()),
            Some(restart()),
            Some(Running),
            "pending web Restart: it runs; \"skep restart web\" takes the change",
            false,
            true,
        ),
        (
            Some(none()),
            None,
            Some(Inactive),
            "release web",
            true,
            false,
        ),
        (Some(none()), None, Some(Failed), "release web", true, false),
        (
            Some(none()),
            None,
            Some(Running),
            "leave web: no longer declared, but it runs; it goes when it stops",
            true,
            false,
        ),
        // The record was lost.
        (
            None,
            Some(none()),
            Some(Inactive),
            "recreate web",
            true,
            true,
        ),
        (
            None,
            Some(none()),
            Some(Running),
            "pending web: it runs; \"skep restart web\" takes the change",
            true,
            true,
        ),
        // It vanished although it was held: somebody stopped the keeper.
        (Some(none()), Some(none()), None, "create web", true, true),
    ];
    for (made, declared, activity, action, generation, pinned) in cases {
        let world = world(made, declared, activity);
        let plan = reconcile(&world);
        assert_eq!(printed(&plan), [action]);
        assert_eq!(plan.needs_generation(), generation, "{action}");
        assert_eq!(plan.pins.contains("web"), pinned, "{action}");
    }
}

#[test]
fn a_running_unit_takes_what_it_can() {
    let both = [memory(1), restart()].concat();
    let plan = reconcile(&world(
        Some(Vec::new()),
        Some(both),
        Some(Activity::Running),
    ));
    let Step::Pending { set, frozen } = &plan.actions[0].step else {
        panic!("{:?}", plan.actions);
    };
    assert_eq!(*set, memory(1));
    assert_eq!(*frozen, ["Restart"]);
}

#[test]
fn one_setting_said_two_ways_is_undone_before_it_is_set() {
    let half = vec![Property::new("MemoryMaxScale", Value::U32(u32::MAX / 2))];
    let found = difference(&Fingerprint::of(&draft(memory(1))), &draft(half.clone()));
    assert_eq!(
        found.set[0],
        Property::new("MemoryMax", Value::U64(u64::MAX))
    );
    assert_eq!(found.set[1..], half);
}

#[test]
fn prune_stops_what_is_no_longer_declared() {
    let mut world = world(Some(Vec::new()), None, Some(Activity::Running));
    world.prune = true;
    assert_eq!(printed(&reconcile(&world)), ["stop web"]);
}

#[test]
fn unit_files_and_masks_are_respected() {
    let file = PathBuf::from("/etc/systemd/system/skep@web.service");
    let masked = Obstacle::Masked(file.clone());
    let foreign = Obstacle::UnitFile(file);
    for (obstacle, made, activity, want) in [
        (
            &masked,
            false,
            None,
            "masked web: /etc/systemd/system/skep@web.service is a link to /dev/null",
        ),
        (&masked, true, Some(Activity::Inactive), "release web"),
        (
            &foreign,
            false,
            None,
            "blocked web: /etc/systemd/system/skep@web.service is in the way",
        ),
        (
            &foreign,
            false,
            Some(Activity::Running),
            "blocked web: /etc/systemd/system/skep@web.service is in the way",
        ),
        (&foreign, true, Some(Activity::Inactive), "release web"),
    ] {
        let mut world = world(made.then(Vec::new), Some(Vec::new()), activity);
        world.obstacles.insert("web".into(), obstacle.clone());
        assert_eq!(printed(&reconcile(&world)), [want]);
    }
}

#[test]
fn a_foreign_unit_that_nobody_declares_is_not_touched() {
    let mut world = world(None, None, Some(Activity::Inactive));
    world.obstacles.insert(
        "web".into(),
        Obstacle::UnitFile(PathBuf::from("/etc/systemd/system/skep@web.service")),
    );
    let plan = reconcile(&world);
    assert_eq!(plan.actions[0].step, Step::Foreign);
    assert!(!plan.needs_generation());
}

#[test]
fn only_selected_containers_change_and_the_others_stay_held() {
    let mut world = world(Some(Vec::new()), None, Some(Activity::Inactive));
    world.declared.insert(
        "db".into(),
        Declared {
            draft: render(&sample::wanted("db", Vec::new()), 252),
            refused: false,
        },
    );
    world.declared.insert(
        "mail".into(),
        Declared {
            draft: render(&sample::wanted("mail", Vec::new()), 252),
            refused: false,
        },
    );
    world.selected = Some(BTreeSet::from(["db".to_owned()]));
    let plan = reconcile(&world);
    assert_eq!(printed(&plan), ["create db"]);
    assert_eq!(
        plan.pins,
        BTreeSet::from(["db".to_owned(), "web".to_owned()])
    );
}

#[test]
fn leftover_keepers_are_replaced() {
    for (keepers, due) in [
        (vec![3], false),
        (vec![], true),
        (vec![2], true),
        (vec![3, 4], true),
    ] {
        let mut world = world(Some(Vec::new()), Some(Vec::new()), Some(Activity::Inactive));
        world.keepers = keepers.clone();
        assert_eq!(reconcile(&world).needs_generation(), due, "{keepers:?}");
    }
}

#[test]
fn nothing_declared_needs_no_keeper() {
    assert_eq!(reconcile(&World::default()), Plan::default());
}

#[test]
fn what_refers_to_a_unit_made_anew_is_made_anew_too() {
    let wants = |name: &str| {
        vec![Property::new(
            "Wants",
            Value::List(vec![format!("skep@{name}.service")]),
        )]
    };
    let draft = |name: &str, properties| render(&sample::wanted(name, properties), 252);
    for (activity, selected, want) in [
        (
            Activity::Inactive,
            false,
            &["recreate db", "recreate mail", "recreate web"] as &[&str],
        ),
        (
            Activity::Inactive,
            true,
            &["recreate db", "recreate mail", "recreate web"],
        ),
        // What it holds stays as it is.
        (
            Activity::Running,
            false,
            &["keep mail", "keep web", "recreate db"],
        ),
    ] {
        let mut world = World {
            keepers: vec![3],
            ..World::default()
        };
        world.record.generation = 3;
        // mail refers to web, and that to db.
        for (name, made, declared) in [
            ("db", Vec::new(), restart()),
            ("mail", wants("web"), wants("web")),
            ("web", wants("db"), wants("db")),
        ] {
            let made = Fingerprint::of(&draft(name, made));
            world.record.units.insert(name.into(), made);
            let draft = draft(name, declared);
            world.declared.insert(
                name.into(),
                Declared {
                    draft,
                    refused: false,
                },
            );
            let activity = if name == "web" {
                activity
            } else {
                Activity::Inactive
            };
            world.loaded.insert(name.into(), Existing { activity });
        }
        world.selected = selected.then(|| BTreeSet::from(["db".to_owned()]));
        let plan = reconcile(&world);
        let mut said = printed(&plan);
        said.sort();
        assert_eq!(said, want);
        assert_eq!(plan.pins.len(), 3);
    }
}

#[test]
fn without_a_record_the_others_stay_held() {
    let mut world = world(None, Some(Vec::new()), Some(Activity::Inactive));
    let web = world.declared["web"].clone();
    for name in ["db", "gone"] {
        let activity = Activity::Inactive;
        world.loaded.insert(name.into(), Existing { activity });
    }
    world.declared.insert("db".into(), web);
    world.keepers = vec![1];
    world.selected = Some(BTreeSet::from(["db".to_owned()]));
    let plan = reconcile(&world);
    assert_eq!(printed(&plan), ["recreate db"]);
    assert_eq!(
        plan.pins,
        BTreeSet::from(["db".to_owned(), "web".to_owned()])
    );
}
