//! One bundle through every entry point, and bundles that are damaged.

use super::{EDU, EDU_PATH, Guest, NOT_STARTED, POWER_OFF, config, hosted, lab_machine, no_failure};
use crate::column::Column;
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::scenario::{ImageKind, Scenario, Subject};
use crate::screen::Screen;
use sha2::{Digest, Sha256};

/// All of them; on Bochs the one entry point that it has.
pub fn on(column: Column) -> Vec<Scenario> {
    match column {
        Column::SvmVtd => {}
        Column::VmxBochs => return vec![from_image(column, "bios", ImageKind::Bios)],
        Column::SvmAmdVi | Column::VmxVtd => return Vec::new(),
    }
    let kinds = [
        ("bios", ImageKind::Bios),
        ("uefi", ImageKind::Uefi),
        ("pxe", ImageKind::Pxe),
        ("iso", ImageKind::Iso),
    ];
    let mut list: Vec<_> = kinds.into_iter().map(|(name, kind)| from_image(column, name, kind)).collect();
    list.push(damaged("truncated-bundle", |bundle| bundle.truncate(bundle.len() / 2)));
    list.push(damaged("empty-bundle", Vec::clear));
    list.push(damaged("corrupt-kernel", |bundle| flip(bundle, |bytes| bytes * 3 / 4)));
    list.push(damaged("corrupt-header", |bundle| flip(bundle, |_| 5)));
    list.push(forged_image());
    list
}

/// Ends like `-kernel`, which every other scenario boots by.
fn from_image(column: Column, name: &str, kind: ImageKind) -> Scenario {
    let (test, done) = if column.passes_functions() { ("msi", "msi: done") } else { ("ipi", "ipi: done") };
    let two = Guest::new("two", &[2, 3], test).passes_on(column, "01.0", EDU_PATH, EDU);
    if kind == ImageKind::Iso {
        return displayed(column, two, done);
    }
    let subject = Subject::Image(kind, config(&[Guest::new("one", &[1], "hello"), two]));
    no_failure(Scenario::new(column, Feature::Boots, &format!("boot/{name}"), subject))
        .on(|machine| lab_machine(machine.vga()))
        .expect("one", "hello, world")
        .expect("two", done)
        .ends("one", POWER_OFF)
        .ends("two", POWER_OFF)
        .all_as_expected()
        .within(120)
}

/// By GRUB, which gives a screen: beside `two`, that says `done`, is Linux with a display, which shows text,
/// then what its driver of the display draws; then the screen shows the log again.
fn displayed(column: Column, two: Guest, done: &str) -> Scenario {
    let display = Guest::new("display", &[1], "console=tty0 console=ttyS0 panic=-1")
        .set("memory", "\"256 MiB\"")
        .set("kernel", "\"vmlinuz\"")
        .set("initrd", "\"display.cpio\"")
        .emulates("03.0", "bochs-display");
    let subject = Subject::Image(ImageKind::Iso, config(&[display, two]));
    no_failure(Scenario::new(column, Feature::Boots, "boot/iso", subject))
        .on(|machine| lab_machine(machine.vga()))
        .types("display", "display: text is shown", b"\x14d")
        .sees("hypervisor", "the screen shows what display shows", Screen::is_text_on_blue, b"\r")
        .sees("display", "dots is shown by bochs-drm", Screen::is_in_thirds, b"\x14d")
        .sees("hypervisor", "the screen shows the log", Screen::is_log, b"\r")
        .expect("display", "Console: colour VGA+ 80x25")
        .expect("display", "display: a picture of")
        .expect("hypervisor", "the screen shows the log")
        .expect("two", done)
        .forbid("display", "FAILED")
        .ends("display", POWER_OFF)
        .ends("two", POWER_OFF)
        .all_as_expected()
        .within(180)
}

/// The hypervisor must say that its bundle is not in order, start nothing of it, and
/// not panic.
fn damaged(name: &str, damage: fn(&mut Vec<u8>)) -> Scenario {
    let guest = Guest::new("one", &[1], "hello");
    let subject = Subject::Hypervisor(config(&[guest]));
    Scenario::new(Column::SvmVtd, Feature::Boots, &format!("boot/{name}"), subject)
        .on(lab_machine)
        .damage(damage)
        .expect(HYPERVISOR, "bundle")
        .forbid("one", "hello, world")
        .forbid(HYPERVISOR, "panicked")
        .may_run_on()
        .within(30)
}

/// A guest's start image names a place where it has no memory, and all hashes are right: the guest is
/// refused, and its neighbour is not.
fn forged_image() -> Scenario {
    let guests = [
        Guest::new("one", &[1], "hello").set("expect", "\"refused\""),
        Guest::new("two", &[2], "neighbour seconds=2"),
    ];
    hosted(Column::SvmVtd, Feature::Boots, "boot/forged-image", &guests)
        .damage(|bundle| forge(bundle).expect("a bundle with a start image"))
        .expect(
            HYPERVISOR,
            "one: does not start: its start image is damaged: piece 0 has a place where its guest has no",
        )
        .expect("two", "neighbour: unharmed")
        .forbid("one", "hello, world")
        .ends("one", NOT_STARTED)
        .ends("two", POWER_OFF)
}

/// Moves the first piece of the first start image to 1 TiB, and makes the hashes right again.
fn forge(bundle: &mut [u8]) -> Option<()> {
    /// Number of the kind, and words before an image's pieces.
    const START: u32 = 7;
    const HEADER_WORDS: usize = 42;
    let word =
        |bundle: &[u8], at: usize| Some(u64::from_le_bytes(*bundle.get(at..)?.first_chunk()?) as usize);
    let table_end = word(bundle, 16)?;
    let mut entry = 64;
    while word(bundle, entry)? as u32 != START {
        // The lengths of two names follow the kind.
        let names = word(bundle, entry)?.to_le_bytes();
        let [_, _, _, _, guest, guest_high, name, name_high] = names;
        let lengths = u16::from_le_bytes([guest, guest_high]) + u16::from_le_bytes([name, name_high]);
        entry += (56 + usize::from(lengths)).next_multiple_of(8);
    }
    let (start, bytes) = (word(bundle, entry + 8)?, word(bundle, entry + 16)?);
    bundle
        .get_mut(start + 8 * HEADER_WORDS..)?
        .first_chunk_mut()
        .map(|gpa| *gpa = (1_u64 << 40).to_le_bytes())?;
    let hash = Sha256::digest(bundle.get(start..start + bytes)?);
    bundle.get_mut(entry + 24..entry + 56)?.copy_from_slice(&hash);
    bundle.get_mut(32..64)?.fill(0);
    let hash = Sha256::digest(bundle.get(..table_end)?);
    bundle.get_mut(32..64)?.copy_from_slice(&hash);
    Some(())
}

/// Turns a bit over in the byte that `place` finds for the bundle's length.
fn flip(bundle: &mut [u8], place: fn(usize) -> usize) {
    let at = place(bundle.len());
    if let Some(byte) = bundle.get_mut(at) {
        *byte ^= 0x10;
    }
}
