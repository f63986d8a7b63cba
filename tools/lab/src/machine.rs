//! A QEMU command line under construction.

use crate::late::Late;
use crate::qemu::Qemu;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The machine's IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Iommu {
    /// VT-d with DMA and interrupt remapping, a device TLB, caching mode, 48 bits.
    #[default]
    Intel,
    /// AMD-Vi with DMA and MSI remapping. QEMU's default would let DMA through
    /// untranslated (`pt=on`).
    Amd,
    /// None.
    None,
}

/// What the machine starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Boot {
    /// An ELF by its multiboot header or PVH note.
    Kernel {
        /// The ELF.
        elf: PathBuf,
        /// Ramdisk: the bundle.
        initrd: Option<PathBuf>,
        /// Command line.
        command_line: String,
    },
    /// A raw disk image by SeaBIOS.
    Bios(PathBuf),
    /// A raw disk image by OVMF.
    Uefi {
        /// The image.
        image: PathBuf,
        /// OVMF's code.
        code: PathBuf,
        /// OVMF's variables; written to a private copy.
        variables: PathBuf,
    },
    /// A CD image by SeaBIOS.
    Cdrom(PathBuf),
    /// PXE by SeaBIOS from a folder served over TFTP.
    Pxe {
        /// The folder.
        folder: PathBuf,
        /// Name of the boot file in it.
        file: String,
    },
}

/// The serial port that the console is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Serial {
    /// COM1.
    Com1,
    /// COM2; the firmware's table says so (SPCR), and nobody reads COM1.
    NamedCom2,
    /// A PCI card at 00:`slot`.0; nobody reads COM1.
    Card(u8),
}

/// How a machine's processors and clock run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// One host thread per processor.
    Threads,
    /// One nanosecond per instruction, the same in every run.
    Icount,
    /// KVM with the host's processor model.
    Kvm,
}

/// A machine to emulate. [`Machine::everyday`] is the one that tests run on; the
/// methods change it.
#[derive(Clone, Debug)]
pub struct Machine {
    qemu: Qemu,
    cpus: u32,
    cpu_model: String,
    memory_mib: u32,
    iommu: Iommu,
    pace: Pace,
    machine_options: String,
    boot: Boot,
    serial: Serial,
    extra: Vec<OsString>,
}

impl Machine {
    /// The everyday machine: q35, AMD-V with nested paging, x2APIC where QEMU emulates
    /// it, VT-d, 2 processors, 1 GiB; no devices but the chipset's, no display.
    pub fn everyday(qemu: &Qemu, boot: Boot) -> Self {
        let x2apic = if qemu.version() < WITH_X2APIC { "" } else { ",+x2apic" };
        Self {
            qemu: qemu.clone(),
            cpus: 2,
            cpu_model: format!("EPYC,+svm,+npt{x2apic}"),
            memory_mib: 1024,
            iommu: Iommu::Intel,
            pace: Pace::Threads,
            machine_options: String::new(),
            boot,
            serial: Serial::Com1,
            extra: Vec::new(),
        }
    }

    /// Number of processors.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The processor model and its flags, as `-cpu` takes them.
    pub fn cpu_model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.cpu_model);
        self
    }

    /// The IOMMU.
    pub fn iommu(mut self, iommu: Iommu) -> Self {
        self.iommu = iommu;
        self
    }

    /// Counts instructions instead of time: one nanosecond each, a fixed date, fixed
    /// randomness. Two runs are identical, TSC values included.
    pub fn icount(mut self) -> Self {
        self.pace = Pace::Icount;
        self
    }

    /// Runs under KVM with the host's processor, for hosts with nested virtualisation.
    pub fn kvm(mut self) -> Self {
        self.pace = Pace::Kvm;
        "host".clone_into(&mut self.cpu_model);
        self
    }

    /// Adds to `-machine`, as in `pit=off,hpet=off`.
    pub fn machine_options(mut self, options: &str) -> Self {
        self.machine_options.push(',');
        self.machine_options.push_str(options);
        self
    }

    /// Starts with something else.
    pub fn boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// The console is at COM2, as the firmware's SPCR says; COM1 is there, and nobody reads it.
    pub fn console_at_com2(mut self) -> Self {
        self.serial = Serial::NamedCom2;
        self
    }

    /// The console is at a PCI serial card, 1b36:0002, at 00:`slot`.0; COM1 is there, and nobody
    /// reads it.
    pub fn console_at_card(mut self, slot: u8) -> Self {
        self.serial = Serial::Card(slot);
        self
    }

    /// What connects the console to the character device `chardev`; a table of the firmware's is
    /// written into `folder`.
    pub(crate) fn serial_arguments(&self, chardev: &str, folder: &Path) -> std::io::Result<Vec<OsString>> {
        let mut list = Arguments::default();
        let connected = format!("chardev:{chardev}");
        match self.serial {
            Serial::Com1 => list.pair("-serial", connected),
            Serial::NamedCom2 => {
                let path = folder.join("spcr");
                std::fs::write(&path, spcr_of_com2())?;
                let mut table = OsString::from("sig=SPCR,rev=2,data=");
                table.push(escaped(&path));
                list.pair("-serial", "null").pair("-serial", connected).pair("-acpitable", table)
            }
            Serial::Card(slot) => list
                .pair("-serial", "null")
                .pair("-device", format!("pci-serial,chardev={chardev},addr={slot:x}")),
        };
        Ok(list.0)
    }

    /// Adds any argument.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.extra.push(argument.into());
        self
    }

    /// Adds `-device`, as in `edu,addr=4`.
    pub fn device(self, device: &str) -> Self {
        self.argument("-device").argument(device)
    }

    /// A root port at 00:`slot`.0, `port` and the slot in hexadecimal by name: what is
    /// alone behind it is reset by a reset of its bus, whether or not it has one of its
    /// own.
    pub fn root_port(self, slot: u8) -> Self {
        self.device(&format!("pcie-root-port,id=port{slot:x},chassis={slot},addr={slot:x}"))
    }

    /// An 82574L (MSI-X) on a NAT network of its own, where 10.0.2.2 is the host's
    /// loopback; at 00:`slot`.0/00.0, for it has no FLR and keeps its state in D3hot.
    pub fn e1000e(self, slot: u8) -> Self {
        self.behind_port("e1000e", slot, "")
    }

    /// The same, and DHCP tells the guest by its boot file's name that the payload is
    /// served at this TCP port of the host.
    pub fn e1000e_to(self, slot: u8, port: u16) -> Self {
        self.behind_port("e1000e", slot, &format!(",bootfile=http://10.0.2.2:{port}/payload"))
    }

    /// A virtio NIC that goes through the IOMMU, with a network as [`Machine::e1000e_to`] makes it; at
    /// 00:`slot`.0/00.0, for it has an FLR only behind a port.
    pub fn virtio_net_to(self, slot: u8, port: u16) -> Self {
        let model = "virtio-net-pci,iommu_platform=on,disable-legacy=on";
        self.behind_port(model, slot, &format!(",bootfile=http://10.0.2.2:{port}/payload"))
    }

    /// The same, but an 82576, whose virtual functions are off.
    pub fn igb_to(self, slot: u8, port: u16) -> Self {
        self.behind_port("igb", slot, &format!(",bootfile=http://10.0.2.2:{port}/payload"))
    }

    fn behind_port(self, model: &str, slot: u8, network: &str) -> Self {
        self.root_port(slot)
            .argument("-netdev")
            .argument(format!("user,id=net{slot:x}{network}"))
            .device(&format!("{model},netdev=net{slot:x},bus=port{slot:x},addr=0"))
    }

    /// A virtio NIC at 00:`slot`.0 on a NAT network of its own.
    pub fn virtio_net(self, slot: u8) -> Self {
        self.network(slot, "virtio-net-pci", ",iommu_platform=on,disable-legacy=on")
    }

    /// NIC of `model` with more `properties` (each after a comma) at 00:`slot`.0.
    pub fn network(self, slot: u8, model: &str, properties: &str) -> Self {
        self.argument("-netdev")
            .argument(format!("user,id=net{slot:x}"))
            .device(&format!("{model},netdev=net{slot:x},addr={slot:x}{properties}"))
    }

    /// QEMU's teaching device at 00:`slot`.0/00.0, for it has no reset of its own: a DMA
    /// engine that takes any address (it would mask them to 28 bits by default), an
    /// interrupt by MSI or INTx.
    pub fn edu(self, slot: u8) -> Self {
        self.root_port(slot).device(&format!("edu,bus=port{slot:x},addr=0,{EDU_DMA}"))
    }

    /// The same at 00:`slot`.0, for a guest that has the whole machine.
    pub fn edu_on_root_bus(self, slot: u8) -> Self {
        self.device(&format!("edu,addr={slot:x},{EDU_DMA}"))
    }

    /// An 82540EM, which has no MSI, with a network as [`Machine::e1000e_to`] makes it; at
    /// 00:`slot`.0/01.0, alone behind a PCI bridge that can reset it.
    pub fn e1000_to(self, slot: u8, port: u16) -> Self {
        self.device(&format!("pcie-pci-bridge,id=bridge{slot:x},addr={slot:x}"))
            .argument("-netdev")
            // No boot ROM: an emulator that is unpacked beside another lacks its files.
            .argument(format!("user,id=net{slot:x},bootfile=http://10.0.2.2:{port}/payload"))
            .device(&format!("e1000,netdev=net{slot:x},bus=bridge{slot:x},addr=1,romfile="))
    }

    /// A PCI bridge at 00:`slot`.0 with an e1000 and an rtl8139 behind it, which the
    /// IOMMU cannot tell apart.
    pub fn legacy_bridge(self, slot: u8) -> Self {
        self.device(&format!("pcie-pci-bridge,id=bridge{slot:x},addr={slot:x}"))
            .device(&format!("e1000,bus=bridge{slot:x},addr=1,romfile="))
            .device(&format!("rtl8139,bus=bridge{slot:x},addr=2"))
    }

    /// So many `edu` behind a bridge to conventional PCI, at 00:`slot`.0/01.0 and on.
    pub fn edu_behind_a_bridge(self, slot: u8, count: u8) -> Self {
        let bridge = self.device(&format!("pcie-pci-bridge,id=bridge{slot:x},addr={slot:x}"));
        (1..=count).fold(bridge, |machine, place| {
            machine.device(&format!("edu,bus=bridge{slot:x},addr={place:x},{EDU_DMA}"))
        })
    }

    /// So many `edu`, each behind a port of a switch, which QEMU gives no access control services:
    /// at 00:`slot`.0/00.0/00.0/00.0, 00:`slot`.0/00.0/01.0/00.0 and on.
    pub fn edu_behind_a_switch(self, slot: u8, count: u8) -> Self {
        let above = self.root_port(slot).device(&format!("x3130-upstream,id=up{slot:x},bus=port{slot:x}"));
        (0..count).fold(above, |machine, place| {
            let port = format!("down{slot:x}{place:x}");
            let chassis = 0x40 + place;
            machine
                .device(&format!(
                    "xio3130-downstream,id={port},bus=up{slot:x},chassis={chassis},addr={place:x}"
                ))
                .device(&format!("edu,bus={port},addr=0,{EDU_DMA}"))
        })
    }

    /// A VGA adapter at 00:01.0, for the framebuffer and for `bootloader`'s BIOS image.
    pub fn vga(self) -> Self {
        self.device("VGA,addr=1")
    }

    /// Shows the display over VNC at 127.0.0.1, TCP port 5900 + `display`.
    pub fn vnc(self, display: u16) -> Self {
        self.argument("-vnc").argument(format!("127.0.0.1:{display}"))
    }

    /// The emulator that will run it.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The command line, but for the channels that [`Machine::start`] adds. Private
    /// copies are expected in `folder`.
    ///
    /// [`Machine::start`]: crate::running
    pub fn arguments(&self, folder: &Path) -> Vec<OsString> {
        let mut list = Arguments::default();
        for folder in self.qemu.firmware() {
            list.pair("-L", folder);
        }
        list.pair("-machine", self.machine_argument());
        self.pace_arguments(&mut list);
        list.pair("-cpu", &self.cpu_model);
        list.pair("-smp", self.cpus.to_string());
        list.pair("-m", format!("{}M", self.memory_mib));
        list.one("-nodefaults").one("-no-reboot").pair("-display", "none");
        // Devices find their IOMMU only if it stands before them.
        match self.iommu {
            Iommu::Intel => list
                .pair("-device", "intel-iommu,intremap=on,eim=on,caching-mode=on,device-iotlb=on,aw-bits=48"),
            Iommu::Amd => {
                let xtsup = if self.qemu.version() < WITH_XTSUP { "" } else { ",xtsup=on" };
                list.pair("-device", format!("amd-iommu,intremap=on,pt=off{xtsup}"))
            }
            Iommu::None => &mut list,
        };
        self.boot_arguments(&mut list, folder);
        let late = self.late();
        let is_late = |argument: &OsString| argument.to_str().is_some_and(|device| late.has(device));
        for (place, argument) in self.extra.iter().enumerate() {
            let follows = |other: Option<&OsString>| other.is_some_and(is_late);
            if argument == "-device" && follows(self.extra.get(place + 1)) || is_late(argument) {
                continue;
            }
            list.one(argument);
        }
        if !late.is_empty() {
            list.one("-S");
        }
        list.0
    }

    /// What is plugged once the machine is there and before it runs.
    pub(crate) fn late(&self) -> Late {
        match self.iommu {
            Iommu::Amd => {
                let pairs =
                    self.extra.windows(2).filter(|pair| matches!(pair, [first, _] if first == "-device"));
                Late::take(pairs.filter_map(|pair| pair.get(1)?.to_str()))
            }
            Iommu::Intel | Iommu::None => Late::default(),
        }
    }

    fn machine_argument(&self) -> String {
        // With KVM the split chip keeps the IOAPIC where interrupt remapping sees it.
        format!("q35,kernel-irqchip=split{}", self.machine_options)
    }

    fn pace_arguments(&self, list: &mut Arguments) {
        match self.pace {
            Pace::Threads => list.pair("-accel", "tcg,thread=multi"),
            Pace::Icount => list
                .pair("-accel", "tcg")
                .pair("-icount", "shift=0,sleep=off")
                .pair("-rtc", "base=2026-01-01,clock=vm")
                .pair("-seed", "42"),
            Pace::Kvm => list.pair("-accel", "kvm"),
        };
    }

    fn boot_arguments(&self, list: &mut Arguments, folder: &Path) {
        match &self.boot {
            Boot::Kernel { elf, initrd, command_line } => {
                list.pair("-kernel", elf);
                if let Some(initrd) = initrd {
                    list.pair("-initrd", escaped(initrd));
                }
                if !command_line.is_empty() {
                    list.pair("-append", command_line);
                }
            }
            Boot::Bios(image) => drop(list.pair("-drive", raw_disk(image))),
            Boot::Uefi { image, code, .. } => {
                let mut flash = OsString::from("if=pflash,unit=0,format=raw,readonly=on,file=");
                flash.push(escaped(code));
                list.pair("-drive", flash);
                let mut flash = OsString::from("if=pflash,unit=1,format=raw,file=");
                flash.push(escaped(&folder.join(VARIABLES)));
                list.pair("-drive", flash);
                list.pair("-drive", raw_disk(image));
            }
            Boot::Cdrom(image) => drop(list.pair("-cdrom", image).pair("-boot", "d")),
            Boot::Pxe { folder, file } => {
                let mut network = OsString::from("user,id=pxe,tftp=");
                network.push(escaped(folder));
                network.push(format!(",bootfile={file}"));
                list.pair("-netdev", network).pair("-boot", "n");
                // A slot that no scenario hands to a guest.
                list.pair("-device", "virtio-net-pci,netdev=pxe,addr=1e");
            }
        }
    }

    pub(crate) fn variables(&self) -> Option<&Path> {
        match &self.boot {
            Boot::Uefi { variables, .. } => Some(variables),
            _ => None,
        }
    }
}

/// The first release whose TCG has an x2APIC.
const WITH_X2APIC: (u32, u32) = (9, 0);
/// The first release whose AMD-Vi sends interrupts to x2APIC IDs.
const WITH_XTSUP: (u32, u32) = (10, 0);

/// Name of the private copy of OVMF's variables in a run's folder.
pub(crate) const VARIABLES: &str = "variables.fd";

/// `edu` with all of the address space.
const EDU_DMA: &str = "dma_mask=0xffffffffffffffff";

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn one(&mut self, argument: impl Into<OsString>) -> &mut Self {
        self.0.push(argument.into());
        self
    }
    fn pair(&mut self, option: &str, value: impl Into<OsString>) -> &mut Self {
        self.one(option).one(value)
    }
}

fn raw_disk(image: &Path) -> OsString {
    let mut drive = OsString::from("format=raw,snapshot=on,file=");
    drive.push(escaped(image));
    drive
}

/// A path inside a list of options: QEMU takes two commas for one.
pub(crate) fn escaped(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.into(),
    }
}

/// A console redirection table without its header (Microsoft, "SPCR", revision 2): a 16550 at
/// COM2, ISA interrupt 3 at both controllers, 115200 baud, of no PCI function.
fn spcr_of_com2() -> Vec<u8> {
    const HEADER: usize = 36;
    const BYTES: usize = 80;
    let fields: [(usize, &[u8]); 4] =
        [(40, &[1, 8, 0, 1, 0xf8, 2]), (52, &[3, 3, 3]), (58, &[7, 0, 1]), (64, &[0xff; 4])];
    let mut table = vec![0; BYTES - HEADER];
    for (offset, bytes) in fields {
        let start = offset - HEADER;
        table.splice(start..start + bytes.len(), bytes.iter().copied());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(machine: &Machine) -> String {
        let list = machine.arguments(Path::new("/run"));
        list.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn everyday() -> Machine {
        let boot =
            Boot::Kernel { elf: "hv.elf".into(), initrd: Some("a,b".into()), command_line: String::new() };
        Machine::everyday(&Qemu::imaginary(), boot)
    }

    #[test]
    fn the_iommu_stands_before_every_device() {
        let machine = everyday();
        let text = text(&machine.e1000e(2).edu(4).legacy_bridge(6));
        let iommu = text.find("intel-iommu").unwrap();
        assert!(iommu < text.find("e1000e").unwrap(), "{text}");
        assert!(text.contains("e1000e,netdev=net2,bus=port2,addr=0"), "{text}");
        assert!(text.contains("rtl8139,bus=bridge6,addr=2"), "{text}");
    }

    #[test]
    fn the_oldest_nic_is_alone_behind_its_bridge() {
        let text = text(&everyday().e1000_to(6, 80));
        let bridge = text.find("pcie-pci-bridge,id=bridge6,addr=6").unwrap();
        assert!(bridge < text.find("e1000,netdev=net6,bus=bridge6,addr=1,romfile=").unwrap(), "{text}");
        assert!(text.contains("user,id=net6,bootfile=http://10.0.2.2:80/payload"), "{text}");
    }

    #[test]
    fn a_device_without_a_reset_stands_behind_its_port() {
        let machine = everyday();
        let text = text(&machine.e1000e_to(0x1a, 80).edu(4));
        let port = text.find("pcie-root-port,id=port1a,chassis=26,addr=1a").unwrap();
        assert!(port < text.find("bus=port1a,addr=0").unwrap(), "{text}");
        assert!(text.contains("pcie-root-port,id=port4,chassis=4,addr=4"), "{text}");
        assert!(text.contains("edu,bus=port4,addr=0,"), "{text}");
    }

    #[test]
    fn an_old_emulator_is_not_asked_for_what_it_lacks() {
        let new = text(&everyday().iommu(Iommu::Amd));
        assert!(new.contains("amd-iommu,intremap=on,pt=off,xtsup=on") && new.contains("+x2apic"), "{new}");
        let boot = Boot::Bios("disk".into());
        let old = text(&Machine::everyday(&Qemu::imaginary_of((7, 2)), boot).iommu(Iommu::Amd));
        assert!(old.contains("amd-iommu,intremap=on,pt=off ") && !old.contains("x2apic"), "{old}");
    }

    #[test]
    fn amd_vi_gets_what_is_behind_a_port_late() {
        let machine = everyday().edu(4).nvme(3, Path::new("/disk"), false);
        assert!(text(&machine).contains("-device edu,bus=port4") && !text(&machine).contains(" -S"));
        let late = text(&machine.iommu(Iommu::Amd));
        assert!(late.contains("-device pcie-root-port,id=port4") && late.ends_with(" -S"), "{late}");
        assert!(late.contains("-device nvme") && !late.contains("edu"), "{late}");
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let machine = everyday();
        let text = text(&machine.nvme(3, Path::new("/x,y/disk"), false));
        assert!(text.contains("-initrd a,,b"), "{text}");
        assert!(text.contains("file=/x,,y/disk"), "{text}");
    }

    #[test]
    fn icount_fixes_clock_and_randomness() {
        let machine = everyday();
        let text = text(&machine.icount());
        assert!(text.contains("-accel tcg -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm -seed 42"));
        assert!(!text.contains("thread=multi"));
    }
}
