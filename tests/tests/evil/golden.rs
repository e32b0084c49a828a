//! What an attacking root may do all the same, and why. Everything else must be blocked.

/// A probe that succeeds.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) probe: &'static str,
    /// Why it is no hole.
    pub(crate) why: &'static str,
}

const fn exception(probe: &'static str, why: &'static str) -> Exception {
    Exception { probe, why }
}

/// Probes there are at least: one that is lost must be missed.
pub(crate) const AT_LEAST: usize = 251;

/// With default settings.
pub(crate) const ALLOWED: &[Exception] = &[
    exception("cap-sys-admin", "over the container's own user namespace"),
    exception("cap-sys-ptrace", "over the container's own processes"),
    exception("cap-mknod", "the kernel makes no device node for it"),
    exception("user-namespace", "sandboxes of services in the guest"),
    exception("mount-namespace", "sandboxes of services in the guest"),
    exception("set-namespace", "only namespaces that it owns"),
    exception("trace-a-child", "debuggers; no process of the host is seen"),
    exception("reboot-of-nonsense", "reboots the container"),
    exception(
        "mount-cgroup-v1",
        "on hybrid hosts only: counters to read, nothing to change",
    ),
    exception("socket-packet", "on the container's own links"),
    exception("socket-inet", "on the container's own links"),
];

/// With the strict profile.
pub(crate) const ALLOWED_STRICT: &[Exception] = &[
    exception("reboot-of-nonsense", "reboots the container"),
    exception("socket-packet", "needs CAP_NET_RAW for anything"),
    exception("socket-inet", "on the container's own links"),
];
