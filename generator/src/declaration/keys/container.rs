//! `[Container]`.

use super::{KeyRow, Meaning, Section};

pub(super) static ROWS: &[KeyRow] = &[
    row(
        "Root",
        ONE_TEXT,
        "OS tree or disk image, default /var/lib/machines/NAME; / is this host's OS",
    ),
    row(
        "Ephemeral",
        ONE,
        "yes: changes of the tree end with the container",
    ),
    row("ReadOnly", ONE, "yes: the tree is mounted read-only"),
    row(
        "Init",
        ONE_TEXT,
        "absolute path of the init inside the container; detected by default",
    ),
    row("Parameters", LIST, "arguments of the init"),
    row(
        "Hostname",
        ONE_TEXT,
        "host name of the container, default its own name",
    ),
    row(
        "MachineID",
        ONE_TEXT,
        "machine id handed to the container: 32 hex digits or a UUID",
    ),
    row("Environment", LIST, "NAME=VALUE words for the init"),
    row(
        "PassEnvironment",
        LIST,
        "names of variables taken from the unit's environment",
    ),
    row(
        "Bind",
        LIST,
        "[-]SOURCE[:TARGET[:OPTION,...]]: host path mounted in the container",
    ),
    row("BindReadOnly", LIST, "as Bind=, read-only"),
    row(
        "TemporaryFileSystem",
        LIST,
        "PATH[:OPTION,...]: tmpfs mounted in the container",
    ),
    row(
        "PrivateUsers",
        ONE,
        "pick (default), a first host id (multiple of 65536), identity or no",
    ),
    row(
        "Network",
        ONE_TEXT,
        "private (default), host, nat, veth, bridge:NAME, zone:NAME, macvlan:LINK and more",
    ),
    row(
        "Link",
        LIST,
        "KIND[:NAME][,OPTION=VALUE]...: one more link, of the kinds of Network=",
    ),
    row(
        "InterfaceName",
        ONE_TEXT,
        "name of the link inside, default host0",
    ),
    row("MACAddress", ONE, "hardware address of the link inside"),
    row("MTUBytes", ONE, "longest packet of the link"),
    row(
        "Address",
        LIST,
        "ADDRESS[/PREFIX]...: addresses of the link inside",
    ),
    row(
        "HostAddress",
        LIST,
        "ADDRESS[/PREFIX]...: addresses of a veth's end on the host",
    ),
    row("Gateway", LIST, "default gateways of the link"),
    row("DNS", LIST, "name servers of the container"),
    row(
        "AddressPool",
        LIST,
        "networks that addresses come from, default 10.213.0.0/16 and one of IPv6",
    ),
    row(
        "Port",
        LIST,
        "[tcp:|udp:][ADDRESS:]HOST[:CONTAINER]: ports of the host that lead inside",
    ),
    row(
        "KillSignal",
        ONE,
        "signal that asks the init to shut down; by init when unset",
    ),
    row(
        "NotifyReady",
        ONE,
        "yes: started when the init says so; no: when it runs; by init when unset",
    ),
    row(
        "RebootSignal",
        ONE,
        "signal that asks the init to reboot; by init when unset",
    ),
    row(
        "ContainerManager",
        ONE_TEXT,
        "word that the init sees as \"container\"; by init when unset",
    ),
    row(
        "ProcessTwo",
        ONE,
        "yes: the program of Init= runs under a small init of skep's",
    ),
    row(
        "Device",
        LIST,
        "[-]NODE[:TARGET][:rwm]: device node of the host that the container gets",
    ),
    row(
        "Capability",
        LIST,
        "capabilities kept beside the default ones",
    ),
    row("DropCapability", LIST, "capabilities dropped"),
    row(
        "NoNewPrivileges",
        ONE,
        "yes: no process gains privileges by executing a program",
    ),
    row(
        "SystemCallFilter",
        LIST,
        "[~]NAME...: system calls allowed (~: refused) beside the default; @GROUP too",
    ),
    row(
        "SystemCallArchitectures",
        LIST,
        "native (default), x86: architectures whose programs run",
    ),
    row(
        "Profile",
        ONE,
        "default; strict: no mounts, namespaces, debugging inside; privileged: dangerous",
    ),
    row(
        "Nesting",
        ONE,
        "yes: the container may run containers itself",
    ),
    row(
        "Template",
        ONE_TEXT,
        "tree or image that Root= is copied from when it does not exist",
    ),
    row(
        "Volatile",
        ONE,
        "yes: only /usr is the tree's; state: tree read-only, /var fresh; overlay",
    ),
    row(
        "Overlay",
        LIST,
        "LOWER[:LOWER...]:UPPER:TARGET: directories over each other; empty UPPER: memory",
    ),
    row(
        "OverlayReadOnly",
        LIST,
        "LOWER:LOWER[:LOWER...]:TARGET: as Overlay=, read-only",
    ),
    row(
        "Adapt",
        ONE,
        "yes (default): services made for a machine of its own do not run; no: all do",
    ),
    row(
        "Mask",
        LIST,
        "services or units that do not run, either way",
    ),
    row(
        "Unmask",
        LIST,
        "services or units that run, though they do not fit",
    ),
    row(
        "System",
        ONE_TEXT,
        "system of a Guix or Nix store, a link to one, or the script of \"guix system container\"",
    ),
    row(
        "Store",
        ONE_TEXT,
        "yes (default with System=): the system's whole store; or a store directory",
    ),
    row(
        "Closure",
        ONE_TEXT,
        "what is seen of the store: a file of store paths, or yes, guix or nix to ask its tool",
    ),
    row(
        "ResolvConf",
        ONE,
        "auto (default), off, or one of the host's: bind-host, -static, -uplink, -stub",
    ),
    row(
        "Timezone",
        ONE,
        "off (default): the tree's; auto, symlink or bind: the host's",
    ),
    row(
        "LinkJournal",
        ONE,
        "no (default); host, try-host or auto: the journal is below the host's",
    ),
];

const ONE: Meaning = Meaning::Container {
    list: false,
    expand: false,
};
const ONE_TEXT: Meaning = Meaning::Container {
    list: false,
    expand: true,
};
const LIST: Meaning = Meaning::Container {
    list: true,
    expand: true,
};

const fn row(name: &'static str, meaning: Meaning, help: &'static str) -> KeyRow {
    KeyRow {
        section: Section::Container,
        name,
        help,
        since: None,
        meaning,
    }
}
