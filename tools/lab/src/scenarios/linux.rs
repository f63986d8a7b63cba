//! Debian's kernel as the guest, unmodified.

use super::POWER_OFF;
use super::attacks::BY_GUESTS;
use super::guests::{EXITS_OF_DELIVERY, EXITS_OF_INTERRUPTS};
use crate::column::{Column, Need};
use crate::feature::Feature;
use crate::machine::Machine;
use crate::scenario::{Config, Scenario, Subject};

/// All of them. The shell is not repeated where only the IOMMU differs.
pub fn on(column: Column) -> Vec<Scenario> {
    let mut list = vec![two_linux(column), mixed(column)];
    if column != Column::SvmAmdVi {
        list.insert(0, one(column));
        list.insert(1, images(column));
    }
    list.push(shared_drive(column));
    list.push(appliance(column));
    list.push(by_guests(column));
    if column == Column::SvmVtd {
        list.push(clocks(column));
    }
    if matches!(column, Column::SvmVtd | Column::SvmAmdVi) {
        list.extend(UPLINKS.map(|uplink| lost_uplink(column, uplink)));
    }
    if column.keeps_apics() {
        // Its idle processors sleep in the guest, and wake by what is posted.
        let virtually = shell(column, Feature::KeptApic, "smp-virtual", &[1, 2], "virtual", "", "");
        let virtually = virtually.expect("shell", "shell: 2 processors");
        list.push(virtually.steady_without("shell", EXITS_OF_DELIVERY).needs(Need::KeptApic));
    }
    list
}

/// A guest with an entropy device, a display, on which this kernel shows text, and two more consoles
/// besides. The line of one of them is level-triggered: where interrupts are virtual its ends are exits.
fn one(column: Column) -> Scenario {
    // One machine has models in both places.
    let place = if column == Column::VmxBochs { "runs_in = \"hypervisor\"\n" } else { "" };
    let functions =
        [("06.0", "virtio-rng"), ("07.0", "virtio-console"), ("08.0", "16550")].map(|(slot, model)| {
            format!("[[guest.shell.pci]]\nslot = \"{slot}\"\nemulate = \"{model}\"\n{place}")
        });
    let functions =
        functions.concat() + "[[guest.shell.pci]]\nslot = \"09.0\"\nemulate = \"bochs-display\"\n";
    let words = " rng hvc uart vga console=tty0 console=ttyS0";
    let mut scenario = shell(column, Feature::Linux, "one", &[1], "auto", words, &functions);
    if column != Column::VmxBochs {
        // Its IDE controller and its second port are lost again and again, and it sees nothing of that.
        let functions = [("05.0", 3000, 1000), ("08.0", 3500, 1000)];
        scenario = lost_over_and_over(scenario, "shell", &functions);
    }
    let scenario = scenario
        .expect("shell", "shell: read 4096 random bytes of virtio_rng")
        .expect("shell:07.0", "line 1 of the virtio console")
        .expect("shell:07.0", "line 100 of the virtio console")
        .types("shell", "shell: type a line at hvc0", b"\x14nto the second console\r")
        .expect("hypervisor", "you type to shell:07.0")
        .expect("shell", "shell: read \"to the second console\" at hvc0")
        .expect("shell:08.0", "line 1 of the second port")
        .expect("shell:08.0", "line 20 of the second port")
        .types("shell", "shell: type a line at the second port", b"\x14nto the third console\r")
        .expect("hypervisor", "you type to shell:08.0")
        .expect("shell", "shell: read \"to the third console\" at the second port")
        .expect("shell", "shell: text is shown by VGA+")
        .expect("shell", "shell: 1 processors");
    were_lost(scenario, if column == Column::VmxBochs { 0 } else { 2 })
}

/// Has the compartments of those functions be lost: nine times each, from so many
/// milliseconds after the start on, and again after so many. That is no more often in a minute than one is made anew.
fn lost_over_and_over(mut scenario: Scenario, guest: &str, functions: &[(&str, u32, u32)]) -> Scenario {
    let kills = functions.iter().flat_map(|(slot, first, step)| {
        (0..9).map(move |number| format!("{guest}:{slot}@{}", first + number * step))
    });
    let kills = kills.collect::<Vec<_>>();
    scenario.add_keys(&format!("[hypervisor]\nkill = {kills:?}\n\n"));
    scenario.forbid("hypervisor", "for good")
}

/// So many of them were, as the hypervisor says at the end.
fn were_lost(scenario: Scenario, functions: usize) -> Scenario {
    (0..functions)
        .fold(scenario, |scenario, _| scenario.expect("hypervisor", "restarts; the last time: it was killed"))
}

/// The models of emulated functions are in ring 0, where they are not without a word: one scenario for each.
pub(super) const IN_RING_0: &str = "[hypervisor]\nruns_in = \"hypervisor\"\n\n";

/// A guest without functions of the machine, to its shell on the console. Its drives, NVMe and IDE,
/// are emulated, over an image of the bundle; `words` of its command line are for the `functions` that it
/// has besides. What its shell says last is the number of its processors.
fn shell(
    column: Column,
    feature: Feature,
    name: &str,
    cpus: &[u32],
    interrupts: &str,
    words: &str,
    functions: &str,
) -> Scenario {
    let config = format!(
        "[guest.shell]\ncpus = {cpus:?}\nmemory = \"256 MiB\"\nkernel = \"vmlinuz-cloud\"\n\
         initrd = \"shell.cpio\"\ncommand_line = \"console=ttyS0 panic=-1 once drive ide{words}\"\n\
         interrupts = {interrupts:?}\nready = \"shell: init after\"\n\
         [[guest.shell.pci]]\nslot = \"04.0\"\n\
         emulate = \"nvme\"\nbacking = {{ image = \"drive.img\" }}\n\
         [[guest.shell.pci]]\nslot = \"05.0\"\n\
         emulate = \"ide\"\nbacking = {{ image = \"drive.img\" }}\n{functions}"
    );
    let subject = Subject::Hypervisor(Config::Inline(config));
    Scenario::new(column, feature, &format!("linux/{name}"), subject)
        .expect("shell", "shell: verified sha256")
        .expect("shell", "by UDMA/33 on Bulkhead disk")
        .expect("shell", "by PIO on Bulkhead disk")
        .forbid("shell", "FAILED")
        .forbid("hypervisor", "panicked")
        .ends("shell", POWER_OFF)
        .all_as_expected()
        .within(120)
}

/// A guest of two processors on a machine from which it needs nothing: each model of a drive over an
/// image whose overlay gets full, an IDE controller with a slave beside its master, and each model of an
/// interface on a network that only they are on.
fn images(column: Column) -> Scenario {
    const BACKING: &str =
        "backing = { image = \"drive.img\", mode = \"copy-on-write\", overlay = \"2 MiB\" }\n";
    let drive = |slot: u8, model: &str| {
        format!("[[guest.images.pci]]\nslot = \"{slot:02x}.0\"\nemulate = \"{model}\"\n{BACKING}")
    };
    let interface = |slot: u8, model: &str| {
        format!("[[guest.images.pci]]\nslot = \"{slot:02x}.0\"\nemulate = \"{model}\"\nnetwork = \"lan\"\n")
    };
    let config = [
        "[network.lan]\n[guest.images]\ncpus = [1, 2]\nmemory = \"256 MiB\"\nkernel = \"vmlinuz\"\n\
         initrd = \"appliance.cpio\"\ncommand_line = \"console=ttyS0 panic=-1 ide pair mib=1 \
         disk=/dev/sda,/dev/sdb,/dev/nvme0n1,/dev/vda full=/dev/nvme0n1,/dev/vda\"\n"
            .to_owned(),
        drive(3, "ide"),
        format!("second_{BACKING}"),
        drive(4, "nvme"),
        drive(5, "virtio-blk"),
        interface(6, "virtio-net"),
        interface(7, "ne2000"),
    ];
    let subject = Subject::Hypervisor(Config::Inline(config.concat()));
    let mut scenario = Scenario::new(column, Feature::Linux, "linux/images", subject);
    if column == Column::SvmVtd {
        // Drives and then interfaces are at work.
        let functions =
            [("04.0", 4000, 1000), ("05.0", 4500, 1000), ("06.0", 5000, 2000), ("07.0", 5700, 2000)];
        scenario = lost_over_and_over(scenario, "images", &functions);
    }
    let scenario = scenario
        .expect("images", "disk: verified 4 drives")
        .expect("images", "disk: /dev/nvme0n1: is full: No space left")
        .expect("images", "disk: /dev/vda: is full: I")
        .expect("images", "disk: /dev/vda: has room again")
        .expect("images", "is driven by virtio_net with 2 queues")
        .expect("images", "net: verified what eth")
        .expect(
            "hypervisor",
            "images: 04.0: the overlay of drive.img is full: its 2 MiB hold no more changes",
        )
        .expect(
            "hypervisor",
            "images: 05.0: the overlay of drive.img is full: its 2 MiB hold no more changes",
        )
        .forbid("images", "appliance: FAILED")
        .forbid("hypervisor", "panicked")
        .ends("images", POWER_OFF)
        .all_as_expected()
        .within(240);
    were_lost(scenario, if column == Column::SvmVtd { 4 } else { 0 })
}

/// A guest that is told nothing of the TSC's rate and measures it, first against the 8254 and
/// then against the power management timer, to keep its time by the TSC. Linux gives up where a
/// look at these takes more than a few microseconds, as an exit does on this emulator; with
/// instructions for its time an exit takes as many as it has. `tsc=reliable`: the emulated
/// processor does not say that its TSC is invariant, without which Linux trusts only that of one
/// processor of this vendor. What a guest sees of these clocks does not depend on who takes its
/// interrupts, but with instructions for time this emulator ends when the timer of a local APIC
/// is read by MSR ("Bad icount read").
fn clocks(column: Column) -> Scenario {
    let config = r#"
[guest.shell]
cpus = [1, 2]
memory = "256 MiB"
kernel = "vmlinuz-cloud"
initrd = "shell.cpio"
command_line = "console=ttyS0 panic=-1 no-kvmclock tsc=reliable once time=tsc"
interrupts = "virtual"
"#;
    let subject = Subject::Hypervisor(Config::Inline(config.to_owned()));
    Scenario::new(column, Feature::Linux, "linux/clocks", subject)
        .on(Machine::icount)
        .expect("shell", "tsc: Fast TSC calibration using PIT")
        .expect("shell", "tsc: Refined TSC clocksource calibration: ")
        .expect("shell", "shell: the time is kept by tsc")
        .expect("shell", "shell: 2 processors")
        .forbid("shell", "calibration failed")
        .forbid("shell", "nable to calibrate")
        .forbid("shell", "unstable")
        .forbid("shell", "skewed")
        .forbid("shell", "FAILED")
        .forbid("hypervisor", "panicked")
        .ends("shell", POWER_OFF)
        .all_as_expected()
        .within(180)
}

/// An NVMe drive and a SATA disk that the hypervisor keeps, of which two guests have a partition each,
/// by number and by name, as an NVMe drive and as a virtio drive; one of them has its interrupts virtual,
/// the other counts the exits of its reads. Nothing says at which port of the
/// adapter the disk is, and PCI has no reset for that adapter. One guest has a virtio drive of the
/// machine's beside them, whole, which reads and writes its memory itself.
///
/// With VT-d the drivers of both drives are in ring 3 and are lost again and again while the guests read and write;
/// otherwise the NVMe drive reaches the memory of both guests, and exits are counted.
fn shared_drive(column: Column) -> Scenario {
    let disks = "disk=/dev/nvme0n1,/dev/vda mib=16\"\n";
    let mut text = include_str!("../../../../examples/shared-drive.toml")
        .replace(disks, &disks.replace("vda", "vda,/dev/vdb"));
    text += r#"
[[guest.two.pci]]
slot = "05.0"
emulate = "virtio-blk"
backing = { disk = "virtio" }

[disk.virtio]
device = { path = "00:05.0/00.0", id = "1af4:1042" }
"#;
    let is_apart = column == Column::SvmVtd;
    if is_apart {
        text = with_lost_drivers(&text);
    }
    let subject = Subject::Hypervisor(Config::Inline(text));
    let mut scenario = Scenario::new(column, Feature::Drives, "linux/shared-drive", subject)
        .needs(Need::PassedFunction)
        .memory_mib(1024)
        .nvme(256)
        .partitions(&[120, 120])
        .sata(256, &[120, 120])
        .virtio_drive(64)
        .expect(
            "hypervisor",
            "00:1f.2 stays with the hypervisor: PCI offers no reset, so its driver resets it",
        )
        .expect("hypervisor", "disk sata: 2 partitions")
        .expect("hypervisor", "disk system: 2 partitions")
        .expect("hypervisor", "disk virtio: virtio block device, serial number bulkhead5");
    let (reaching, said): (&[&str], &[&str]) = if is_apart {
        scenario = scenario.forbid("hypervisor", "for good");
        (&["virtio"], &[": its compartment ended and is made anew: it was killed", ": in ring 3: "])
    } else {
        scenario = scenario.expect("hypervisor", "disk system reads and writes the memory of one itself");
        (&["system", "virtio"], &[])
    };
    for disk in reaching {
        let said = format!("disk {disk} reads and writes the memory of two itself");
        scenario = scenario.expect("hypervisor", &said);
    }
    for (disk, said) in said.iter().flat_map(|said| ["sata", "system"].map(|disk| (disk, said))) {
        scenario = scenario.expect("hypervisor", &format!("disk.{disk}{said}"));
    }
    scenario
        .expect("one", "disk: verified 2 drives")
        .expect("two", "disk: verified 3 drives")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .ends("one", POWER_OFF)
        .ends("two", POWER_OFF)
        .all_as_expected()
        .within(300)
}

/// The same, but the drivers of the NVMe drive and of the SATA disk are in ring 3, and each is ended nine times.
fn with_lost_drivers(text: &str) -> String {
    const REACH: &str = "isolation = \"none\"\n";
    const SATA: &str = "id = \"8086:2922\" }\n";
    assert!(text.contains(REACH) && text.contains(SATA), "the example is another");
    let kills = (1..10).flat_map(|at| {
        [("sata", 6000 * at), ("system", 6000 * at + 3000)]
            .map(|(disk, at_ms)| format!("disk.{disk}@{at_ms}"))
    });
    let kills = kills.collect::<Vec<_>>();
    let text = text
        .replace(REACH, "runs_in = \"ring3\"\n")
        .replace(SATA, &format!("{SATA}runs_in = \"ring3\"\n"))
        .replace(" exits=100,50,75", "");
    format!("[hypervisor]\nkill = {kills:?}\n\n{text}")
}

/// Four guests on a SATA disk, an NVMe drive and a network whose uplink are the hypervisor's, and an
/// interface passed through: each has another model of a drive or of an interface. One is reset in the
/// middle, and two fetch from each other. With AMD's IOMMU the uplink is a virtio interface, and the
/// guest with a part of the NVMe drive is at a network of its own whose uplink is an 82576, and all models are in ring 0.
fn appliance(column: Column) -> Scenario {
    let config = match column {
        Column::SvmAmdVi => Config::Inline([IN_RING_0, &with_other_uplinks()].concat()),
        _ => Config::File("examples/appliance.toml".to_owned()),
    };
    appliance_of(column, "linux/appliance", config)
}

/// The same, but what a guest asks for its own processor does. Of the attacks on functions one column is like that
/// every day.
fn by_guests(column: Column) -> Scenario {
    let text = match column {
        Column::SvmAmdVi => with_other_uplinks(),
        _ => APPLIANCE.to_owned(),
    };
    appliance_of(column, "linux/appliance-by-guests", Config::Inline([BY_GUESTS, &text].concat())).long()
}

const APPLIANCE: &str = include_str!("../../../../examples/appliance.toml");

/// The appliance with a virtio interface as its uplink, and with another network, at which its guest `part` is.
fn with_other_uplinks() -> String {
    let uplink = "uplink = { path = \"00:02.0/00.0\", id = \"8086:10d3\" }";
    assert!(APPLIANCE.contains(uplink), "the example has another uplink");
    let text = APPLIANCE.replace(uplink, &uplink.replace("8086:10d3", "1af4:1041"));
    let (before, part) = text.split_once("[guest.part]").expect("the guest is there");
    let part = part.replacen("network = \"lan\"", "network = \"wan\"", 1);
    format!(
        "{before}[network.wan]\nuplink = {{ path = \"00:05.0/00.0\", id = \"8086:10c9\" }}\n\n[guest.part]{part}"
    )
}

fn appliance_of(column: Column, name: &str, config: Config) -> Scenario {
    let (networks, nics): (&[&str], fn(Machine, u16) -> Machine) = match column {
        Column::SvmAmdVi => (&["lan", "wan"], |machine, port| {
            machine.virtio_net_to(2, port).e1000e_to(4, port).igb_to(5, port)
        }),
        _ => (&["lan"], |machine, port| machine.e1000e_to(2, port).e1000e_to(4, port)),
    };
    let mut scenario = Scenario::new(column, Feature::Networks, name, Subject::Hypervisor(config));
    for said in ["uplink is ", "interface lost 0 frames"] {
        for network in networks {
            scenario = scenario.expect("hypervisor", &format!("network {network}: its {said}"));
        }
    }
    scenario
        .needs(Need::PassedFunction)
        .cpus(5)
        .memory_mib(1792)
        .serves_http_by(nics)
        .nvme(128)
        .partitions(&[60, 60])
        .sata(128, &[60, 60])
        .expect("old", "disk: /dev/sda: verified sha256")
        .expect("old", "net: verified sha256")
        .expect("old", "net: verified what 10.0.9.2 sent")
        .expect("new", "disk: /dev/vda: resets the guest")
        .expect("new", "disk: /dev/vda: verified what an earlier life wrote")
        .expect("new", "disk: /dev/vda: verified sha256")
        .expect("new", "net: verified sha256")
        .expect("new", "net: verified what 10.0.9.1 sent")
        .expect("part", "disk: /dev/nvme0n1: verified sha256")
        .expect("part", "net: verified sha256")
        .expect("direct", "disk: /dev/vda: verified sha256")
        .expect("direct", "net: verified sha256")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .ends("old", POWER_OFF)
        .ends("new", POWER_OFF)
        .ends("part", POWER_OFF)
        .ends("direct", POWER_OFF)
        .all_as_expected()
        .within(300)
}

/// Interfaces that can be an uplink: what each is called, its identity, and how a machine has it.
const UPLINKS: [(&str, &str, fn(Machine, u16) -> Machine); 3] = [
    ("82574", "8086:10d3", |machine, port| machine.e1000e_to(2, port)),
    ("82576", "8086:10c9", |machine, port| machine.igb_to(2, port)),
    ("virtio", "1af4:1041", |machine, port| machine.virtio_net_to(2, port)),
];

/// A guest that fetches a file through an uplink whose driver is in ring 3, and is ended every three seconds. What the
/// interface has at that time is lost, as on a wire.
fn lost_uplink(column: Column, (name, id, nic): (&str, &str, fn(Machine, u16) -> Machine)) -> Scenario {
    let kills: Vec<_> = (1..10).map(|at| format!("network.lan@{}", 3000 * at)).collect();
    let (_, part) = APPLIANCE.split_once("[guest.part]").expect("the guest is there");
    let (part, _) = part.split_once("# And one has").expect("it is not the last");
    let config = format!(
        "[hypervisor]\nkill = {kills:?}\n\n\
         [disk.nvme]\ndevice = {{ path = \"00:03.0\", id = \"1b36:0010\" }}\n\n[network.lan]\n\
         uplink = {{ path = \"00:02.0/00.0\", id = \"{id}\", runs_in = \"ring3\" }}\n\n[guest.part]{part}"
    )
    .replace("cpus = [3]", "cpus = [1]");
    let subject = Subject::Hypervisor(Config::Inline(config));
    Scenario::new(column, Feature::Networks, &format!("linux/lost-uplink-{name}"), subject)
        .needs(Need::PassedFunction)
        .serves_http_by(nic)
        .nvme(128)
        .partitions(&[60, 60])
        .expect("hypervisor", "network.lan: its driver is in ring 3, in a compartment of ")
        .expect("hypervisor", "network lan: its uplink is ")
        .expect("hypervisor", "network.lan: its compartment ended and is made anew: it was killed")
        .expect("hypervisor", " restarts; the last time: it was killed")
        .expect("hypervisor", "network lan: its interface lost ")
        .expect("part", "net: verified sha256")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .forbid("hypervisor", "for good")
        .forbid("hypervisor", "the uplink of network lan failed")
        .ends("part", POWER_OFF)
        .all_as_expected()
        .within(300)
        .long()
}

/// What `cargo hv run` boots: a guest with a passed-through NIC, one with a
/// passed-through drive.
fn two_linux(column: Column) -> Scenario {
    let config = Config::File("examples/two-linux.toml".to_owned());
    both(column, "linux/two", config).steady_without("disk", EXITS_OF_INTERRUPTS)
}

/// The same, but the guest with the drive leaves its interrupts to the hypervisor.
fn mixed(column: Column) -> Scenario {
    let virtually = include_str!("../../../../examples/two-linux.toml")
        .replace("[guest.disk]\n", "[guest.disk]\ninterrupts = \"virtual\"\n");
    both(column, "linux/mixed", Config::Inline(virtually))
}

fn both(column: Column, name: &str, config: Config) -> Scenario {
    Scenario::new(column, Feature::LinuxWithFunctions, name, Subject::Hypervisor(config))
        .needs(Need::PassedFunction)
        .memory_mib(1536)
        .serves_http()
        .nvme(256)
        .expect("net", "net: verified sha256")
        .expect("disk", "disk: /dev/nvme0n1: verified sha256")
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked")
        .ends("net", POWER_OFF)
        .ends("disk", POWER_OFF)
        .steady_without("net", EXITS_OF_INTERRUPTS)
        .all_as_expected()
        .within(300)
}
