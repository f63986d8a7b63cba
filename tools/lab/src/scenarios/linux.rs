//! Debian's kernel as the guest, unmodified.

use super::POWER_OFF;
use crate::scenario::{Config, Scenario, Subject};

/// All of them.
pub fn all() -> Vec<Scenario> {
    vec![two_linux()]
}

/// What `cargo hv run` boots: a guest with a passed-through NIC, one with a
/// passed-through drive.
fn two_linux() -> Scenario {
    Scenario::new("linux/two", Subject::Hypervisor(Config::File("examples/two-linux.toml".to_owned())))
        .on(|machine| machine.cpus(4).memory_mib(1536))
        .serves_http()
        .nvme(256)
        .expect("net", "net: verified sha256")
        .expect("disk", "disk: verified sha256")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .ends("net", POWER_OFF)
        .ends("disk", POWER_OFF)
        .all_as_expected()
        .within(300)
}
