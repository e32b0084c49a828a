//! Links between a container and the host: how much passes, how soon, and what they cost at the start.
//!
//! Both ends are threads of this program, one of them in the container's network namespace: what is compared is the way
//! between them, not the programs of a guest.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use skep_tests::{
    bench::figure::Row,
    command::{capture, program},
    wait::{timed, wait_until},
};

use crate::{
    times,
    unit::{
        MACHINES, copy_busybox, ensure_active, kill_nspawn, milliseconds, nspawn_unit, skep_unit,
        systemctl,
    },
};

const ROUNDS: usize = 21;

/// What is sent in one sample.
const VOLUME: usize = 128 << 20;
const CHUNK: usize = 128 << 10;

/// Round trips of one sample.
const TRIPS: usize = 2_000;

/// Contenders in the tables, ours first.
const VETH: &str = "skep@, veth";
const NAT: &str = "skep@, nat";
const NSPAWN: &str = "systemd-nspawn@, veth";
const BARE: &str = "a bare veth";

/// Containers with a veth, behind nat and with neither, then nspawn's with a veth and without.
const NAMES: [&str; 5] = [
    "bench-veth",
    "bench-nat",
    "bench-private",
    "bench-theirs",
    "bench-alone",
];

/// A way into a network namespace.
struct Way {
    contender: &'static str,
    space: File,
    address: String,
    volume: Vec<f64>,
    trips: Vec<f64>,
}

/// Throughput and latency of all ways, in turn, then the time of a start with each kind of network.
pub(crate) fn measure() -> Result<Vec<Row>> {
    for name in NAMES {
        copy_busybox(name)?;
    }
    for (name, network) in NAMES.iter().zip(["veth", "nat", "private"]) {
        declare(name, network)?;
    }
    declare_theirs(NAMES[3], true)?;
    declare_theirs(NAMES[4], false)?;
    capture(&mut program("skep", ["apply"]))?;
    let measured = ways().and_then(|mut ways| {
        for round in 0..=ROUNDS {
            for way in &mut ways {
                let (volume, trips) = sample(way)?;
                if round > 0 {
                    way.volume.push(volume);
                    way.trips.push(trips);
                }
            }
        }
        Ok(ways)
    });
    for name in &NAMES[..2] {
        systemctl(&["stop", &skep_unit(name)])?;
    }
    kill_nspawn(&[NAMES[3].to_owned()])?;
    let _ = capture(&mut program("ip", ["netns", "delete", "bench-bare"]));
    // Each holds a network namespace, whose links exist as long as it does.
    let rows_of = |ways: Vec<Way>| -> Vec<Row> {
        let volume = |way: &Way| times("network", way.contender, way.volume.clone());
        let trips = |way: &Way| times("latency", way.contender, way.trips.clone());
        ways.iter()
            .map(volume)
            .chain(ways.iter().map(trips))
            .collect()
    };
    let mut rows = rows_of(measured?);
    rows.extend(starts()?);
    for name in NAMES {
        fs::remove_dir_all(format!("{MACHINES}/{name}"))?;
        let _ = fs::remove_file(format!("/run/skep/{name}.container"));
        let _ = fs::remove_file(format!("/run/systemd/nspawn/{name}.nspawn"));
    }
    capture(&mut program("skep", ["apply"]))?;
    Ok(rows)
}

/// A container that only sleeps.
fn declare(name: &str, network: &str) -> Result<()> {
    fs::create_dir_all("/run/skep")?;
    let text = format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot={MACHINES}/{name}\nInit=/bin/sleep\nParameters=1000000\n\
         Network={network}\n"
    );
    Ok(fs::write(format!("/run/skep/{name}.container"), text)?)
}

fn declare_theirs(name: &str, veth: bool) -> Result<()> {
    let answer = if veth { "yes" } else { "no" };
    let text = format!("[Network]\nPrivate=yes\nVirtualEthernet={answer}\n");
    Ok(fs::write(
        format!("/run/systemd/nspawn/{name}.nspawn"),
        text,
    )?)
}

fn ways() -> Result<Vec<Way>> {
    let ours = |contender, name: &str| -> Result<Way> {
        systemctl(&["start", &skep_unit(name)])?;
        let leader = leader(name)?;
        let shown = capture(&mut inside(
            &leader,
            &["ip", "-4", "-o", "address", "show", "dev", "host0"],
        ))?;
        let address = shown
            .split_ascii_whitespace()
            .nth(3)
            .context("no address")?;
        let address = address.split('/').next().unwrap_or_default();
        way(contender, &format!("/proc/{leader}/ns/net"), address)
    };
    let mut all = vec![ours(VETH, NAMES[0])?, ours(NAT, NAMES[1])?];
    systemctl(&["start", &nspawn_unit(NAMES[3])])?;
    let leader = leader(NAMES[3])?;
    // nspawn leaves the addresses to others.
    let link = format!("ve-{}", NAMES[3]);
    run(&["ip", "address", "add", "192.0.2.1/30", "dev", &link])?;
    run(&["ip", "link", "set", &link, "up"])?;
    for words in [
        &["ip", "address", "add", "192.0.2.2/30", "dev", "host0"][..],
        &["ip", "link", "set", "host0", "up"],
    ] {
        capture(&mut inside(&leader, words))?;
    }
    all.push(way(NSPAWN, &format!("/proc/{leader}/ns/net"), "192.0.2.2")?);
    run(&["ip", "netns", "add", "bench-bare"])?;
    run(&[
        "ip",
        "link",
        "add",
        "bench0",
        "type",
        "veth",
        "peer",
        "name",
        "bench1",
        "netns",
        "bench-bare",
    ])?;
    run(&["ip", "address", "add", "192.0.2.5/30", "dev", "bench0"])?;
    run(&["ip", "link", "set", "bench0", "up"])?;
    run(&[
        "ip",
        "-n",
        "bench-bare",
        "address",
        "add",
        "192.0.2.6/30",
        "dev",
        "bench1",
    ])?;
    run(&["ip", "-n", "bench-bare", "link", "set", "bench1", "up"])?;
    all.push(way(BARE, "/run/netns/bench-bare", "192.0.2.6")?);
    Ok(all)
}

fn run(words: &[&str]) -> Result<()> {
    capture(&mut program(words[0], &words[1..])).map(drop)
}

/// The first process of a machine, as machined knows it.
fn leader(name: &str) -> Result<String> {
    let leader = capture(&mut program(
        "machinectl",
        ["show", "--value", "--property=Leader", name],
    ))?;
    Ok(leader.trim().to_owned())
}

fn inside(leader: &str, words: &[&str]) -> std::process::Command {
    let mut command = program("nsenter", ["--net", "--target", leader]);
    command.args(words);
    command
}

fn way(contender: &'static str, space: &str, address: &str) -> Result<Way> {
    Ok(Way {
        contender,
        space: File::open(space).with_context(|| space.to_owned())?,
        address: address.to_owned(),
        volume: Vec::new(),
        trips: Vec::new(),
    })
}

/// Milliseconds for the volume, and for the round trips.
fn sample(way: &Way) -> Result<(f64, f64)> {
    let (send, port) = mpsc::channel();
    let space = way.space.try_clone()?;
    let server = thread::spawn(move || -> Result<()> {
        setns(space.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let listener = TcpListener::bind("0.0.0.0:0")?;
        send.send(listener.local_addr()?.port())?;
        serve(&listener)
    });
    let port = port.recv().context("the other end did not come up")?;
    let address = format!("{}:{port}", way.address);
    let (sent, volume) = timed(|| send_all(&address));
    sent.with_context(|| way.contender)?;
    let mut stream = TcpStream::connect(&address)?;
    stream.set_nodelay(true)?;
    let (done, trips) = timed(|| {
        let mut byte = [0];
        (0..TRIPS).try_for_each(|_| {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)
        })
    });
    done?;
    drop(stream);
    server
        .join()
        .map_err(|_| anyhow!("the other end panicked"))??;
    Ok((milliseconds(volume), milliseconds(trips)))
}

fn send_all(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let chunk = vec![0; CHUNK];
    for _ in 0..VOLUME / CHUNK {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The other end has all of it when it says so.
    stream.read_exact(&mut [0])?;
    Ok(())
}

fn serve(listener: &TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut chunk = vec![0; CHUNK];
    while stream.read(&mut chunk)? > 0 {}
    stream.write_all(&[0])?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// A sleeping container of each kind, in turn.
fn starts() -> Result<Vec<Row>> {
    let mut all = [
        (VETH, skep_unit(NAMES[0]), NAMES[0], Vec::new()),
        (NAT, skep_unit(NAMES[1]), NAMES[1], Vec::new()),
        ("skep@, private", skep_unit(NAMES[2]), NAMES[2], Vec::new()),
        (NSPAWN, nspawn_unit(NAMES[3]), NAMES[3], Vec::new()),
        (
            "systemd-nspawn@, private",
            nspawn_unit(NAMES[4]),
            NAMES[4],
            Vec::new(),
        ),
    ];
    for round in 0..=ROUNDS / 2 {
        for (_, unit, name, samples) in &mut all {
            let time = systemctl(&["start", unit])?;
            ensure_active(unit)?;
            if unit.starts_with("skep") {
                systemctl(&["stop", unit])?;
            } else {
                kill_nspawn(&[(*name).to_owned()])?;
                // The kernel frees the namespace, and with it the link, a little later.
                let link = format!("/sys/class/net/ve-{name}");
                wait_until(Duration::from_secs(10), "the link to go", || {
                    Ok((!Path::new(&link).exists()).then_some(()))
                })?;
            }
            if round > 0 {
                samples.push(time);
            }
        }
    }
    let row = |(contender, _, _, samples)| times("start-net", contender, samples);
    Ok(all.into_iter().map(row).collect())
}
