//! Keys that people know from units, nspawn and Quadlet and that a declaration refuses, each with the reason.

use super::Section;

/// Why `name` is refused in `section`; `None` when it is merely unknown.
pub(super) fn reason(section: Section, name: &str) -> Option<String> {
    match section {
        Section::Container => container(name),
        Section::Service => service(name),
        Section::Unit => unit(name),
        Section::Install => install(name),
    }
}

/// A key of nspawn or Quadlet, and what to write instead.
fn container(name: &str) -> Option<String> {
    let instead = match name {
        "Volume" | "Mount" => "Bind= or BindReadOnly=",
        "Tmpfs" => "TemporaryFileSystem=",
        "ContainerName" => "the name of the file",
        "HostName" => "Hostname=",
        "Exec" | "Entrypoint" => "Init= and Parameters=",
        "StopSignal" => "KillSignal=",
        "StopTimeout" => "TimeoutStopSec= of [Service]",
        "Rootfs" | "Directory" | "RootDirectory" | "RootImage" => "Root=",
        "UserNS"
        | "PrivateUsersChown"
        | "PrivateUsersOwnership"
        | "UIDMap"
        | "GIDMap"
        | "SubUIDMap"
        | "SubGIDMap" => "PrivateUsers=; the tree is mapped, never changed",
        "Private" => "Network=private, the default",
        "Bridge" => "Network=bridge:NAME",
        "Zone" => "Network=zone:NAME",
        "VirtualEthernet" => "Network=veth or Network=nat",
        "VirtualEthernetExtra" => "Link=veth,name=NAME",
        "MACVLAN" => "Network=macvlan:INTERFACE",
        "IPVLAN" => "Network=ipvlan:INTERFACE",
        "Interface" => "Network=interface:NAME",
        "NamespacePath" => "Network=netns:PATH",
        "PublishPort" => "Port=",
        "IP" | "IP6" => "Address=",
        "ReadOnlyTmpfs" => "Volatile=, Ephemeral= or ReadOnly=",
        "Notify" => "NotifyReady=",
        "Memory" | "ShmSize" => "MemoryMax= of [Service]",
        "PidsLimit" => "TasksMax= of [Service]",
        "Personality" => "SystemCallArchitectures=native x86",
        "Privileged" => "Profile=privileged",
        "Ulimit" => "the Limit...= keys of [Service]",
        _ => return container_later(name),
    };
    Some(format!("not a key of skep; use {instead}"))
}

fn container_later(name: &str) -> Option<String> {
    const LATER: &[&str] = &[
        "AddCapability",
        "AddDevice",
        "AmbientCapability",
        "Annotation",
        "AppArmor",
        "AutoUpdate",
        "BindUser",
        "BindUserShell",
        "Boot",
        "CPUAffinity",
        "Console",
        "DNSSearch",
        "EnvironmentFile",
        "ForwardJournal",
        "GlobalArgs",
        "Group",
        "HealthCmd",
        "Image",
        "Inaccessible",
        "Label",
        "LogDriver",
        "PivotRoot",
        "PodmanArgs",
        "PublishPort",
        "Pull",
        "RestrictAddressFamilies",
        "SeccompProfile",
        "Secret",
        "SuppressSync",
        "Sysctl",
        "User",
        "WorkingDirectory",
    ];
    let why = match name {
        "Boot" => " and not needed: skep always boots",
        _ => "",
    };
    LATER
        .contains(&name)
        .then(|| format!("not supported in this version{why}"))
}

fn service(name: &str) -> Option<String> {
    const OWNED: &[&str] = &[
        "BusName",
        "CoredumpReceive",
        "Delegate",
        "DelegateSubgroup",
        "DisableControllers",
        "ExecReload",
        "ExecStart",
        "ExecStop",
        "ExitType",
        "FileDescriptorStoreMax",
        "FileDescriptorStorePreserve",
        "FinalKillSignal",
        "GuessMainPID",
        "KeyringMode",
        "KillMode",
        "NonBlocking",
        "NotifyAccess",
        "OpenFile",
        "PIDFile",
        "ReloadSignal",
        "RemainAfterExit",
        "RestartKillSignal",
        "RootDirectoryStartOnly",
        "RuntimeDirectory",
        "RuntimeDirectoryMode",
        "RuntimeDirectoryPreserve",
        "SendSIGHUP",
        "SendSIGKILL",
        "Sockets",
        "StandardError",
        "StandardInput",
        "StandardOutput",
        "SyslogFacility",
        "SyslogLevel",
        "SyslogLevelPrefix",
        "Type",
        "UMask",
        "USBFunctionDescriptors",
        "USBFunctionStrings",
        "WatchdogSec",
        "WatchdogSignal",
    ];
    const NAMESPACE: &[&str] = &[
        "BindPaths",
        "BindReadOnlyPaths",
        "CacheDirectory",
        "ConfigurationDirectory",
        "DynamicUser",
        "ExecPaths",
        "ExtensionDirectories",
        "ExtensionImages",
        "IPCNamespacePath",
        "InaccessiblePaths",
        "LogNamespace",
        "LogsDirectory",
        "MountAPIVFS",
        "MountFlags",
        "MountImages",
        "NetworkNamespacePath",
        "NoExecPaths",
        "ProcSubset",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "RootDirectory",
        "RootEphemeral",
        "RootHash",
        "RootImage",
        "RootVerity",
        "StateDirectory",
        "TemporaryFileSystem",
    ];
    const LAUNCHER: &[&str] = &[
        "AmbientCapabilities",
        "AppArmorProfile",
        "CapabilityBoundingSet",
        "Group",
        "IgnoreSIGPIPE",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "NoNewPrivileges",
        "PAMName",
        "Personality",
        "RemoveIPC",
        "SELinuxContext",
        "SecureBits",
        "SmackProcessLabel",
        "SupplementaryGroups",
        "SystemCallArchitectures",
        "SystemCallErrorNumber",
        "SystemCallFilter",
        "SystemCallLog",
        "TTYPath",
        "User",
        "UtmpIdentifier",
        "WorkingDirectory",
    ];
    const LATER: &[&str] = &[
        "CPUSchedulingPolicy",
        "CPUSchedulingPriority",
        "CPUSchedulingResetOnFork",
        "CoredumpFilter",
        "EnvironmentFile",
        "IPEgressFilterPath",
        "IPIngressFilterPath",
        "LogFilterPatterns",
        "ManagedOOMMemoryPressureDurationSec",
        "MemoryKSM",
        "MemoryPressureThresholdSec",
        "MemoryPressureWatch",
        "NFTSet",
        "NUMAMask",
        "NUMAPolicy",
        "SocketBindAllow",
        "SocketBindDeny",
        "SurviveFinalKillSignal",
        "TimeoutStartFailureMode",
        "TimeoutStopFailureMode",
        "TimerSlackNSec",
        "UnsetEnvironment",
    ];
    let text = match name {
        "KillSignal" => "skep stops the launcher; the signal for the container's init is KillSignal= of [Container]".into(),
        "Environment" => "would reach the launcher, not the container; use Environment= of [Container]".into(),
        "PassEnvironment" => "would reach the launcher, not the container; use PassEnvironment= of [Container]".into(),
        "MemoryLimit" => "replaced by MemoryMax=".into(),
        "CPUShares" | "StartupCPUShares" => "replaced by CPUWeight=".into(),
        "BlockIOWeight" | "StartupBlockIOWeight" | "BlockIODeviceWeight" => "replaced by IOWeight=".into(),
        "BlockIOReadBandwidth" => "replaced by IOReadBandwidthMax=".into(),
        "BlockIOWriteBandwidth" => "replaced by IOWriteBandwidthMax=".into(),
        "BlockIOAccounting" => "replaced by IOAccounting=".into(),
        "StartLimitInterval" => "replaced by StartLimitIntervalSec= of [Unit]".into(),
        "PrivateUsers" => "would confine the launcher; use PrivateUsers= of [Container]".into(),
        "PrivateNetwork" => "would confine the launcher; use Network= of [Container]".into(),
        _ if OWNED.contains(&name) => "set by skep: the launcher depends on its value".into(),
        _ if NAMESPACE.contains(&name) || name.starts_with("Protect") || name.starts_with("Private") => {
            "would give the launcher a private mount namespace; the container is confined without it".into()
        }
        _ if LAUNCHER.contains(&name) || name.starts_with("Restrict") => {
            "would confine the launcher, which needs its rights; the container is confined by skep".into()
        }
        _ if LATER.contains(&name) => "not supported in this version".into(),
        _ => return None,
    };
    Some(text)
}

fn unit(name: &str) -> Option<String> {
    if name.starts_with("Condition") || name.starts_with("Assert") {
        return Some("conditions are not supported in this version; add them with \"systemctl edit skep@NAME\"".into());
    }
    let text = match name {
        "SourcePath" => "Documentation= of the unit names the declaration",
        "CollectMode" | "DefaultDependencies" | "AllowIsolate" | "SurviveFinalKillSignal" => {
            "set by skep"
        }
        "JoinsNamespaceOf" => "would share the launcher's namespaces; a container has its own",
        "WantedBy" | "RequiredBy" | "UpheldBy" => "belongs in [Install]",
        "StartLimitInterval" => "replaced by StartLimitIntervalSec=",
        // The manager has the property and refuses it: its setter forgets to say that it succeeded (252 to 262).
        "JobTimeoutSec" => {
            "cannot be set by skep; use JobRunningTimeoutSec= or TimeoutStartSec= of [Service], or \"systemctl edit skep@NAME\""
        }
        "FailureActionExitStatus" | "SuccessActionExitStatus" | "JobTimeoutRebootArgument" => {
            "not supported in this version"
        }
        _ => return None,
    };
    Some(text.into())
}

fn install(name: &str) -> Option<String> {
    let text = match name {
        "Alias" => {
            "a container's unit has one name, skep@NAME.service; link the declaration for a second container"
        }
        "Also" => "each declaration has its own [Install]",
        "DefaultInstance" => {
            "not a key of skep; use Instances=, which names every instance that there is"
        }
        _ => return None,
    };
    Some(text.into())
}
