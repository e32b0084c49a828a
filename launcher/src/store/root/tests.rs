use std::os::unix::fs::{MetadataExt, chown};

use nix::unistd::geteuid;

use super::*;

/// A user and a group of the collector's own.
const COLLECTOR: (u32, u32) = (65_534, 65_533);

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn only_a_directory_made_here_changes_its_owner() {
    assert!(geteuid().is_root(), "only root can give a directory away");
    let place = std::env::temp_dir().join(format!("skep-roots-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    let (roots, victim) = (place.join("gcroots"), place.join("victim"));
    fs::create_dir_all(&roots).unwrap();
    fs::create_dir(&victim).unwrap();
    chown(&roots, Some(COLLECTOR.0), Some(COLLECTOR.1)).unwrap();
    let auto = roots.join("auto");
    let add = || add_indirect(&roots, "web", Path::new("/run/system"));

    add().unwrap();
    assert_eq!(owner(&auto), COLLECTOR);
    let link = fs::read_link(auto.join("skep-web")).unwrap();
    assert_eq!(link, Path::new("/run/system"));
    chown(&auto, Some(0), Some(0)).unwrap();
    add().unwrap();
    assert_eq!(owner(&auto), (0, 0), "one that was there stays as it is");

    // The collector's user is faster: a link, or a directory of another user's, is in its place.
    let parent = openat(AT_FDCWD, &roots, DIRECTORY, Mode::empty()).unwrap();
    fs::remove_dir_all(&auto).unwrap();
    symlink(&victim, &auto).unwrap();
    assert!(open_auto(&parent, true).is_err());
    fs::remove_file(&auto).unwrap();
    fs::create_dir(&auto).unwrap();
    chown(&auto, Some(1000), Some(1000)).unwrap();
    open_auto(&parent, true).unwrap();
    assert_eq!((owner(&victim), owner(&auto)), ((0, 0), (1000, 1000)));
    fs::remove_dir_all(&place).unwrap();
}
