//! The drives of a QEMU machine, and what they lie on.

use crate::machine::{Machine, escaped};
use std::ffi::OsString;
use std::path::Path;

impl Machine {
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
}
