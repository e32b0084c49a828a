use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;

/// Where the locks of trees are, below each place.
const LOCKS: &str = "locks";

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path =
            std::env::temp_dir().join(format!("skep-template-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&place.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lck") && name != LOCKS)
        .collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_made_once_and_whole() {
    let place = Place::new("once");
    let (template, root) = (place.0.join("template"), place.0.join("tree"));
    fs::create_dir_all(template.join("etc")).unwrap();
    fs::write(template.join("etc/file"), "one").unwrap();
    symlink("file", template.join("etc/link")).unwrap();
    fs::hard_link(template.join("etc/file"), template.join("etc/hard")).unwrap();
    fs::set_permissions(template.join("etc"), fs::Permissions::from_mode(0o1750)).unwrap();
    // Left over by an interrupted copy, and deeper than files may be open.
    let part = place.0.join(".#tree.skep-part");
    fs::create_dir_all(part.join("a/".repeat(100))).unwrap();
    fs::write(part.join("old"), "").unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let signals = Signals::block().unwrap();
    assert_eq!(
        make(&root, &template, &signals, &place.0.join(LOCKS)),
        Ok(Made::There)
    );
    assert_eq!(names(&place), ["template", "tree"]);
    let meta = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!(meta("etc").mode() & 0o7777, 0o1750);
    assert!(meta("etc/link").is_symlink());
    assert_eq!(meta("etc/hard").ino(), meta("etc/file").ino());
    assert!(!root.join("old").exists());
    fs::write(template.join("etc/file"), "two").unwrap();
    assert_eq!(
        make(&root, &template, &signals, &place.0.join(LOCKS)),
        Ok(Made::There)
    );
    assert_eq!(fs::read_to_string(root.join("etc/file")).unwrap(), "one");
}

#[test]
fn what_cannot_be_copied_is_named() {
    let place = Place::new("wrong");
    let signals = Signals::block().unwrap();
    let make = |root: &str, template: &str| {
        super::make(
            &place.0.join(root),
            &place.0.join(template),
            &signals,
            &place.0.join(LOCKS),
        )
        .unwrap_err()
        .to_string()
    };
    assert!(make("tree", "none").contains("open template"));
    fs::create_dir(place.0.join("full")).unwrap();
    symlink("nothing", place.0.join("dangling")).unwrap();
    assert!(make("dangling", "full").contains("leads to nothing"));
    assert!(make("full/below", "full").contains("must not lie below"));
}

#[test]
fn a_template_that_is_written_is_not_copied() {
    let place = Place::new("locked");
    let (template, root) = (place.0.join("template"), place.0.join("tree"));
    let locks = place.0.join(LOCKS);
    fs::create_dir(&template).unwrap();
    let signals = Signals::block().unwrap();
    let key = Site::find(Some(&template)).unwrap().key;
    let hold = |kind| take_locks(&[Lock::of_tree(&locks, &key, kind, "tree".into())]).unwrap();
    let writer = hold(LockKind::Exclusive);
    let err = make(&root, &template, &signals, &locks).unwrap_err();
    let told = err.to_string();
    assert!(told.contains("/template is in use"), "{told}");
    assert_eq!(names(&place), ["template"]);
    drop(writer);
    let _reader = hold(LockKind::Shared);
    assert_eq!(make(&root, &template, &signals, &locks), Ok(Made::There));
}
