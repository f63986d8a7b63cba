//! One bundle through every entry point, and bundles that are damaged.

use super::{EDU, EDU_PATH, Guest, POWER_OFF, config, lab_machine, no_failure};
use crate::column::Column;
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::scenario::{ImageKind, Scenario, Subject};

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
    list
}

/// Ends like `-kernel`, which every other scenario boots by.
fn from_image(column: Column, name: &str, kind: ImageKind) -> Scenario {
    let (test, done) = if column.passes_functions() { ("msi", "msi: done") } else { ("ipi", "ipi: done") };
    let two = Guest::new("two", &[2, 3], test).passes_on(column, "01.0", EDU_PATH, EDU);
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

/// Turns a bit over in the byte that `place` finds for the bundle's length.
fn flip(bundle: &mut [u8], place: fn(usize) -> usize) {
    let at = place(bundle.len());
    if let Some(byte) = bundle.get_mut(at) {
        *byte ^= 0x10;
    }
}
