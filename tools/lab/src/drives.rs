//! The drives of a QEMU machine, and what they lie on.

use crate::machine::{Machine, escaped};
use crate::scenario::Scenario;
use std::ffi::OsString;
use std::path::Path;

impl Scenario {
    /// Adds a virtio drive with an empty disk of this size at 00:05.0/00.0.
    pub fn virtio_drive(mut self, mib: u64) -> Self {
        self.virtio_mib = Some(mib);
        self
    }
}

impl Machine {
    /// A virtio drive that goes through the IOMMU, over the raw image `image`, whose contents are not kept;
    /// at 00:`slot`.0/00.0, for it has an FLR only behind a port.
    pub fn virtio_blk(self, slot: u8, image: &Path) -> Self {
        let mut drive = OsString::from(format!("if=none,id=virtio{slot:x},format=raw,snapshot=on,file="));
        drive.push(escaped(image));
        self.root_port(slot).argument("-drive").argument(drive).device(&format!(
            "virtio-blk-pci,iommu_platform=on,disable-legacy=on,serial=bulkhead{slot:x},drive=virtio{slot:x},\
             bus=port{slot:x},addr=0"
        ))
    }

    /// An NVMe drive at 00:`slot`.0 over the raw image `image`, whose contents are
    /// kept only with `keep`.
    pub fn nvme(self, slot: u8, image: &Path, keep: bool) -> Self {
        let snapshot = if keep { "off" } else { "on" };
        let mut drive =
            OsString::from(format!("if=none,id=nvme{slot:x},format=raw,snapshot={snapshot},file="));
        drive.push(escaped(image));
        self.argument("-drive")
            .argument(drive)
            .device(&format!("nvme,serial=bulkhead{slot:x},drive=nvme{slot:x},addr={slot:x}"))
    }

    /// A SATA disk over the raw image `image` at port `port` (0 to 5) of the chipset's AHCI adapter,
    /// 00:1f.2. Its contents are kept only with `keep`.
    pub fn sata(self, port: u8, image: &Path, keep: bool) -> Self {
        let snapshot = if keep { "off" } else { "on" };
        let mut drive = OsString::from(format!("if=none,id=sata{port},format=raw,snapshot={snapshot},file="));
        drive.push(escaped(image));
        self.argument("-drive")
            .argument(drive)
            .device(&format!("ide-hd,serial=bulkhead{port},drive=sata{port},bus=ide.{port}"))
    }

    /// A CD drive without a CD, at a port of that adapter.
    pub fn sata_cd(self, port: u8) -> Self {
        self.device(&format!("ide-cd,bus=ide.{port}"))
    }

    /// The block node `node`, which is the raw image `image` and keeps its contents, and has each
    /// request for it written to the log `log`, a file that is there. What is on the host's disk after
    /// a crash of the host is nobody's business here.
    pub fn logged_node(self, node: &str, image: &Path, log: &Path) -> Self {
        let file = |name: &str, path: &Path| {
            let mut text = OsString::from(format!(
                "driver=raw,node-name={name},file.driver=file,file.cache.no-flush=on,file.filename="
            ));
            text.push(escaped(path));
            text
        };
        let (data, writes) = (format!("{node}-data"), format!("{node}-writes"));
        self.argument("-blockdev")
            .argument(file(&data, image))
            .argument("-blockdev")
            .argument(file(&writes, log))
            .argument("-blockdev")
            .argument(format!(
                "driver=blklogwrites,node-name={node},file={data},log={writes},log-super-update-interval=1"
            ))
    }

    /// An NVMe drive at 00:`slot`.0 over a block node.
    pub fn nvme_on(self, slot: u8, node: &str) -> Self {
        self.device(&format!("nvme,serial=bulkhead{slot:x},drive={node},addr={slot:x}"))
    }

    /// A SATA disk over a block node at a port of the chipset's adapter.
    pub fn sata_on(self, port: u8, node: &str) -> Self {
        self.device(&format!("ide-hd,serial=bulkhead{port},drive={node},bus=ide.{port}"))
    }

    /// The block node `node` of 64 MiB, which keeps nothing and reads as zeros: sector 2048 can never be
    /// read, and sector 4096 not be written the first time.
    pub fn failing_node(self, node: &str) -> Self {
        let rule = |number: u32, iotype: &str, sector: u32, once: &str| {
            let key = format!("inject-error.{number}");
            format!(
                ",{key}.event=none,{key}.iotype={iotype},{key}.sector={sector},{key}.errno=5,{key}.once={once}"
            )
        };
        let rules = rule(0, "read", 2048, "off") + &rule(1, "write", 4096, "on");
        self.argument("-blockdev")
            .argument(format!("driver=blkdebug,node-name={node},{}{rules}", empty("image")))
    }

    /// The same without faults, and `group` of QEMU's object model says how slow it is.
    pub fn slow_node(self, node: &str, group: &str) -> Self {
        self.argument("-object")
            .argument(format!("throttle-group,id={group}"))
            .argument("-blockdev")
            .argument(format!("driver=throttle,node-name={node},throttle-group={group},{}", empty("file")))
    }

    /// An NVMe drive at 00:`slot`.0/00.0 that keeps nothing. Its slot can lose its power: that is the
    /// port's own affair, not the firmware's.
    pub fn nvme_to_pull(self, slot: u8) -> Self {
        let node = format!("pulled{slot:x}");
        self.argument("-global")
            .argument("ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
            .argument("-blockdev")
            .argument(format!("driver=raw,node-name={node},{}", empty("file")))
            .root_port(slot)
            .device(&format!("nvme,serial=pulled,drive={node},bus=port{slot:x},addr=0"))
    }
}

/// A child node of 64 MiB that keeps nothing.
fn empty(child: &str) -> String {
    format!("{child}.driver=null-co,{child}.size=67108864,{child}.read-zeroes=on")
}
