#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command as Process;

use super::*;
use crate::sample;
use crate::unit::render;

#[test]
fn values_have_the_unit_file_s_form() {
    let half = u32::MAX / 2;
    let cases: Vec<(&'static str, Value, &str)> = vec![
        (
            "TimeoutStopUSec",
            Value::U64(90_000_000),
            "TimeoutStopSec=90s",
        ),
        (
            "TimeoutStopUSec",
            Value::U64(u64::MAX),
            "TimeoutStopSec=infinity",
        ),
        ("RestartUSec", Value::U64(100_000), "RestartSec=100000us"),
        ("CPUQuotaPerSecUSec", Value::U64(1_500_000), "CPUQuota=150%"),
        ("CPUQuotaPerSecUSec", Value::U64(u64::MAX), "CPUQuota="),
        ("CPUWeight", Value::U64(u64::MAX), "CPUWeight="),
        ("MemoryMax", Value::U64(u64::MAX), "MemoryMax=infinity"),
        ("MemoryMaxScale", Value::U32(half), "MemoryMax=50%"),
        (
            "ManagedOOMMemoryPressureLimit",
            Value::U32(u32::MAX / 1000 * 125),
            "ManagedOOMMemoryPressureLimit=12.50%",
        ),
        (
            "RuntimeDirectoryMode",
            Value::U32(0o700),
            "RuntimeDirectoryMode=0700",
        ),
        (
            "AllowedCPUs",
            Value::Bytes(vec![0b1000_1111, 1]),
            "AllowedCPUs=0-3 7-8",
        ),
        (
            "SuccessExitStatus",
            Value::Status(vec![3], vec![15]),
            "SuccessExitStatus=3 SIGTERM",
        ),
        (
            "EnvironmentFiles",
            Value::Files(vec![("/etc/x".into(), true)]),
            "EnvironmentFile=-/etc/x",
        ),
        ("Delegate", Value::Bool(true), "Delegate=yes"),
        (
            "Description",
            "100% \"sure\"".into(),
            "Description=100%% \"sure\"",
        ),
        (
            "IPAddressDeny",
            Value::Networks(vec![(2, vec![10, 0, 0, 0], 8)]),
            "IPAddressDeny=10.0.0.0/8",
        ),
        (
            "IPAddressDeny",
            Value::Networks(Vec::new()),
            "IPAddressDeny=",
        ),
        (
            "DeviceAllow",
            Value::Pairs(vec![("char-pts".into(), "rw".into())]),
            "DeviceAllow=char-pts rw",
        ),
        (
            "After",
            ["a.service", "b.service"].into(),
            "After=a.service b.service",
        ),
        ("LimitNOFILE", Value::U64(1024), "LimitNOFILE=1024"),
    ];
    for (name, value, want) in cases {
        assert_eq!(assignments(&Property::new(name, value)), [want]);
    }
}

#[test]
fn commands_read_back_as_themselves() {
    let argv = ["/bin/sh", "-c", "echo $HOME 100%"]
        .map(str::to_owned)
        .to_vec();
    let command = Command {
        path: "/bin/sh".into(),
        argv,
        ignore_failure: true,
    };
    let property = Property::new("ExecStartPre", Value::Exec(vec![command]));
    assert_eq!(
        assignments(&property),
        [r#"ExecStartPre=-/bin/sh -c "echo $$HOME 100%%""#]
    );
}

#[test]
fn the_section_table_is_sorted() {
    assert!(UNIT_SECTION.is_sorted());
}

/// systemd itself reads the rendered unit and finds no fault with it.
#[test]
fn systemd_accepts_the_text() {
    let Ok(version) = Process::new("systemd-analyze").arg("--version").output() else {
        eprintln!("ignored: no systemd-analyze");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout);
    let systemd: u32 = version
        .split_whitespace()
        .nth(1)
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut draft = render(&sample::wanted("web", Vec::new()), systemd);
    // The launcher need not be installed where tests run; verify insists on an executable.
    for property in &mut draft.properties {
        if let Value::Exec(commands) = &mut property.value {
            commands[0].path = "/bin/true".into();
        }
    }
    let file = directory.path().join(&draft.name);
    std::fs::write(&file, unit_text(&draft)).unwrap();
    let output = Process::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = complaints
        .lines()
        .filter(|line| line.contains("skep@web"))
        .collect();
    assert!(ours.is_empty(), "{complaints}");
}
