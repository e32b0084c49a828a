//! `[Service]`: resource control, restart, time limits, logging and resource limits.

use super::{KeyRow, LimitUnit, Meaning, Section, Syntax, newer, property};

const SERVICE: Section = Section::Service;

const LEVELS: &[(&str, i32)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

pub(super) static ROWS: &[KeyRow] = &[
    row(
        "Slice",
        Syntax::Slice("Slice"),
        "slice of the unit, default machine.slice",
    ),
    row(
        "CPUAccounting",
        Syntax::Bool("CPUAccounting"),
        "count CPU time",
    ),
    row(
        "CPUWeight",
        Syntax::Weight("CPUWeight", true),
        "share of CPU time: 1-10000 or idle",
    ),
    row(
        "StartupCPUWeight",
        Syntax::Weight("StartupCPUWeight", true),
        "CPUWeight= during boot and shutdown",
    ),
    row(
        "CPUQuota",
        Syntax::Quota("CPUQuotaPerSecUSec"),
        "CPU time limit, in percent of one CPU",
    ),
    row(
        "CPUQuotaPeriodSec",
        Syntax::Time("CPUQuotaPeriodUSec"),
        "span over which CPUQuota= is measured",
    ),
    row(
        "AllowedCPUs",
        Syntax::Cpus("AllowedCPUs"),
        "CPUs the container may use, as 0-3,8",
    ),
    row(
        "StartupAllowedCPUs",
        Syntax::Cpus("StartupAllowedCPUs"),
        "AllowedCPUs= during boot and shutdown",
    ),
    row(
        "AllowedMemoryNodes",
        Syntax::Cpus("AllowedMemoryNodes"),
        "memory nodes the container may use",
    ),
    row(
        "StartupAllowedMemoryNodes",
        Syntax::Cpus("StartupAllowedMemoryNodes"),
        "AllowedMemoryNodes= during boot and shutdown",
    ),
    row(
        "MemoryAccounting",
        Syntax::Bool("MemoryAccounting"),
        "count memory",
    ),
    row(
        "MemoryMin",
        Syntax::Memory("MemoryMin", "MemoryMinScale", 0),
        "memory never reclaimed",
    ),
    row(
        "MemoryLow",
        Syntax::Memory("MemoryLow", "MemoryLowScale", 0),
        "memory reclaimed last",
    ),
    row(
        "MemoryHigh",
        Syntax::Memory("MemoryHigh", "MemoryHighScale", 1),
        "memory above which the container is slowed down",
    ),
    row(
        "MemoryMax",
        Syntax::Memory("MemoryMax", "MemoryMaxScale", 1),
        "memory limit: bytes with K, M, G, T, or a percentage",
    ),
    row(
        "MemorySwapMax",
        Syntax::Memory("MemorySwapMax", "MemorySwapMaxScale", 0),
        "swap limit",
    ),
    newer(
        SERVICE,
        253,
        "MemoryZSwapMax",
        Syntax::Memory("MemoryZSwapMax", "MemoryZSwapMaxScale", 0),
        "compressed swap limit",
    ),
    newer(
        SERVICE,
        256,
        "MemoryZSwapWriteback",
        Syntax::Bool("MemoryZSwapWriteback"),
        "no: compressed swap is never written to disk",
    ),
    newer(
        SERVICE,
        254,
        "StartupMemoryLow",
        Syntax::Bytes("StartupMemoryLow", 0),
        "MemoryLow= during boot and shutdown",
    ),
    newer(
        SERVICE,
        254,
        "StartupMemoryHigh",
        Syntax::Bytes("StartupMemoryHigh", 1),
        "MemoryHigh= during boot and shutdown",
    ),
    newer(
        SERVICE,
        254,
        "StartupMemoryMax",
        Syntax::Bytes("StartupMemoryMax", 1),
        "MemoryMax= during boot and shutdown",
    ),
    newer(
        SERVICE,
        254,
        "StartupMemorySwapMax",
        Syntax::Bytes("StartupMemorySwapMax", 0),
        "MemorySwapMax= during boot and shutdown",
    ),
    newer(
        SERVICE,
        254,
        "StartupMemoryZSwapMax",
        Syntax::Bytes("StartupMemoryZSwapMax", 0),
        "MemoryZSwapMax= during boot and shutdown",
    ),
    row(
        "TasksAccounting",
        Syntax::Bool("TasksAccounting"),
        "count tasks",
    ),
    row(
        "TasksMax",
        Syntax::Tasks("TasksMax"),
        "limit of processes and threads",
    ),
    row(
        "IOAccounting",
        Syntax::Bool("IOAccounting"),
        "count block I/O",
    ),
    row(
        "IOWeight",
        Syntax::Weight("IOWeight", false),
        "share of I/O: 1-10000",
    ),
    row(
        "StartupIOWeight",
        Syntax::Weight("StartupIOWeight", false),
        "IOWeight= during boot and shutdown",
    ),
    row(
        "IODeviceWeight",
        Syntax::DeviceWeight("IODeviceWeight"),
        "DEVICE WEIGHT: IOWeight= of one device",
    ),
    row(
        "IODeviceLatencyTargetSec",
        Syntax::DeviceTime("IODeviceLatencyTargetUSec"),
        "DEVICE TIME: latency to keep",
    ),
    row(
        "IOReadBandwidthMax",
        Syntax::DeviceRate("IOReadBandwidthMax"),
        "DEVICE BYTES: read limit per second, base 1000",
    ),
    row(
        "IOWriteBandwidthMax",
        Syntax::DeviceRate("IOWriteBandwidthMax"),
        "DEVICE BYTES: write limit per second, base 1000",
    ),
    row(
        "IOReadIOPSMax",
        Syntax::DeviceRate("IOReadIOPSMax"),
        "DEVICE COUNT: reads per second",
    ),
    row(
        "IOWriteIOPSMax",
        Syntax::DeviceRate("IOWriteIOPSMax"),
        "DEVICE COUNT: writes per second",
    ),
    row(
        "IPAccounting",
        Syntax::Bool("IPAccounting"),
        "count network bytes",
    ),
    row(
        "IPAddressAllow",
        Syntax::Networks("IPAddressAllow"),
        "networks the container may talk to",
    ),
    row(
        "IPAddressDeny",
        Syntax::Networks("IPAddressDeny"),
        "networks it may not talk to, as any",
    ),
    row(
        "DevicePolicy",
        Syntax::Choice("DevicePolicy", &["auto", "closed", "strict"]),
        "which devices are allowed besides DeviceAllow=",
    ),
    row(
        "DeviceAllow",
        Syntax::Device("DeviceAllow"),
        "DEVICE [rwm]: a device the container may use",
    ),
    row(
        "ManagedOOMSwap",
        Syntax::Choice("ManagedOOMSwap", &["auto", "kill"]),
        "kill: systemd-oomd acts when swap runs out",
    ),
    row(
        "ManagedOOMMemoryPressure",
        Syntax::Choice("ManagedOOMMemoryPressure", &["auto", "kill"]),
        "kill: systemd-oomd acts on memory pressure",
    ),
    row(
        "ManagedOOMMemoryPressureLimit",
        Syntax::Pressure("ManagedOOMMemoryPressureLimit"),
        "pressure at which it acts, in percent",
    ),
    row(
        "ManagedOOMPreference",
        Syntax::Choice("ManagedOOMPreference", &["none", "avoid", "omit"]),
        "whether systemd-oomd spares the container",
    ),
    row(
        "OOMPolicy",
        Syntax::Choice("OOMPolicy", &["continue", "stop", "kill"]),
        "what happens when the kernel kills a process for memory",
    ),
    row(
        "OOMScoreAdjust",
        Syntax::Int("OOMScoreAdjust", -1000, 1000),
        "-1000 to 1000: how willingly the kernel kills it",
    ),
    row(
        "Nice",
        Syntax::Int("Nice", -20, 19),
        "-20 to 19: priority of the init",
    ),
    row(
        "CPUAffinity",
        Syntax::Cpus("CPUAffinity"),
        "CPUs the init starts on; AllowedCPUs= confines the whole container",
    ),
    row(
        "IOSchedulingClass",
        Syntax::Code(
            "IOSchedulingClass",
            &[
                ("none", 0),
                ("realtime", 1),
                ("best-effort", 2),
                ("idle", 3),
            ],
        ),
        "none, realtime, best-effort or idle",
    ),
    row(
        "IOSchedulingPriority",
        Syntax::Int("IOSchedulingPriority", 0, 7),
        "0 to 7 within the class",
    ),
    row(
        "Restart",
        Syntax::Choice(
            "Restart",
            &[
                "no",
                "on-success",
                "on-failure",
                "on-abnormal",
                "on-watchdog",
                "on-abort",
                "always",
            ],
        ),
        "when the container is started again",
    ),
    row(
        "RestartSec",
        Syntax::Time("RestartUSec"),
        "pause before that",
    ),
    newer(
        SERVICE,
        254,
        "RestartSteps",
        Syntax::Count("RestartSteps"),
        "steps in which the pause grows",
    ),
    newer(
        SERVICE,
        254,
        "RestartMaxDelaySec",
        Syntax::Time("RestartMaxDelayUSec"),
        "longest pause",
    ),
    newer(
        SERVICE,
        254,
        "RestartMode",
        Syntax::Choice("RestartMode", &["normal", "direct"]),
        "whether a restart passes through failed and inactive",
    ),
    row(
        "TimeoutStartSec",
        Syntax::Timeout("TimeoutStartUSec"),
        "how long a start may take",
    ),
    row(
        "TimeoutStopSec",
        Syntax::Timeout("TimeoutStopUSec"),
        "how long a stop may take before the kill",
    ),
    row(
        "TimeoutAbortSec",
        Syntax::Time("TimeoutAbortUSec"),
        "how long an abort may take",
    ),
    KeyRow {
        section: SERVICE,
        name: "TimeoutSec",
        help: "TimeoutStartSec= and TimeoutStopSec= at once",
        since: None,
        meaning: Meaning::Timeouts,
    },
    row(
        "RuntimeMaxSec",
        Syntax::Time("RuntimeMaxUSec"),
        "how long the container may run",
    ),
    row(
        "RuntimeRandomizedExtraSec",
        Syntax::Time("RuntimeRandomizedExtraUSec"),
        "random span added to it",
    ),
    row(
        "ExecCondition",
        Syntax::Exec("ExecCondition"),
        "command that decides whether the container starts",
    ),
    row(
        "ExecStartPre",
        Syntax::Exec("ExecStartPre"),
        "command run before the container",
    ),
    row(
        "ExecStartPost",
        Syntax::Exec("ExecStartPost"),
        "command run when it is ready",
    ),
    row(
        "ExecStopPost",
        Syntax::Exec("ExecStopPost"),
        "command run after it ended",
    ),
    row(
        "SuccessExitStatus",
        Syntax::Exit("SuccessExitStatus"),
        "exit codes and signals that count as success",
    ),
    row(
        "RestartPreventExitStatus",
        Syntax::Exit("RestartPreventExitStatus"),
        "exit codes and signals that prevent a restart",
    ),
    row(
        "RestartForceExitStatus",
        Syntax::Exit("RestartForceExitStatus"),
        "exit codes and signals that force a restart",
    ),
    row(
        "SyslogIdentifier",
        Syntax::Text("SyslogIdentifier"),
        "prefix of the lines in the journal",
    ),
    row(
        "LogLevelMax",
        Syntax::Code("LogLevelMax", LEVELS),
        "messages below this level are dropped",
    ),
    row(
        "LogRateLimitIntervalSec",
        Syntax::Time("LogRateLimitIntervalUSec"),
        "span in which messages are counted",
    ),
    row(
        "LogRateLimitBurst",
        Syntax::Count("LogRateLimitBurst"),
        "messages allowed in that span",
    ),
    row(
        "LogExtraFields",
        Syntax::Fields("LogExtraFields"),
        "NAME=VALUE fields added to each message in the journal",
    ),
    row(
        "LoadCredential",
        Syntax::LoadCredential("LoadCredential"),
        "ID[:PATH]: file or credential of the host that the container gets as a credential",
    ),
    row(
        "LoadCredentialEncrypted",
        Syntax::LoadCredential("LoadCredentialEncrypted"),
        "LoadCredential= of what systemd-creds encrypted",
    ),
    row(
        "SetCredential",
        Syntax::SetCredential("SetCredential"),
        "ID:TEXT: a credential that is no secret",
    ),
    row(
        "SetCredentialEncrypted",
        Syntax::SealedCredential("SetCredentialEncrypted"),
        "ID:BASE64: a credential that systemd-creds encrypted",
    ),
    newer(
        SERVICE,
        254,
        "ImportCredential",
        Syntax::ImportCredential("ImportCredential"),
        "NAME or START*: credentials that the host itself was given",
    ),
    row(
        "LimitCPU",
        Syntax::Limit("LimitCPU", "LimitCPUSoft", LimitUnit::Seconds),
        "SOFT[:HARD]: CPU time of one process",
    ),
    row(
        "LimitFSIZE",
        Syntax::Limit("LimitFSIZE", "LimitFSIZESoft", LimitUnit::Bytes),
        "SOFT[:HARD]: size of a file",
    ),
    row(
        "LimitDATA",
        Syntax::Limit("LimitDATA", "LimitDATASoft", LimitUnit::Bytes),
        "SOFT[:HARD]: data segment",
    ),
    row(
        "LimitSTACK",
        Syntax::Limit("LimitSTACK", "LimitSTACKSoft", LimitUnit::Bytes),
        "SOFT[:HARD]: stack",
    ),
    row(
        "LimitCORE",
        Syntax::Limit("LimitCORE", "LimitCORESoft", LimitUnit::Bytes),
        "SOFT[:HARD]: core file",
    ),
    row(
        "LimitRSS",
        Syntax::Limit("LimitRSS", "LimitRSSSoft", LimitUnit::Bytes),
        "SOFT[:HARD]: resident set",
    ),
    row(
        "LimitNOFILE",
        Syntax::Limit("LimitNOFILE", "LimitNOFILESoft", LimitUnit::Count),
        "SOFT[:HARD]: open files",
    ),
    row(
        "LimitAS",
        Syntax::Limit("LimitAS", "LimitASSoft", LimitUnit::Bytes),
        "SOFT[:HARD]: address space",
    ),
    row(
        "LimitNPROC",
        Syntax::Limit("LimitNPROC", "LimitNPROCSoft", LimitUnit::Count),
        "SOFT[:HARD]: processes of one user",
    ),
    row(
        "LimitMEMLOCK",
        Syntax::Limit("LimitMEMLOCK", "LimitMEMLOCKSoft", LimitUnit::Bytes),
        "SOFT[:HARD]: locked memory",
    ),
    row(
        "LimitLOCKS",
        Syntax::Limit("LimitLOCKS", "LimitLOCKSSoft", LimitUnit::Count),
        "SOFT[:HARD]: file locks",
    ),
    row(
        "LimitSIGPENDING",
        Syntax::Limit("LimitSIGPENDING", "LimitSIGPENDINGSoft", LimitUnit::Count),
        "SOFT[:HARD]: queued signals",
    ),
    row(
        "LimitMSGQUEUE",
        Syntax::Limit("LimitMSGQUEUE", "LimitMSGQUEUESoft", LimitUnit::Bytes),
        "SOFT[:HARD]: message queues",
    ),
    row(
        "LimitNICE",
        Syntax::Limit("LimitNICE", "LimitNICESoft", LimitUnit::Nice),
        "SOFT[:HARD]: priority",
    ),
    row(
        "LimitRTPRIO",
        Syntax::Limit("LimitRTPRIO", "LimitRTPRIOSoft", LimitUnit::Count),
        "SOFT[:HARD]: real-time priority",
    ),
    row(
        "LimitRTTIME",
        Syntax::Limit("LimitRTTIME", "LimitRTTIMESoft", LimitUnit::Microseconds),
        "SOFT[:HARD]: real-time CPU time",
    ),
];

const fn row(name: &'static str, syntax: Syntax, help: &'static str) -> KeyRow {
    property(SERVICE, name, syntax, help)
}
