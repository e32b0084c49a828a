//! Wrong declarations: each gives one problem on the right line, with a message that helps, and harms no other.

use super::{Root, is_valid, named, problems};

/// Text, line of the problem, part of its message.
const WRONG: &[(&[u8], u32, &str)] = &[
    // Syntax and encoding.
    (b"Root=/a\n", 1, "assignment before the first [Section]"),
    (b"[Container\nRoot=/a\n", 1, "invalid section header"),
    (b"[Container] # c\nRoot=/a\n", 1, "invalid section header"),
    (
        b"[Container]\nRoot\n",
        2,
        "neither [Section] nor Key=Value nor a comment",
    ),
    (b"[Container]\n\n= /a\n", 3, "no key before \"=\""),
    (b"[Container]\nRoot=/a\0b\n", 2, "NUL byte"),
    (
        b"[Container]\nRoot=/a\x1b[2Jb\n",
        2,
        "control character \\x1b",
    ),
    (
        b"[Container]\rRoot=/a\r",
        1,
        "carriage return inside the line",
    ),
    (
        b"[Container]\n# ok\nRoot=/\xff\n",
        3,
        "not UTF-8: byte \\xff",
    ),
    (b"[Container]\nHostname=\xc3\n", 2, "not UTF-8"),
    (
        b"[Container]\nRoot=/\xc2\x9b2J\n",
        2,
        "control character U+009B",
    ),
    (
        b"[Container]\nParameters=a \\ \n b\n",
        2,
        "blanks after \"\\\"",
    ),
    (
        b"[Container]\nBind=/a:/b:\\\n# between\n   nonsense\n",
        2,
        "unknown option \"nonsense\"",
    ),
    (
        b"\xef\xbb\xbf[Container]\r\nRoot=a\r\n",
        2,
        "the tree is not absolute: \"a\"",
    ),
    (b"\x7fELF\x02\x01\x01\0\0\0", 1, "NUL byte"),
    // What of the host appears in the container.
    (
        b"[Container]\nResolvConf=copy-host\n",
        2,
        "would write to the tree, which skep never does; use bind-host",
    ),
    (
        b"[Container]\nResolvConf=bind-hots\n",
        2,
        "did you mean bind-host?",
    ),
    (b"[Container]\nTimezone=delete\n", 2, "use off"),
    (
        b"[Container]\nTimezone=Europe/Berlin\n",
        2,
        "one of off, auto, symlink, bind",
    ),
    (
        b"[Container]\nLinkJournal=guest\n",
        2,
        "paths that the container controls",
    ),
    (b"[Container]\nLinkJournal=yes\n", 2, "one of no, host"),
    (
        b"[Container]\nLoadCredential=a:/b\n",
        2,
        "belongs in [Service]",
    ),
    (
        b"[Service]\nLoadCredential=a/b:/c\n",
        2,
        "not the name of a credential",
    ),
    (
        b"[Service]\nLoadCredential=a:../c\n",
        2,
        "neither an absolute path nor the name",
    ),
    (b"[Service]\nSetCredential=a\n", 2, "not ID:VALUE"),
    (b"[Service]\nSetCredential=a:\\q\n", 2, "unknown escape"),
    (b"[Service]\nSetCredentialEncrypted=a:b\n", 2, "not base64"),
    (
        b"[Service]\nImportCredential=a*b\n",
        2,
        "not the name of a credential",
    ),
    // Shares that a guest would empty, and contradictions.
    (
        b"[Container]\nBind=/srv/a:/var/run\n",
        2,
        "bind to a directory below it, /var/run/NAME",
    ),
    (b"[Container]\nBind=/tmp\n", 2, "below it, /tmp/NAME"),
    (
        b"[Container]\nBindReadOnly=/srv/a:/var/lock\n",
        2,
        "/var/lock/NAME",
    ),
    (
        b"[Container]\nBindReadOnly=-/srv/a:/a:create\n",
        2,
        "create contradicts \"-\"",
    ),
    (
        b"[Container]\nBindReadOnly=/srv/a:/a:rbind,nonsense\n",
        2,
        "unknown option \"nonsense\"; there are rbind",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/a:uid=0\n",
        2,
        "uid=: unknown option; there are size=",
    ),
    // Systems of a store.
    (
        b"[Container]\nSystem=gnu\n",
        2,
        "the system is not absolute: \"gnu\"",
    ),
    (
        b"[Container]\nSystem=/\n",
        2,
        "set Root=/ to boot this host's own OS",
    ),
    (
        b"[Container]\nSystem=/gnu/store/a-system\nInit=/init\n",
        3,
        "contradicts System= at ",
    ),
    (
        b"[Container]\nInit=/init\nSystem=/gnu/store/a-system\n",
        3,
        "contradicts Init= at ",
    ),
    (
        b"[Container]\nRoot=/\nSystem=/gnu/store/a-system\n",
        3,
        "Root=/ boots this host's own OS",
    ),
    (
        b"[Container]\nSystem=/gnu/store/a-system\nReadOnly=yes\n",
        3,
        "needs Root=: without it the root is empty at each start",
    ),
    (b"[Container]\nStore=yes\n", 2, "needs System="),
    (b"[Container]\nClosure=/list\n", 2, "needs System="),
    (
        b"[Container]\nSystem=/a/s\nStore=maybe\n",
        3,
        "neither yes nor the absolute path of a store",
    ),
    (
        b"[Container]\nSystem=/a/s\nStore=no\n",
        3,
        "set Closure= to show only a part of it",
    ),
    (
        b"[Container]\nStore=/\n",
        2,
        "the store is /, the whole host",
    ),
    (
        b"[Container]\nStore=/run/x\n",
        2,
        "no store is at or below /run",
    ),
    (
        b"[Container]\nSystem=/a/s\nClosure=list\n",
        3,
        "none of yes, guix, nix and the absolute path of a file",
    ),
    (
        b"[Container]\nSystem=/a/s\nClosure=yes\nStore=/a\n",
        4,
        "contradicts Closure= at ",
    ),
    (
        b"[Container]\nSystem=/nix/store/a-s\nClosure=guix\n",
        3,
        "does not know /nix/store/a-s; use nix",
    ),
    (
        b"[Container]\nSystem=/var/guix/profiles/system\nClosure=nix\n",
        3,
        "does not know /var/guix/profiles/system; use guix",
    ),
    // Sections and keys.
    (
        b"[Install]\nInstances=1 2\n",
        2,
        "only a template has instances; call the file bad@.container",
    ),
    (b"[Install]\nDefaultInstance=1\n", 2, "use Instances="),
    (b"[Contianer]\nRoot=/a\n", 1, "did you mean [Container]?"),
    (b"[container]\nRoot=/a\n", 1, "did you mean [Container]?"),
    (
        b"[Exec]\nBoot=yes\n",
        1,
        "settings of a container belong in [Container]",
    ),
    (
        b"[Frob]\nA=1\n",
        1,
        "there are [Unit], [Container], [Service] and [Install]",
    ),
    (
        b"[Container]\nBindReadonly=/a\n",
        2,
        "did you mean BindReadOnly=?",
    ),
    (b"[Container]\nroot=/a\n", 2, "did you mean Root=?"),
    (b"[Container]\nMemoryMax=1G\n", 2, "belongs in [Service]"),
    (b"[Container]\nAfter=a.service\n", 2, "belongs in [Unit]"),
    (
        b"[Service]\nWantedBy=machines.target\n",
        2,
        "belongs in [Install]",
    ),
    (
        b"[Container]\nImage=docker.io/debian\n",
        2,
        "not supported in this version",
    ),
    (
        b"[Container]\nVirtualEthernet=yes\n",
        2,
        "use Network=veth or",
    ),
    (
        b"[Container]\nAmbientCapability=CAP_NET_ADMIN\n",
        2,
        "not supported in this version",
    ),
    (b"[Container]\nVolume=/a:/b\n", 2, "use Bind="),
    (b"[Container]\nWibble=1\n", 2, "unknown key in [Container]"),
    (b"[Service]\nExecStart=/bin/true\n", 2, "set by skep"),
    (b"[Service]\nType=simple\n", 2, "set by skep"),
    (
        b"[Service]\nKillSignal=TERM\n",
        2,
        "KillSignal= of [Container]",
    ),
    (b"[Service]\nPrivateTmp=yes\n", 2, "private mount namespace"),
    (
        b"[Service]\nProtectSystem=strict\n",
        2,
        "private mount namespace",
    ),
    (
        b"[Service]\nNoNewPrivileges=yes\n",
        2,
        "would confine the launcher",
    ),
    (b"[Service]\nWatchdogSec=10\n", 2, "set by skep"),
    (b"[Service]\nMemoryLimit=1G\n", 2, "replaced by MemoryMax="),
    (b"[Unit]\nConditionPathExists=/a\n", 2, "systemctl edit"),
    (b"[Install]\nAlias=web.service\n", 2, "one name"),
    (b"[Install]\nAlso=db.service\n", 2, "own [Install]"),
    // Specifiers.
    (b"[Container]\nRoot=/srv/%q\n", 2, "unknown specifier %q"),
    (
        b"[Container]\nEnvironment=LOAD=100%\n",
        2,
        "write %% for a percent sign",
    ),
    // The tree.
    (
        b"[Container]\nRoot=srv/www\n",
        2,
        "the tree is not absolute: \"srv/www\"",
    ),
    (b"[Container]\nRoot=/srv/../etc\n", 2, "contains \"..\""),
    (
        b"[Container]\nRoot=/proc/1/root\n",
        2,
        "no OS tree can be below /proc",
    ),
    (
        b"[Container]\nEphemeral=perhaps\n",
        2,
        "not a boolean: \"perhaps\"",
    ),
    (
        b"[Container]\nReadOnly=yes\nHostname=a\nEphemeral=yes\n",
        4,
        "bad.container:2: a tree is either",
    ),
    (
        b"[Container]\nRoot=/\nEphemeral=no\n",
        3,
        "Root=/ is always copy-on-write",
    ),
    (b"[Container]\nRoot=/dev\n", 2, "name one of them"),
    (
        b"[Container]\nVolatile=sometimes\n",
        2,
        "not yes, no, state or overlay: \"sometimes\"",
    ),
    (
        b"[Container]\nVolatile=yes\nEphemeral=yes\n",
        3,
        "bad.container:2: a tree is either",
    ),
    (
        b"[Container]\nReadOnly=yes\nVolatile=overlay\n",
        3,
        "bad.container:2: a tree is either",
    ),
    (
        b"[Container]\nVolatile=overlay\nEphemeral=no\n",
        3,
        "contradicts ",
    ),
    (
        b"[Container]\nVolatile=state\nReadOnly=no\n",
        3,
        "contradicts ",
    ),
    (
        b"[Container]\nTemplate=golden\n",
        2,
        "the template is not absolute",
    ),
    (b"[Container]\nTemplate=/\n", 2, "use Root=/"),
    (
        b"[Container]\nTemplate=/proc/x\n",
        2,
        "no template can be below /proc",
    ),
    (
        b"[Container]\nRoot=/\nTemplate=/srv/t\n",
        3,
        "Root=/ is there already",
    ),
    (
        b"[Container]\nRoot=/dev/sda\nTemplate=/srv/t\n",
        3,
        "a block device is not made",
    ),
    (
        b"[Container]\nRoot=/srv/t/a\nTemplate=/srv/t\n",
        3,
        "lies in the template",
    ),
    // Overlays.
    (b"[Container]\nOverlay=/a\n", 2, "at least two paths"),
    (
        b"[Container]\nOverlay=/a:b:/c\n",
        2,
        "upper layer is not absolute",
    ),
    (
        b"[Container]\nOverlay=a::/c\n",
        2,
        "lower layer is not absolute",
    ),
    (b"[Container]\nOverlay=::/c\n", 2, "lower layer is empty"),
    (
        b"[Container]\nOverlay=/a:/a/b:/c\n",
        2,
        "layers /a and /a/b overlap",
    ),
    (
        b"[Container]\nOverlayReadOnly=/a:/a:/c\n",
        2,
        "layer /a twice",
    ),
    (b"[Container]\nOverlay=/proc::/c\n", 2, "kernel interface"),
    (b"[Container]\nOverlay=/a::/sys\n", 2, "made by skep"),
    (
        b"[Container]\nOverlay=+/a::/c\n",
        2,
        "relative to the tree (+) are not supported",
    ),
    (
        b"[Container]\nOverlay=/a::/x\nBind=/b:/x\n",
        3,
        "/x is mounted at ",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/x/y\nOverlay=/a::/x\n",
        2,
        "hidden by the overlay on /x",
    ),
    (
        b"[Container]\nOverlay=/a::/x/y\nBind=/b:/x\n",
        2,
        "hidden by the bind on /x",
    ),
    // Init and identity.
    (
        b"[Container]\nInit=sbin/init\n",
        2,
        "the init is not absolute",
    ),
    (b"[Container]\nInit=/sbin/\n", 2, "the init is a directory"),
    (b"[Container]\nParameters=\"a\n", 2, "\" is never closed"),
    (b"[Container]\nParameters=\\q\n", 2, "unknown escape \\q"),
    (b"[Container]\nParameters=\\x00\n", 2, "NUL is not allowed"),
    (b"[Container]\nHostname=-web\n", 2, "not a host name"),
    (b"[Container]\nHostname=a b\n", 2, "not a host name"),
    (b"[Container]\nMachineID=1234\n", 2, "32 hex digits"),
    (
        b"[Container]\nMachineID=00000000-0000-0000-0000-000000000000\n",
        2,
        "not all zero",
    ),
    (
        b"[Container]\nKillSignal=SIGFOO\n",
        2,
        "not a signal: \"SIGFOO\"",
    ),
    (b"[Container]\nKillSignal=65\n", 2, "between 1 and 64"),
    (b"[Container]\nNotifyReady=2\n", 2, "not a boolean"),
    (
        b"[Container]\nRebootSignal=SIGBAR\n",
        2,
        "not a signal: \"SIGBAR\"",
    ),
    (
        b"[Container]\nContainerManager=my lxc\n",
        2,
        "lower-case letters",
    ),
    (b"[Container]\nProcessTwo=perhaps\n", 2, "not a boolean"),
    (b"[Container]\nProcessTwo=yes\n", 2, "set Init="),
    (
        b"[Container]\nInit=/bin/x\nKillSignal=RTMIN+3\nProcessTwo=yes\n",
        3,
        "not passed on with ProcessTwo=yes; use SIGTERM",
    ),
    (
        b"[Container]\nInit=/bin/x\nProcessTwo=yes\nNotifyReady=yes\n",
        4,
        "only the first process is heard",
    ),
    (
        b"[Container]\nSystem=/gnu/store/x-system\nProcessTwo=yes\n",
        3,
        "contradicts System=",
    ),
    (
        b"[Container]\nEnvironment=container=lxc\n",
        2,
        "use ContainerManager=",
    ),
    (
        b"[Container]\nSystemCallFilter=keyctl bfp\n",
        2,
        "unknown system call \"bfp\"; did you mean bpf?",
    ),
    (
        b"[Container]\nSystemCallFilter=~@mounts\n",
        2,
        "unknown group \"@mounts\"",
    ),
    (
        b"[Container]\nSystemCallFilter=~\n",
        2,
        "no system call is named",
    ),
    (
        b"[Container]\nDevice=fuse\n",
        2,
        "the device is not absolute: \"fuse\"",
    ),
    (
        b"[Container]\nDevice=/dev/fuse:rx\n",
        2,
        "access is made of r, w and m",
    ),
    (
        b"[Container]\nDevice=/dev/fuse:/dev/pts/0\n",
        2,
        "/dev/pts is made by skep",
    ),
    (
        b"[Container]\nDevice=/dev/fuse\nDevice=/dev/kvm:/dev/fuse\n",
        3,
        "/dev/fuse is made at",
    ),
    (
        b"[Container]\nCapability=NET_ADMN\n",
        2,
        "did you mean CAP_NET_ADMIN?",
    ),
    (
        b"[Container]\nCapability=SYSLOG\nDropCapability=syslog\n",
        3,
        "SYSLOG is kept at",
    ),
    (b"[Container]\nNoNewPrivileges=maybe\n", 2, "not a boolean"),
    (
        b"[Container]\nProfile=tight\n",
        2,
        "\"tight\" is not default, strict or privileged",
    ),
    (b"[Container]\nNesting=maybe\n", 2, "not a boolean"),
    (
        b"[Container]\nProfile=strict\nNesting=yes\n",
        3,
        "use one of the two",
    ),
    (
        b"[Container]\nSystemCallArchitectures=native arm\n",
        2,
        "\"arm\" is not native or x86",
    ),
    (
        b"[Container]\nSystemCallArchitectures=x32\n",
        2,
        "x32 programs run in no container",
    ),
    (
        b"[Container]\nPersonality=x86\n",
        2,
        "use SystemCallArchitectures=native x86",
    ),
    // Adaptation.
    (b"[Container]\nAdapt=maybe\n", 2, "not a boolean"),
    (
        b"[Container]\nMask=/etc/init.d/cron\n",
        2,
        "a path, not the name of a service",
    ),
    (
        b"[Container]\nMask=cron \"a b\"\n",
        2,
        "not the name of a service or unit: \"a b\"",
    ),
    (
        b"[Container]\nUnmask=lvm2*\n",
        2,
        "patterns are not supported",
    ),
    (b"[Container]\nUnmask=.hidden\n", 2, "not the name of"),
    (
        b"[Container]\nMask=cron\nUnmask=cron.service\n",
        3,
        "either masked or not",
    ),
    // Environment.
    (
        b"[Container]\nEnvironment=LANG\n",
        2,
        "not NAME=VALUE: \"LANG\"",
    ),
    (
        b"[Container]\nEnvironment=1A=x\n",
        2,
        "not a variable name: \"1A\"",
    ),
    (
        b"[Container]\nEnvironment=A=1 container=lxc\n",
        2,
        "container is set by skep",
    ),
    (
        b"[Container]\nEnvironment=container_uuid=1\n",
        2,
        "use MachineID=",
    ),
    (
        b"[Container]\nEnvironment=NOTIFY_SOCKET=/x\n",
        2,
        "NOTIFY_SOCKET is set by skep",
    ),
    (b"[Container]\nPassEnvironment=A=1\n", 2, "names only"),
    // Mounts.
    (
        b"[Container]\nBind=srv/www\n",
        2,
        "source is not absolute: \"srv/www\"",
    ),
    (
        b"[Container]\nBind=/srv:www\n",
        2,
        "target is not absolute: \"www\"",
    ),
    (
        b"[Container]\nBind=/srv/../x\n",
        2,
        "source contains \"..\"",
    ),
    (b"[Container]\nBind=/:/host\n", 2, "the whole host"),
    (
        b"[Container]\nBind=/sys/fs/cgroup:/c\n",
        2,
        "the host's kernel interface",
    ),
    (b"[Container]\nBind=/run/skep:/c\n", 2, "skep's own state"),
    (b"[Container]\nBind=/srv:/\n", 2, "use Root="),
    (
        b"[Container]\nBind=/srv:/proc/x\n",
        2,
        "/proc is made by skep",
    ),
    (
        b"[Container]\nBind=/srv:/run/host/x\n",
        2,
        "/run/host is made by skep",
    ),
    (b"[Container]\nBind=/srv:/tmp\n", 2, "fresh tmpfs"),
    (
        b"[Container]\nBind=/dev/fuse\n",
        2,
        "devices cannot be bound yet",
    ),
    (b"[Container]\nBind=/srv:/srv:ro\n", 2, "use BindReadOnly="),
    (
        b"[Container]\nBind=/srv:/srv:bindr\n",
        2,
        "there are rbind, norbind",
    ),
    (
        b"[Container]\nBind=/srv:/srv:rbind,norbind\n",
        2,
        "norbind contradicts",
    ),
    (
        b"[Container]\nBind=/a:/b:rbind:c\n",
        2,
        "write \\: for a colon",
    ),
    (b"[Container]\nBind=\nBind=-\n", 3, "source is empty"),
    (
        b"[Container]\nBind=/a:/x\nBind=/c:/y\nBindReadOnly=/b:/x\n",
        4,
        "/x is mounted at ",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/x\nBind=/a:/x\n",
        3,
        "bad.container:2 already",
    ),
    (
        b"[Container]\nBind=/srv\nTemporaryFileSystem=/srv/tmp\n",
        3,
        "hidden by the bind on /srv",
    ),
    (
        b"[Container]\nTemporaryFileSystem=var\n",
        2,
        "path is not absolute",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/var:size=lots\n",
        2,
        "size=: not a size",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/var:mode=999\n",
        2,
        "mode=: not an octal mode",
    ),
    (
        b"[Container]\nTemporaryFileSystem=/var:uid=5\n",
        2,
        "unknown option",
    ),
    // Users and network.
    (
        b"[Container]\nPrivateUsers=pcik\n",
        2,
        "not pick, identity, no or a first host id",
    ),
    (
        b"[Container]\nPrivateUsers=100000\n",
        2,
        "not a multiple of 65536",
    ),
    (
        b"[Container]\nPrivateUsers=4294901760\n",
        2,
        "between 65536 and 4294836224",
    ),
    (
        b"[Container]\nPrivateUsers=524288:65536\n",
        2,
        "write just 524288",
    ),
    (
        b"[Container]\nBind=/a:/b:idmap\nPrivateUsers=no\n",
        2,
        "idmap needs private users",
    ),
    (
        b"[Container]\nNetwork=vteh\n",
        2,
        "not a kind of network: \"vteh\"; did you mean veth?",
    ),
    (b"[Container]\nNetwork=bridge\n", 2, "write bridge:NAME"),
    (
        b"[Container]\nNetwork=nat,colour=red\n",
        2,
        "unknown option",
    ),
    (
        b"[Container]\nNetwork=host,name=eth0\n",
        2,
        "host is no link and takes no options",
    ),
    (b"[Container]\nNetwork=netns:run/x\n", 2, "not absolute"),
    (
        b"[Container]\nNetwork=container:bad\n",
        2,
        "a container cannot join itself",
    ),
    (
        b"[Container]\nNetwork=nat\nAddress=192.0.2.2\n",
        2,
        "192.0.2.2 is not in the network of the bridge, 10.213.0.0/17",
    ),
    (
        b"[Container]\nAddress=192.0.2.2\n",
        2,
        "has no link that this could be about",
    ),
    (
        b"[Container]\nNetwork=veth\nAddress=192.0.2.2/33\n",
        3,
        "prefix length",
    ),
    (
        b"[Container]\nNetwork=bridge:br0\nHostAddress=192.0.2.2\n",
        2,
        "only a veth and a zone",
    ),
    (
        b"[Container]\nNetwork=veth\nGateway=192.0.2.1 192.0.2.2\n",
        2,
        "more than one gateway",
    ),
    (
        b"[Container]\nNetwork=veth\nAddress=192.0.2.2/24\n",
        2,
        "an IPv4 address inside and none on the host; set HostAddress= too",
    ),
    (
        b"[Container]\nNetwork=veth\nAddress=192.0.2.2/24 192.0.2.2\nHostAddress=192.0.2.1/24\n",
        2,
        "the address 192.0.2.2 is given twice",
    ),
    (
        b"[Container]\nNetwork=veth\nAddress=192.0.2.2/24\nHostAddress=192.0.2.2/24\n",
        2,
        "192.0.2.2 is the address of both ends",
    ),
    (
        b"[Container]\nNetwork=bridge:br0\nAddress=192.0.2.2/24\nGateway=192.0.2.2\n",
        2,
        "192.0.2.2 is the container itself and not its gateway",
    ),
    (
        b"[Container]\nNetwork=bridge:br0\nAddress=192.0.2.0/24\n",
        2,
        "192.0.2.0/24 is the address of a whole network",
    ),
    (
        b"[Container]\nNetwork=nat\nMTUBytes=1000\n",
        2,
        "IPv6 needs an MTU of 1280 or more",
    ),
    (
        b"[Container]\nNetwork=bridge:a,gateway=192.0.2.1\nLink=bridge:b,gateway=192.0.2.2\n",
        3,
        "another link has the default gateway 192.0.2.1",
    ),
    (
        b"[Container]\nNetwork=veth\nMACAddress=01:00:5e:00:00:01\n",
        3,
        "not the address of one link",
    ),
    (
        b"[Container]\nNetwork=veth\nMTUBytes=20\n",
        3,
        "between 68 and 65535",
    ),
    (
        b"[Container]\nNetwork=veth\nInterfaceName=a/b\n",
        3,
        "not the name of a link",
    ),
    (
        b"[Container]\nNetwork=nat\nLink=veth,name=host0\n",
        3,
        "another link is called host0",
    ),
    (
        b"[Container]\nNetwork=host\nLink=veth\n",
        3,
        "has the links that it has",
    ),
    (
        b"[Container]\nNetwork=nat\nAddressPool=10.0.0.1/16\n",
        3,
        "write 10.0.0.0/16",
    ),
    (
        b"[Container]\nNetwork=nat\nDNS=dns.example.org\n",
        3,
        "not an address",
    ),
    (
        b"[Container]\nNetwork=nat\nPort=80-70\n",
        3,
        "ends before it begins",
    ),
    (
        b"[Container]\nNetwork=nat\nPort=8080:80\nPort=8000-8100:1000\n",
        4,
        "is given away at",
    ),
    (
        b"[Container]\nPort=80\n",
        2,
        "no link leads from the host to the container",
    ),
    (
        b"[Container]\nNetwork=veth\nAddress=10.1.0.2/30\nHostAddress=10.1.0.1/30\nPort=[::1]:8080:80\n",
        5,
        "::1 leads to no IPv6 address of the container",
    ),
    (
        b"[Container]\nNetwork=nat\nPort=[fe80::1]:81\n",
        3,
        "is an address of one link only",
    ),
    (
        b"[Container]\nNetwork=macvlan:eth0,mode=passthru\nMACAddress=02:00:00:00:00:77\n",
        2,
        "a macvlan of mode passthru has the hardware address of the host's link",
    ),
    // The unit.
    (
        b"[Unit]\nAfter=db\n",
        2,
        "write db.service, db.target or, for a container, db.container",
    ),
    (
        b"[Unit]\nAfter=bad.container\n",
        2,
        "cannot depend on itself",
    ),
    (b"[Unit]\nDocumentation=example.org\n", 2, "not a URI"),
    (b"[Unit]\nRequiresMountsFor=srv\n", 2, "not absolute"),
    (
        b"[Unit]\nStartLimitAction=rebot\n",
        2,
        "did you mean reboot?",
    ),
    (
        b"[Unit]\nJobRunningTimeoutSec=5 parsecs\n",
        2,
        "not a time span",
    ),
    (
        b"[Install]\nWantedBy=machines\n",
        2,
        "write machines.service, machines.target",
    ),
    (
        b"[Install]\nWantedBy=machines.targte\n",
        2,
        "did you mean machines.target?",
    ),
    // Resources.
    (b"[Service]\nMemoryMax=2GB\n", 2, "write 2G"),
    (b"[Service]\nMemoryMax=150%\n", 2, "more than 100%"),
    (b"[Service]\nStartupMemoryMax=95%\n", 2, "no percentage"),
    (b"[Service]\nMemoryMax=0\n", 2, "below the least possible"),
    (b"[Service]\nCPUWeight=0\n", 2, "between 1 and 10000"),
    (b"[Service]\nCPUQuota=2\n", 2, "not a percentage"),
    (b"[Service]\nTasksMax=-1\n", 2, "a number above 0"),
    (b"[Unit]\nJobTimeoutSec=5\n", 2, "use JobRunningTimeoutSec="),
    (b"[Service]\nTasksMax=50%\n", 2, "when it reloads"),
    (b"[Service]\nCPUQuota=12.5%\n", 2, "not a whole percentage"),
    (
        b"[Service]\nExecStartPre=/bin/echo $HOME\n",
        2,
        "put it into a script",
    ),
    (
        b"[Service]\nLogExtraFields=\"A=b c\"\n",
        2,
        "does not keep over a reload",
    ),
    (
        b"[Unit]\nRequiresMountsFor=\"/srv/a b\"\n",
        2,
        "does not keep over a reload",
    ),
    (
        b"[Unit]\nDocumentation=https://example.org/%%20\n",
        2,
        "does not keep over a reload",
    ),
    (b"[Service]\nAllowedCPUs=3-1\n", 2, "runs backwards"),
    (b"[Service]\nDeviceAllow=/dev/fuse rx\n", 2, "r, w and m"),
    (b"[Service]\nDeviceAllow=fuse\n", 2, "not absolute"),
    (
        b"[Service]\nIOReadBandwidthMax=/dev/sda\n",
        2,
        "a path and a value",
    ),
    (
        b"[Service]\nIPAddressAllow=10.0.0.0/33\n",
        2,
        "between 0 and 32",
    ),
    (
        b"[Service]\nIPAddressDeny=example.org\n",
        2,
        "not a network",
    ),
    (b"[Service]\nRestart=alwys\n", 2, "did you mean always?"),
    (b"[Service]\nTimeoutStartSec=-5\n", 2, "not a time span"),
    (
        b"[Service]\nExecStartPre=true\n",
        2,
        "the command is not absolute",
    ),
    (
        b"[Service]\nExecStartPre=+/bin/true\n",
        2,
        "the prefix + is not supported",
    ),
    (b"[Service]\nSlice=machine\n", 2, "write machine.service"),
    (
        b"[Service]\nSlice=web.service\n",
        2,
        "its name ends in .slice",
    ),
    (b"[Service]\nLimitNOFILE=10:5\n", 2, "soft limit is above"),
    (
        b"[Service]\nSuccessExitStatus=256\n",
        2,
        "between 0 and 255",
    ),
    (b"[Service]\nNice=20\n", 2, "between -20 and 19"),
    (b"[Service]\nLogLevelMax=loud\n", 2, "one of emerg"),
    (
        b"[Service]\nMemoryKSM=yes\n",
        2,
        "not supported in this version",
    ),
];

#[test]
fn one_problem_each() {
    assert!(WRONG.len() >= 80, "{} cases", WRONG.len());
    for (text, line, message) in WRONG {
        let root = Root::new();
        root.put("/etc/skep/bad.container", text);
        root.put("/etc/skep/good.container", "[Container]\nRoot=/srv/tree\n");
        let all = root.load();
        let shown = String::from_utf8_lossy(text);
        assert!(is_valid(named(&all, "good")), "{shown}");
        let bad = named(&all, "bad");
        assert!(bad.unit, "{shown}");
        match problems(bad) {
            [problem] => {
                assert_eq!(problem.line, Some(*line), "{shown}{problem}");
                assert!(problem.to_string().contains(message), "{shown}{problem}");
            }
            other => panic!("{shown}{other:#?}"),
        }
    }
}

#[test]
fn wrong_dropins_name_their_own_line() {
    for (text, line, message) in WRONG
        .iter()
        .filter(|(_, _, message)| !message.contains("bad.container:"))
    {
        let root = Root::new();
        root.put("/etc/skep/bad.container", "[Container]\n");
        root.put("/run/skep/bad.container.d/50-x.conf", text);
        let all = root.load();
        let problem = problems(named(&all, "bad"))
            .first()
            .unwrap_or_else(|| panic!("{text:?}"));
        assert!(
            problem.path.ends_with("run/skep/bad.container.d/50-x.conf"),
            "{problem}"
        );
        assert_eq!(problem.line, Some(*line), "{problem}");
        assert!(problem.to_string().contains(message), "{problem}");
    }
}

#[test]
fn all_problems_in_file_order() {
    let root = Root::new();
    root.put(
        "/etc/skep/bad.container",
        "[Container]\nNetwork=vteh\nBnid=/a\njunk\n[Service]\nNice=99\n[Frob]\n[Install]\nWantedBy=machines.target x\n",
    );
    root.put("/etc/skep/bad.container.d/20.conf", "[Container]\nRoot=b\n");
    root.put(
        "/usr/lib/skep/bad.container.d/10.conf",
        "[Service]\nNice=98\n[Container]\nRoot=a\n",
    );
    let all = root.load();
    let places: Vec<_> = problems(named(&all, "bad"))
        .iter()
        .map(|problem| {
            format!(
                "{}:{}",
                problem.path.file_name().unwrap().to_str().unwrap(),
                problem.line.unwrap()
            )
        })
        .collect();
    let main = [2, 3, 4, 6, 7, 9].map(|line| format!("bad.container:{line}"));
    let dropins = ["10.conf:2", "10.conf:4", "20.conf:2"].map(str::to_owned);
    assert_eq!(places, [main.as_slice(), dropins.as_slice()].concat());
}

#[test]
fn junk_is_counted_not_listed() {
    let long_line = [
        b"[Container]\nParameters=".as_slice(),
        &vec![b'x'; 1_000_000],
        b"\nHostname=-\n",
    ]
    .concat();
    let long_continued = [
        b"[Container]\nParameters=a".as_slice(),
        &b" \\\n x".repeat(30_000),
        b"\nHostname=-\n",
    ]
    .concat();
    let many_keys = [
        b"[Container]\n".as_slice(),
        &b"Frobnicate=1\n".repeat(60_000),
    ]
    .concat();
    let many_lines = b"junk\n".repeat(200_000);
    let cases: [(&str, Vec<u8>, usize, &str); 5] = [
        ("long line", long_line, 2, "line is longer than 64 KiB"),
        (
            "long continued line",
            long_continued,
            2,
            "line is longer than 64 KiB",
        ),
        ("unknown keys", many_keys, 101, "unknown key in [Container]"),
        ("no keys", many_lines, 101, "neither [Section]"),
        (
            "binary",
            (0..=255u8).cycle().take(1_000_000).collect(),
            101,
            "NUL byte",
        ),
    ];
    for (what, text, count, message) in cases {
        let root = Root::new();
        root.put("/etc/skep/bad.container", text);
        root.put("/etc/skep/good.container", "[Container]\n");
        let start = std::time::Instant::now();
        let all = root.load();
        assert!(
            start.elapsed().as_secs() < 5,
            "{what}: {:?}",
            start.elapsed()
        );
        assert!(is_valid(named(&all, "good")), "{what}");
        let found = problems(named(&all, "bad"));
        assert_eq!(
            found.len(),
            count,
            "{what}: {:#?}",
            &found[..found.len().min(5)]
        );
        assert!(
            found[0].to_string().contains(message),
            "{what}: {}",
            found[0]
        );
        assert!(
            count == 2 || found[100].message.starts_with("and "),
            "{what}: {}",
            found[100]
        );
    }
}
