//! Checks C13-C18: what the environment of the init says, machine id and credentials.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    interface::Sheet,
};

use super::{DEBIAN, settled};

/// A variable of PID 1.
fn variable(name: &str) -> String {
    format!("tr '\\000' '\\n' </proc/1/environ | sed -n 's/^{name}=//p'")
}

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-env", DEBIAN)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C13",
        "short, lower case, known to systemd",
        &format!(
            "{}; systemd-detect-virt --container >/dev/null && echo container; \
             systemd-run --quiet --wait --pipe --property=ConditionVirtualization=container echo condition",
            variable("container")
        ),
        "skep\ncontainer\ncondition",
    );
    let other = started(host, "ci-env2", DEBIAN)?;
    let ids = |guest: &Guest<'_>| sh(guest, &variable("container_uuid"));
    let (first, second) = (ids(&guest)?, ids(&other)?);
    sheet.inside(
        &guest,
        "C14",
        "the machine id of a tree without one",
        &format!("{} | tr -d - | cmp - /etc/machine-id && cmp /etc/machine-id /run/host/container-uuid && echo same", variable("container_uuid")),
        "same",
    );
    other.systemctl("restart")?;
    let again = ids(&other)?;
    let judged = || -> Result<()> {
        ensure!(first.len() == 36 && first != second, "{first} {second}");
        ensure!(second == again, "{second}, then {again}");
        Ok(())
    };
    sheet.fact("C14", "unique, and the same after a restart", judged());
    other.finish()?;
    sheet.differs(
        "C15",
        "optional, and not needed: \"skep shell\" brings its own terminal, no getty waits for one",
    );
    sheet.inside(
        &guest,
        "C16",
        "what the host's os-release says",
        ". /run/host/os-release; tr '\\000' '\\n' </proc/1/environ | grep '^container_host_' | sort | while IFS='=' read key value; do \
         upper=$(echo \"${key#container_host_}\" | tr a-z A-Z); eval want=\\$$upper; [ \"$value\" = \"$want\" ] || echo $key; done; \
         tr '\\000' '\\n' </proc/1/environ | grep -c '^container_host_id='",
        "1",
    );
    guest.finish()
}
