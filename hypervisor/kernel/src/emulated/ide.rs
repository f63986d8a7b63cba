//! An emulated IDE controller: its primary master is the drive, the primary slave the second one where
//! there is to be one, and nothing else is there.

use super::contents::{Contents, serial_number};
use super::place::{Owner, place};
use alloc::format;
use alloc::string::String;
use devices::ide::{BUS_MASTER, CHANNEL_STRIDE, COMMAND, CONTROL, Disk};
use devices::nvme::BlockSize;
use devices::{Blueprint, Endpoint};
use guest::layout::IDE_GSIS;
use plan::Model;
use spec::Width;
use vpci::{Conventional, EmulatedFunction, Identity, OwnRegister, PortWindow, Slot};

/// The function of Intel's PIIX4 in compatibility mode with a bus master, which old and new systems
/// have a driver of their own for (82371AB data sheet, section 5).
const FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x8086, device: 0x7111, class: 0x01_0180, revision: 1 },
    bars: &[PortWindow { place: 4, ports: 16, at: BUS_MASTER }],
    fixed: &[
        PortWindow { place: 0x1f0, ports: 8, at: COMMAND },
        PortWindow { place: 0x3f6, ports: 1, at: CONTROL },
        PortWindow { place: 0x170, ports: 8, at: COMMAND + CHANNEL_STRIDE },
        PortWindow { place: 0x376, ports: 1, at: CONTROL + CHANNEL_STRIDE },
    ],
    has_pin: false,
    registers: &[
        // IDETIM of each channel: it is decoded, which stays so; timings are for the driver to keep.
        OwnRegister { offset: 0x40, width: Width::Word, value: 1 << 15, writable: 0x73ff },
        OwnRegister { offset: 0x42, width: Width::Word, value: 1 << 15, writable: 0x73ff },
        // SIDETIM, UDMACTL and UDMATIM: timings.
        OwnRegister { offset: 0x44, width: Width::Byte, value: 0, writable: 0xff },
        OwnRegister { offset: 0x48, width: Width::Byte, value: 0, writable: 0x0f },
        OwnRegister { offset: 0x4a, width: Width::Word, value: 0, writable: 0x3333 },
    ],
};
const SECTOR_BYTES: u64 = 512;
const _: () = assert!(Model::Ide.has_ports() && Model::Ide.bar_bytes() == 16);

/// The function, and what is behind it.
///
/// # Errors
/// A sentence about a drive whose blocks no IDE disk has, or about where the model cannot run.
pub fn build(
    owner: Owner<'_>,
    drive: Contents,
    second: Option<Contents>,
) -> Result<(EmulatedFunction, Endpoint), String> {
    let slot = owner.slot;
    let master = disk(&drive, 0, serial_number(slot, ""), slot)?;
    // The slave's medium is behind the master's.
    let start = master.sectors.saturating_mul(SECTOR_BYTES);
    let slave =
        second.as_ref().map(|second| disk(second, start, serial_number(slot, "-2"), slot)).transpose()?;
    let device = place(owner, Blueprint::Ide([[Some(master), slave], [None; 2]]))?;
    let endpoint = Endpoint::with_lines(device, drive.backend, IDE_GSIS.map(Some));
    let endpoint = match second {
        Some(second) => endpoint.with_second(start, second.backend),
        None => endpoint,
    };
    Ok((EmulatedFunction::conventional(&FUNCTION), endpoint))
}

fn disk(drive: &Contents, start: u64, serial: [u8; 20], slot: Slot) -> Result<Disk, String> {
    if drive.block != BlockSize::Bytes512 {
        return Err(format!("{slot}: {} has blocks of 4096 bytes, and IDE disks have 512", drive.what));
    }
    Ok(Disk { start, sectors: drive.blocks, serial })
}
