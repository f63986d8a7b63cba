//! Networks of the hypervisor's, and the guests at them.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Base, Driver, Plan, PortPlan};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use network::{PortVlan, Vlan};

const UPLINK: &str = "uplink = { path = \"00:02.0\", id = \"8086:10d3\" }";
const LAN: &str = "network = \"lan\"";

/// A configuration of one network with these keys, and guests of which each has one interface with
/// these keys.
fn text(network: &str, ports: &[&str]) -> String {
    let mut text = format!("[network.lan]\n{network}\n");
    for (index, keys) in ports.iter().enumerate() {
        let name = char::from(b'a' + index as u8);
        text += &format!(
            "[guest.{name}]\ncpus = [{}]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.{name}.pci]]\n\
             slot = \"01.0\"\nemulate = \"virtio-net\"\n{keys}\n",
            index + 1
        );
    }
    text
}

fn plan_of(text: &str) -> Plan {
    let (config, _) = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35())
}

fn problems(text: &str) -> Vec<String> {
    plan_of(text).all_problems().map(ToString::to_string).collect()
}

fn port(plan: &Plan, guest: usize) -> &PortPlan {
    match &plan.guests[guest].emulated[0].base {
        Base::Port(port) => port,
        _ => panic!("no network interface"),
    }
}

#[test]
fn a_network_with_an_uplink_and_two_guests() {
    let second =
        format!("{LAN}\nmac = \"52:54:00:12:34:56\"\nvlan = 7\nrate_limit = \"32 MiB\"\nisolated = true");
    let plan = plan_of(&text(UPLINK, &[LAN, &second]));
    assert_eq!(plan.all_problems().count(), 0);
    assert_eq!((plan.owned.len(), plan.owned[0].driver), (1, Driver::E1000e));
    assert_eq!(plan.owned[0].function.path.to_string(), "00:02.0");
    assert_eq!((plan.networks.len(), plan.networks[0].uplink), (1, Some(0)));

    let first = port(&plan, 0);
    assert_eq!(first.network, "lan");
    let mac = first.config.mac.unwrap();
    assert!(mac.is_station() && mac.0[0] & 2 != 0, "{mac} is no local address");
    assert_eq!((first.config.any_source, first.config.vlan), (false, PortVlan::Access(None)));
    assert_eq!((first.config.rate_limit, first.config.is_isolated), (None, false));

    let second = port(&plan, 1).config;
    assert_eq!(second.mac.unwrap().to_string(), "52:54:00:12:34:56");
    assert_eq!((second.vlan, second.is_isolated), (PortVlan::Access(Vlan::new(7)), true));
    let limit = second.rate_limit.unwrap();
    assert_eq!((limit.bytes_per_second.get(), limit.burst_bytes.get()), (32 << 20, 512 << 10));
}

#[test]
fn a_virtio_interface_can_be_an_uplink() {
    for id in ["1af4:1041", "1af4:1000"] {
        let mut board = q35();
        for function in board.functions.iter_mut().filter(|function| function.path.to_string() == "00:02.0") {
            function.id = id.parse().unwrap();
        }
        let (config, _) = parse(&text(&UPLINK.replace("8086:10d3", id), &[LAN])).unwrap();
        let plan = plan(&config, &board);
        assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        assert_eq!((plan.owned.len(), plan.owned[0].driver), (1, Driver::VirtioNet));
    }
}

#[test]
fn a_network_can_do_without_an_uplink() {
    let plan = plan_of(&text("", &[LAN, LAN]));
    assert_eq!(plan.all_problems().count(), 0);
    assert_eq!((plan.owned.len(), plan.networks[0].uplink), (0, None));
    assert_ne!(port(&plan, 0).config.mac, port(&plan, 1).config.mac);
}

#[test]
fn an_address_that_nobody_names_depends_on_the_guest_and_the_slot_alone() {
    let of = |text: &str| port(&plan_of(text), 0).config.mac.unwrap();
    let usual = of(&text("", &[LAN]));
    assert_eq!(usual, of(&text(UPLINK, &[LAN, LAN])));
    assert_ne!(usual, of(&text("", &[LAN]).replace("01.0", "02.0")));
    assert_ne!(usual, of(&text("", &[LAN]).replace("guest.a", "guest.b")));
}

#[test]
fn what_a_port_lacks() {
    let of = |keys: &str| problems(&text(UPLINK, &[keys]));
    assert_eq!(
        of(""),
        [
            "guest.a.pci[0].emulate: nothing says where the network interface is connected; add network = \"...\", and a \
          table [network.NAME]"
        ]
    );
    assert_eq!(
        of("network = \"wan\""),
        ["guest.a.pci[0].network: there is no network `wan`; add a table [network.wan]; it may be empty"]
    );
    assert_eq!(
        of(&format!("{LAN}\nvlan = 4095")),
        ["guest.a.pci[0].vlan: there is no VLAN 4095; use one from 1 to 4094"]
    );
    assert_eq!(
        of(&format!("{LAN}\nmac = \"01:00:5e:00:00:01\"")),
        [
            "guest.a.pci[0].mac: 01:00:5e:00:00:01 is no address of one interface; use one such as \"52:54:00:12:34:56\""
        ]
    );
    assert_eq!(
        of(&format!("{LAN}\nrate_limit = \"0 MiB\"")),
        ["guest.a.pci[0].rate_limit: the guest could send nothing; give it \"64 KiB\" or more"]
    );
    assert_eq!(
        of(&format!("{LAN}\nbacking = {{ image = \"x\" }}")),
        ["guest.a.pci[0].backing: the emulated function is no drive; remove the key"]
    );
}

#[test]
fn a_drive_has_no_port() {
    let drive = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                 network = \"lan\"\nisolated = true\n";
    let emulated = format!("{drive}emulate = \"nvme\"\nbacking = {{ image = \"x\" }}\n");
    let keys = ["network", "isolated"];
    assert_eq!(
        problems(&format!("[network.lan]\n{emulated}")),
        keys.map(|key| format!("guest.a.pci[0].{key}: the emulated function is a drive; remove the key"))
    );
    let passed = format!("{drive}passthrough = {{ path = \"00:03.0\", id = \"1b36:0010\" }}\n");
    assert_eq!(
        problems(&format!("[network.lan]\n{passed}")),
        keys.map(|key| format!("guest.a.pci[0].{key}: the function is passed through; remove the key"))
    );
}

#[test]
fn two_ports_of_one_address() {
    let keys = format!("{LAN}\nmac = \"52:54:00:12:34:56\"");
    assert_eq!(
        problems(&text("", &[&keys, &keys])),
        [
            "guest.b.pci[0].mac: 52:54:00:12:34:56 belongs to guest `a` already; give each interface on a network its own \
          address"
        ]
    );
    // On another network it is no harm.
    let elsewhere = text("[network.wan]", &[&keys, &keys.replace("lan", "wan")]);
    assert_eq!(problems(&elsewhere), [""; 0]);
}

#[test]
fn an_uplink_has_the_driver_of_what_it_is() {
    let mut board = q35();
    let uplink = board.functions.iter_mut().find(|function| function.path.to_string() == "00:02.0").unwrap();
    uplink.id.device = 0x10c9;
    let (config, _) = parse(&text(&UPLINK.replace("10d3", "10c9"), &[LAN])).unwrap();
    let plan = plan(&config, &board);
    assert_eq!(plan.all_problems().count(), 0);
    assert_eq!(plan.owned[0].driver, Driver::Igb);
}

#[test]
fn an_uplink_that_cannot_be_serves_nobody() {
    let nvme = "uplink = { path = \"00:03.0\", id = \"1b36:0010\" }";
    assert_eq!(
        problems(&text(nvme, &[LAN])),
        [
            "network.lan.uplink.id: 00:03.0 is 1b36:0010, for which there is no network driver; use an Intel 82574L \
             (8086:10d3), 82576 (8086:10c9) or a virtio interface",
            "guest.a.pci[0].network: network `lan` cannot be used; see what is said about it"
        ]
    );
    let missing = "uplink = { path = \"00:09.0\", id = \"8086:10d3\" }";
    assert_eq!(
        problems(&text(missing, &[LAN]))[0],
        "network.lan.uplink.path: there is no device at 00:09.0; 8086:10d3 is at \"00:02.0\""
    );
}

#[test]
fn an_uplink_without_an_iommu_is_refused() {
    let (config, _) = parse(&text(UPLINK, &[LAN])).unwrap();
    let mut machine = q35();
    machine.remapping.units.clear();
    let problems: Vec<_> = plan(&config, &machine).all_problems().map(ToString::to_string).collect();
    assert!(problems[0].starts_with("network.lan.uplink.path: this machine shows no IOMMU"), "{problems:?}");
}

#[test]
fn an_interface_is_the_uplink_of_one_network_or_a_guests() {
    let two = format!("{}[network.wan]\n{UPLINK}\n", text(UPLINK, &[LAN]));
    assert_eq!(
        problems(&two),
        [
            "network.wan.uplink.path: 00:02.0 is the uplink of network `lan` already; give each network an interface of \
             its own"
        ]
    );
    let passed = format!(
        "{}[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.b.pci]]\nslot = \"01.0\"\n\
         passthrough = {{ path = \"00:02.0\", id = \"8086:10d3\" }}\n",
        text(UPLINK, &[LAN])
    );
    assert_eq!(
        problems(&passed),
        [
            "guest.b.pci[0].passthrough.path: 00:02.0 stays with the hypervisor as the uplink of network `lan`; pass each \
             function to one guest, once"
        ]
    );
    let disk = format!(
        "[disk.system]\ndevice = {{ path = \"00:02.0\", id = \"8086:10d3\" }}\n{}",
        text(UPLINK, &[LAN])
    );
    let problems = problems(&disk);
    assert!(problems.contains(
        &"network.lan.uplink.path: 00:02.0 is disk `system` already; give each network an interface of its own".into()
    ), "{problems:?}");
}
