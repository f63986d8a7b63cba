//! Drives that the hypervisor keeps, and what guests have of them.

use super::tests::{plan, problems_of, q35};
use crate::text::parse;
use crate::{Base, Driver, PartitionName};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const NVME: &str = "device = { path = \"00:03.0\", id = \"1b36:0010\" }";

/// A configuration of one drive with these keys, and guests of which each has one emulated drive with
/// this backing.
fn text(disk: &str, backings: &[&str]) -> String {
    let mut text = format!("[disk.system]\n{disk}\n");
    for (index, backing) in backings.iter().enumerate() {
        let name = char::from(b'a' + index as u8);
        text += &format!(
            "[guest.{name}]\ncpus = [{}]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.{name}.pci]]\n\
             slot = \"01.0\"\nemulate = \"nvme\"\nbacking = {backing}\n",
            index + 1
        );
    }
    text
}

fn problems(text: &str) -> Vec<String> {
    let (config, _) = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35()).all_problems().map(ToString::to_string).collect()
}

#[test]
fn a_drive_of_several_guests() {
    let backings = ["{ disk = \"system\", partition = 1 }", "{ disk = \"system\", partition = \"data\" }"];
    let (config, _) = parse(&text(NVME, &backings)).unwrap();
    let plan = plan(&config, &q35());
    assert_eq!(plan.all_problems().count(), 0);
    assert_eq!(plan.owned.len(), 1);
    assert_eq!(plan.owned[0].driver, Driver::Nvme);
    assert_eq!(plan.owned[0].function.path.to_string(), "00:03.0");
    assert!(plan.guests.iter().all(|guest| guest.functions.is_empty()));
    let partition = |guest: usize| match &plan.guests[guest].emulated[0].base {
        Base::Drive(backing) => backing.partition.clone(),
        _ => panic!("no drive"),
    };
    assert_eq!(partition(0), Some(PartitionName::Number(1)));
    assert_eq!(partition(1), Some(PartitionName::Text("data".into())));
}

#[test]
fn whose_memory_a_drive_reaches() {
    let one = ["{ disk = \"system\", partition = 1 }"];
    let two = [one[0], "{ disk = \"system\", partition = 2 }"];
    let of = |disk: String, backings: &[&str]| {
        let (config, _) = parse(&text(&disk, backings)).unwrap();
        let plan = plan(&config, &q35());
        assert_eq!(plan.all_problems().count() != 0, backings.is_empty());
        plan.disks[0].reaches.clone()
    };
    let none = [""; 0];
    // One that serves a guest alone can do no more harm than if it were passed through.
    assert_eq!(of(NVME.into(), &one), ["a"]);
    assert_eq!(of(NVME.into(), &two), none);
    assert_eq!(of(NVME.into(), &[]), none);
    assert_eq!(of(format!("{NVME}\nisolation = \"copy\""), &one), none);
    assert_eq!(of(format!("{NVME}\nisolation = \"none\""), &two), ["a", "b"]);
    assert_eq!(of(AHCI.into(), &one), none);
    assert_eq!(of(format!("{AHCI}\nisolation = \"copy\""), &one), none);
    assert_eq!(
        problems(&text(&format!("{AHCI}\nisolation = \"none\""), &one))[0],
        "disk.system.isolation: 00:1f.2 is no NVMe or virtio drive: its data is always copied; remove the key, or \
         use an NVMe or virtio drive"
    );
}

/// Two drives of one controller do not write one partition either, and both are in the Plan.
#[test]
fn the_drives_of_one_controller_have_parts_of_their_own() {
    let of = |second: &str| {
        let first = "{ disk = \"system\", partition = 1 }";
        let text = text(NVME, &[first]).replace("\"nvme\"\nbacking", "\"ide\"\nbacking");
        format!("{text}second_backing = {second}\n")
    };
    assert_eq!(problems(&of("{ disk = \"system\", partition = 2 }")), [""; 0]);
    for same in ["{ disk = \"system\", partition = 1 }", "{ disk = \"system\" }"] {
        let problems = problems(&of(same));
        assert!(
            problems.iter().any(|problem| problem.contains("belongs to guest `a` already")),
            "{problems:?}"
        );
    }
}

#[test]
fn what_a_backing_lacks() {
    let of = |backing: &str| problems(&text(NVME, &[backing]));
    let help = "add backing = { disk = \"...\", partition = 1 }, or backing = { image = \"...\" }";
    assert_eq!(of("{ }"), [format!("guest.a.pci[0].backing: nothing says what is on the drive; {help}")]);
    assert_eq!(
        of("{ disk = \"system\", image = \"x\" }"),
        ["guest.a.pci[0].backing: it has a disk and an image; remove one of the two"]
    );
    assert_eq!(
        of("{ image = \"x\", partition = 1 }"),
        ["guest.a.pci[0].backing.partition: an image is given as a whole; remove the key"]
    );
    assert_eq!(
        of("{ disk = \"data\" }"),
        ["guest.a.pci[0].backing.disk: there is no disk `data`; add a table [disk.data] with its device"]
    );
    assert_eq!(
        of("{ disk = \"system\", partition = 0 }"),
        ["guest.a.pci[0].backing.partition: there is no partition 0; the first one is 1"]
    );
}

#[test]
fn what_changes_of_an_image_has_room() {
    let of = |backing: &str| problems(&text(NVME, &[backing]));
    assert_eq!(of("{ image = \"x\", mode = \"read-only\" }"), [""; 0]);
    assert_eq!(of("{ image = \"x\", mode = \"copy-on-write\", overlay = \"2 MiB\" }"), [""; 0]);
    assert_eq!(
        of("{ image = \"x\", mode = \"copy-on-write\" }"),
        [
            "guest.a.pci[0].backing.overlay: nothing says how much of the image can change; add a size, such as overlay \
          = \"256 MiB\""
        ]
    );
    assert_eq!(
        of("{ image = \"x\", overlay = \"2 MiB\" }"),
        [
            "guest.a.pci[0].backing.overlay: the image takes no writes; add mode = \"copy-on-write\", or remove the key"
        ]
    );
    for (size, use_it) in [("3 MiB", "4 MiB"), ("0 bytes", "2 MiB")] {
        let text = size.replace("bytes", "MiB");
        let backing = format!("{{ image = \"x\", mode = \"copy-on-write\", overlay = \"{text}\" }}");
        let expected =
            format!("guest.a.pci[0].backing.overlay: {size} is not a multiple of 2 MiB; use \"{use_it}\"");
        assert_eq!(of(&backing), [expected]);
    }
    assert_eq!(
        of("{ disk = \"system\", mode = \"copy-on-write\", overlay = \"2 MiB\" }"),
        [
            "guest.a.pci[0].backing.mode: only an image has a mode; remove the key: the guest writes to a disk",
            "guest.a.pci[0].backing.overlay: only an image has an overlay; remove the key"
        ]
    );
}

#[test]
fn what_changes_of_an_image_is_memory() {
    let of = |overlay: &str| {
        let backing = format!("{{ image = \"x\", mode = \"copy-on-write\", overlay = \"{overlay}\" }}");
        // Without a drive of the hypervisor's, whose buffers are memory too, and without a compartment.
        problems(
            text(NVME, &[&backing])
                .split_once("[guest")
                .map(|(_, rest)| format!("[hypervisor]\nruns_in = \"hypervisor\"\n[guest{rest}"))
                .as_deref()
                .unwrap(),
        )
    };
    assert_eq!(of("1948 MiB"), [""; 0]);
    assert_eq!(
        of("1950 MiB"),
        [
            "guest.a.memory: 64 MiB do not fit: of the machine's 2044 MiB there are 62 MiB left for it; give it \
             \"62 MiB\" or less, or less to the guests before it"
        ]
    );
}

#[test]
fn nobody_shares_a_partition() {
    let same = "{ disk = \"system\", partition = 2 }";
    assert_eq!(
        problems(&text(NVME, &[same, same])),
        [
            "guest.b.pci[0].backing: partition 2 of disk `system` belongs to guest `a` already; give each partition to \
             one function of one guest"
        ]
    );
    assert_eq!(
        problems(&text(NVME, &["{ disk = \"system\" }", same])),
        [
            "guest.b.pci[0].backing: partition 2 of disk `system` belongs to guest `a` already; give each partition to \
             one function of one guest"
        ]
    );
}

#[test]
fn a_drive_that_cannot_be_serves_nobody() {
    let nic = "device = { path = \"00:02.0\", id = \"8086:10d3\" }";
    assert_eq!(
        problems(&text(nic, &["{ disk = \"system\" }"])),
        [
            "disk.system.device.id: 00:02.0 is of class 020000, for which there is no driver; use an NVMe drive, a \
             SATA drive behind AHCI, or a virtio block device",
            "guest.a.pci[0].backing.disk: disk `system` cannot be used; see what is said about it"
        ]
    );
    let missing = "device = { path = \"00:09.0\", id = \"1b36:0010\" }";
    assert_eq!(
        problems(&text(missing, &["{ disk = \"system\" }"]))[0],
        "disk.system.device.path: there is no device at 00:09.0; 1b36:0010 is at \"00:03.0\""
    );
}

#[test]
fn a_drive_is_the_hypervisors_or_a_guests() {
    let guest = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                 passthrough = { path = \"00:03.0\", id = \"1b36:0010\" }\n";
    assert_eq!(
        problems(&format!("{}{guest}", text(NVME, &[]))),
        [
            "guest.a.pci[0].passthrough.path: 00:03.0 stays with the hypervisor as disk `system`; pass each function to \
             one guest, once"
        ]
    );
    let twice = format!("{}[disk.zweite]\n{NVME}\n", text(NVME, &["{ disk = \"system\" }"]));
    assert_eq!(
        problems(&twice),
        [
            "disk.zweite.device.path: 00:03.0 is disk `system` already; name each drive once, those of one controller with \
             their ports"
        ]
    );
}

const AHCI: &str = "device = { path = \"00:1f.2\", id = \"8086:2922\" }";

#[test]
fn drives_at_the_ports_of_one_controller() {
    let second = format!("[disk.data]\n{AHCI}\nport = 3\n");
    let text = format!("{second}{}", text(&format!("{AHCI}\nport = 0"), &["{ disk = \"system\" }"]));
    let (config, _) = parse(&text).unwrap();
    let plan = plan(&config, &q35());
    assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(plan.owned.len(), 1, "the controller is taken once");
    assert_eq!(plan.owned[0].driver, Driver::Ahci);
    let disks: Vec<_> = plan.disks.iter().map(|disk| (disk.name.as_str(), disk.owned, disk.port)).collect();
    assert_eq!(disks, [("data", 0, Some(3)), ("system", 0, Some(0))]);
}

#[test]
fn a_drive_at_a_port_is_named_by_its_own() {
    let of = |first: &str, second: &str| {
        let text = format!("{}[disk.zweite]\n{AHCI}\n{second}\n", text(&format!("{AHCI}\n{first}"), &[]));
        problems(&text).into_iter().filter(|problem| problem.starts_with("disk")).collect::<Vec<_>>()
    };
    let taken = "disk.zweite.device.path: 00:1f.2 is disk `system` already; name each drive once, those of one \
                 controller with their ports";
    assert_eq!(of("port = 1", "port = 2"), [""; 0]);
    assert_eq!(of("port = 1", "port = 1"), [taken]);
    assert_eq!(of("port = 1", ""), [taken]);
    assert_eq!(of("", "port = 1"), [taken]);
}

#[test]
fn ports_are_those_of_a_sata_controller() {
    let of = |disk: &str| problems(&text(disk, &["{ disk = \"system\" }"])).swap_remove(0);
    assert_eq!(
        of(&format!("{AHCI}\nport = 32")),
        "disk.system.port: 00:1f.2 is a SATA controller, whose ports are 0 to 31; name the port of the drive"
    );
    assert_eq!(
        of(&format!("{NVME}\nport = 0")),
        "disk.system.port: 00:03.0 is an NVMe drive, which is at no port; remove the key"
    );
    let (config, _) = parse(&text(&format!("{AHCI}\nport = 31"), &[])).unwrap();
    assert_eq!(plan(&config, &q35()).disks[0].port, Some(31));
}

/// The machine with the NVMe drive's place taken by a function of another identity and class.
fn board_with(id: &str, class: u32) -> platform::Platform {
    let mut board = q35();
    for function in board.functions.iter_mut().filter(|function| function.path.to_string() == "00:03.0") {
        (function.id, function.class) = (id.parse().unwrap(), class);
    }
    board
}

#[test]
fn a_virtio_block_device_is_a_drive() {
    for id in ["1af4:1042", "1af4:1001"] {
        let device = format!("device = {{ path = \"00:03.0\", id = \"{id}\" }}");
        let backings = ["{ disk = \"system\", partition = 1 }"];
        let (config, _) = parse(&text(&device, &backings)).unwrap();
        let plan = plan(&config, &board_with(id, 0x01_0000));
        assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(plan.owned[0].driver, Driver::VirtioBlock);
        assert_eq!(plan.disks[0].reaches, ["a"], "it moves its guest's data without a copy");
        let (config, _) = parse(&text(&format!("{device}\nport = 1"), &backings)).unwrap();
        let problems = super::tests::plan(&config, &board_with(id, 0x01_0000)).problems;
        let problem = "disk.system.port: 00:03.0 is a virtio drive, which is at no port; remove the key";
        assert_eq!(problems[0].to_string(), problem);
    }
    // What has its class, and no identity that is known, is no drive; nor is another virtio device.
    for id in ["8086:1042", "1af4:1041", "1af4:1048"] {
        let device = format!("device = {{ path = \"00:03.0\", id = \"{id}\" }}");
        let (config, _) = parse(&text(&device, &[])).unwrap();
        assert!(plan(&config, &board_with(id, 0x01_0000)).owned.is_empty(), "{id}");
    }
}

#[test]
fn a_drive_has_messages() {
    for (drive, at) in [(NVME, "00:03.0"), (AHCI, "00:1f.2")] {
        let (config, _) = parse(&text(drive, &[])).unwrap();
        let mut board = q35();
        for function in board.functions.iter_mut().filter(|function| function.path.to_string() == at) {
            (function.capabilities.msi, function.capabilities.msix) = (None, None);
        }
        let problems: Vec<_> = plan(&config, &board).problems.iter().map(ToString::to_string).collect();
        let problem = format!("{at} has neither MSI nor MSI-X to interrupt with; use another drive");
        assert!(problems.contains(&format!("disk.system.device.path: {problem}")), "{problems:?}");
    }
}

/// The chipset's SATA controller has neither a reset of its own nor a bus that can be reset.
#[test]
fn the_drivers_reset_counts_for_the_hypervisor_and_for_no_guest() {
    let (config, _) = parse(&text(AHCI, &["{ disk = \"system\" }"])).unwrap();
    let board = q35();
    let function = board.functions.iter().find(|function| function.path.to_string() == "00:1f.2").unwrap();
    assert_eq!(function.resets_alone(), Some(false));
    assert_eq!(plan(&config, &board).all_problems().count(), 0);
    assert!(!Driver::Nvme.resets_controller());
    let guest = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                 passthrough = { path = \"00:1f.2\", id = \"8086:2922\" }\n";
    let refused = problems(guest);
    assert!(refused[0].contains("00:1f.2 has no reset, and no bus that can be reset"), "{refused:?}");
}

#[test]
fn functions_beside_a_drive_go_to_no_guest() {
    let beside = format!(
        "{}[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.b.pci]]\nslot = \"01.0\"\n\
         passthrough = {{ path = \"00:1f.3\", id = \"8086:2930\" }}\n",
        text(AHCI, &["{ disk = \"system\" }"])
    );
    let together =
        "00:1f.3 cannot be kept apart from 00:1f.2 of disk `system`: they are functions of one device";
    let problems = problems(&beside);
    assert!(problems.iter().any(|problem| problem.contains(together)), "{problems:?}");
}

#[test]
fn drives_take_memory_from_guests() {
    let of = |disk: &str, memory: &str| {
        let guest = "[guest.a]\ncpus = [1]\nkernel = \"k\"\n";
        problems(&format!("{disk}{guest}memory = \"{memory}\"\n"))
    };
    assert_eq!(of("", "2012 MiB"), [""; 0]);
    let disk = format!("[disk.system]\n{AHCI}\n");
    assert!(of(&disk, "2006 MiB")[0].contains("there are 2004 MiB left for it"));
    assert_eq!(of(&disk, "2004 MiB"), [""; 0]);
    let two = format!("{disk}port = 1\n[disk.data]\n{AHCI}\nport = 2\n");
    assert_eq!(of(&two, "1996 MiB"), [""; 0]);
}

/// A second drive is checked as the first one is, and no function but an IDE controller has one.
#[test]
fn an_ide_controller_can_have_a_second_drive() {
    let with = |model: &str, second: &str| {
        let backing = "backing = { image = \"root.img\" }";
        problems_of(&format!("emulate = \"{model}\"\n{backing}\nsecond_backing = {second}\n"))
    };
    let overlay = "{ image = \"data.img\", mode = \"copy-on-write\", overlay = \"2 MiB\" }";
    assert_eq!(with("ide", overlay), [""; 0]);
    assert_eq!(
        with("ide", "{ image = \"missing\" }"),
        [
            "guest.a.pci[0].second_backing.image: there is no file `missing`; put the file there, or correct its name"
        ]
    );
    assert_eq!(
        with("ide", "{ }"),
        [
            "guest.a.pci[0].second_backing: nothing says what is on the drive; add second_backing = { disk = \"...\", \
             partition = 1 }, or second_backing = { image = \"...\" }"
        ]
    );
    assert_eq!(
        with("ide", "{ image = \"data.img\", overlay = \"3 MiB\" }"),
        [
            "guest.a.pci[0].second_backing.overlay: the image takes no writes; add mode = \"copy-on-write\", or remove \
             the key"
        ]
    );
    assert_eq!(
        with("nvme", overlay),
        ["guest.a.pci[0].second_backing: the function has one drive; give the other one a slot of its own"]
    );
    assert_eq!(
        problems_of("emulate = \"ide\"\nsecond_backing = { image = \"root.img\" }"),
        [
            "guest.a.pci[0].backing: nothing says what is on the drive; add backing = { disk = \"...\", partition = 1 }, \
             or backing = { image = \"...\" }"
        ]
    );
}
