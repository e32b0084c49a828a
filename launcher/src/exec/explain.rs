//! What the kernel or the host lacks, said in words: the error of a system call and the cure.

use nix::errno::Errno;
use nix::libc;

use crate::step::StepError;

/// A failed clone(2) or unshare(2) with these `CLONE_NEW*` flags.
pub(super) fn explain_clone(err: StepError, flags: libc::c_int) -> StepError {
    let limits = [
        (libc::CLONE_NEWUSER, "user"),
        (libc::CLONE_NEWNS, "mnt"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "net"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
    ];
    let wanted = || limits.iter().filter(|(flag, _)| flags & flag != 0);
    if err.is(Errno::ENOSPC) {
        let names: Vec<String> = wanted()
            .map(|(_, name)| format!("user.max_{name}_namespaces"))
            .collect();
        return err.cure(format!("raise the limits in sysctl: {}", names.join(", ")));
    }
    if err.is(Errno::EINVAL) {
        let names: Vec<&str> = wanted().map(|(_, name)| *name).collect();
        let names = names.join(", ");
        return err.cure(format!(
            "this kernel lacks one of these kinds of namespaces: {names}"
        ));
    }
    if err.is(Errno::EPERM) {
        return err.cure("it takes the privileges of root, and a host that allows namespaces");
    }
    explain_call(err)
}

/// A failed mount of a new file system of type `kind`.
pub(super) fn explain_filesystem(err: StepError, kind: &str) -> StepError {
    if err.is(Errno::ENODEV) {
        return err.cure(format!(
            "this kernel lacks the file system {kind}: try \"modprobe {kind}\""
        ));
    }
    explain_call(err)
}

fn explain_call(err: StepError) -> StepError {
    if err.is(Errno::ENOSYS) {
        return err.cure("Linux 6.1 or newer is needed, and no filter that hides its calls");
    }
    err
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::At;

    fn error(errno: Errno) -> StepError {
        Err::<(), _>(errno).at("clone", "container").unwrap_err()
    }

    #[test]
    fn what_is_missing_is_named() {
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID;
        for (errno, want) in [
            (
                Errno::ENOSPC,
                "user.max_user_namespaces, user.max_pid_namespaces",
            ),
            (Errno::EINVAL, "user, pid"),
            (Errno::EPERM, "root"),
            (Errno::ENOSYS, "Linux 6.1"),
        ] {
            let text = explain_clone(error(errno), flags).to_string();
            assert!(text.contains(want), "{text}");
        }
        let text = explain_filesystem(error(Errno::ENODEV), "overlay").to_string();
        assert!(text.ends_with("try \"modprobe overlay\""), "{text}");
        assert_eq!(
            explain_filesystem(error(Errno::EIO), "proc"),
            error(Errno::EIO)
        );
    }
}
