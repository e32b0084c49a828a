//! Declarations as large as a file may be: nothing may take time that grows with the square of their lists.

use std::time::{Duration, Instant};

use skep::declaration::LoadState;
use skep::unit::render::render;

use super::{Root, is_valid, named, problems};

/// Far more than an unoptimised build needs on a busy machine, and far less than one quadratic list takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Just below the size of a file that is refused.
const SIZE: usize = 1000 << 10;

/// A section with as many lines as fit, made of these forms in turn; `#` is a number of the line.
fn filled(section: &str, forms: &[&str]) -> String {
    let mut text = format!("[Container]\nRoot=/srv/tree\n[{section}]\n");
    for (number, form) in forms.iter().cycle().enumerate() {
        if text.len() > SIZE {
            break;
        }
        text += &form.replace('#', &number.to_string());
        text.push('\n');
    }
    text
}

#[test]
fn large_lists_take_no_time() {
    for (section, forms, valid) in [
        ("Container", &["Bind=/s#:/t#"][..], true),
        ("Container", &["BindReadOnly=-/s#:/a/b/c/d/#"], true),
        (
            "Container",
            &[
                "Bind=/s#:/t#",
                "TemporaryFileSystem=/u#/v",
                "Overlay=/l#::/o#",
            ],
            true,
        ),
        ("Container", &["Mask=a# b# c#", "Unmask=d# e# f#"], true),
        ("Container", &["Mask=a#.service", "Unmask=a#"], true),
        ("Container", &["Device=/dev/d#"], true),
        ("Container", &["Device=/dev/d"], false),
        (
            "Container",
            &["Capability=CHOWN", "DropCapability=KILL"],
            true,
        ),
        (
            "Container",
            &["Environment=A#=1", "PassEnvironment=B#"],
            true,
        ),
        ("Unit", &["After=a#.service b#.service"], true),
        ("Service", &["DeviceAllow=/dev/d# rw"], true),
        ("Install", &["WantedBy=a#.target b#.target"], true),
    ] {
        let root = Root::new();
        root.put("/etc/skep/web.container", filled(section, forms));
        let begin = Instant::now();
        let all = root.load();
        let web = named(&all, "web");
        if let LoadState::Valid(wanted) = &web.state {
            assert!(!render(wanted, 257).properties.is_empty());
        }
        let took = begin.elapsed();
        assert!(took < LIMIT, "{forms:?} took {took:?}");
        assert_eq!(is_valid(web), valid, "{forms:?}: {:?}", web.state);
    }
}

#[test]
fn a_template_has_so_many_instances_and_no_more() {
    let text = |last: u32| {
        let mut text = "[Container]\nEphemeral=yes\nRoot=/srv/tree\n[Install]\n".to_owned();
        for number in 1..=last {
            // Each instance reads all lines.
            text += if number % 64 == 1 {
                "\nInstances="
            } else {
                " "
            };
            text += &format!("i{number}");
        }
        text.push('\n');
        text
    };
    let root = Root::new();
    root.put("/etc/skep/web@.container", text(1024) + "Instances=i7\n");
    let all = root.load();
    assert_eq!(all.iter().filter(|loaded| loaded.unit).count(), 1024);
    assert!(all.iter().filter(|loaded| loaded.unit).all(is_valid));
    root.put("/etc/skep/web@.container", text(1026));
    let all = root.load();
    assert_eq!(all.iter().filter(|loaded| loaded.unit).count(), 1024);
    let problem = &problems(named(&all, "web@i1024"))[0];
    assert_eq!(problem.line, Some(6 + 16));
    assert!(
        problem.to_string().contains(
            "Instances=: more than 1024 instances, from \"i1025\" on; use a second template"
        ),
        "{problem}"
    );
}
