//! The machine's IOAPICs, and which of their pins are which guest's.

use crate::guests::Guest;
use crate::host::{Iommus, KernelHost, MACHINE};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use guest::assignment;
use guest::host::LINE_VECTOR;
use guest::layout::intx_gsi;
use guest::partition::Partition;
use iommu::{Function, Iommu, Requester};
use machine::chipset::ioapic::IoApic;
use machine::memory::mmio::Window;
use plan::{FunctionPlan, LinePlan, Plan};
use platform::Platform;
use spec::{Bdf, Hpa};
use spin::Once;
use spin::mutex::TicketMutex;

/// An IOAPIC, known by where its registers are. Its lock is taken last.
struct Controller {
    base: Hpa,
    pins: u8,
    io_apic: TicketMutex<IoApic<Window>>,
}

/// Every IOAPIC that answers.
static CONTROLLERS: Once<Box<[Controller]>> = Once::new();

/// A line of a guest's.
pub struct Line {
    /// The guest's global system interrupt.
    gsi: u8,
    /// The machine's pin.
    pin: u8,
    controller: &'static Controller,
}

/// Takes the IOAPICs over: from here on no pin interrupts anybody.
pub fn take_over(platform: &Platform) {
    let found = platform.io_apics().iter().filter_map(|described| {
        let window = Window::map(described.base, 0x1000).ok();
        let Some(io_apic) = window.and_then(IoApic::new) else {
            log::warn!("the IOAPIC at {} does not answer", described.base);
            return None;
        };
        let pins = io_apic.pins();
        Some(Controller { base: described.base, pins, io_apic: TicketMutex::new(io_apic) })
    });
    let found: Vec<Controller> = found.collect();
    CONTROLLERS.call_once(|| found.into_boxed_slice());
}

/// Which of an IOAPIC's interrupts is that of `pin`. AMD-Vi has the IOAPIC compare the
/// number's low byte with the ends of interrupts that processors tell; at the lines' own
/// vector every line's end would end this pin too, so that number is left out.
pub fn index(pin: u8) -> u16 {
    u16::from(pin) + u16::from(pin >= LINE_VECTOR)
}

/// Lets the IOAPICs whose pins the Plan gives away send through the IOMMU: as many
/// interrupts as the highest of these pins needs, and that of the `console`'s port.
pub fn grant(plan: &Plan, console: Option<(Bdf, u16)>, iommus: &mut Iommus) {
    let lines = || plan.guests.iter().flat_map(|guest| &guest.functions).filter_map(|function| function.line);
    let console = || console.into_iter();
    let mut sources: Vec<Bdf> =
        lines().map(|line| line.source).chain(console().map(|(source, _)| source)).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let of_guests = lines().map(|line| (line.source, index(line.pin)));
        let of_source = of_guests.chain(console()).filter(|(other, _)| *other == source);
        let interrupts = of_source.map(|(_, index)| index + 1).max().unwrap_or(0);
        let io_apic = Function::new(Requester::new(0, source), &[]);
        if let Err(error) = iommus.grant_interrupts(io_apic, interrupts) {
            log::error!("the IOAPIC that is {source} to the IOMMU can interrupt nobody: {error}");
        }
    }
}

/// How many interrupts [`grant`] needs at most.
pub fn interrupts(plan: &Plan) -> u32 {
    let functions = plan.guests.iter().flat_map(|guest| &guest.functions);
    functions.filter_map(|function| function.line).map(|line| u32::from(index(line.pin)) + 1).sum()
}

/// The guest's line of a function.
pub fn gsi(function: &FunctionPlan) -> Option<u8> {
    function.line.map(|line| intx_gsi(function.slot.device(), line.intx))
}

/// The way of a function's line.
pub fn assignment(function: &FunctionPlan) -> Option<assignment::Line> {
    let LinePlan { source, pin, .. } = function.line?;
    let index = index(pin);
    Some(assignment::Line { io_apic: Requester::new(0, source), index, gsi: gsi(function)? })
}

/// The lines of a guest's functions.
///
/// # Errors
/// A sentence about a pin that is not there.
pub fn of(functions: &[FunctionPlan]) -> Result<Box<[Line]>, String> {
    let line = |function: &FunctionPlan| {
        let (gsi, line) = (gsi(function)?, function.line?);
        let found = CONTROLLERS.get()?.iter().find(|it| it.base == line.io_apic && line.pin < it.pins);
        let missing = || format!("{}: no IOAPIC has global system interrupt {}", function.bdf, line.gsi);
        Some(found.map(|controller| Line { gsi, pin: line.pin, controller }).ok_or_else(missing))
    };
    functions.iter().filter_map(line).collect()
}

/// Opens a pin of the hypervisor's own with this entry, which is triggered by edges; false if
/// there is no such pin.
pub fn route(io_apic: Hpa, pin: u8, entry: u64) -> bool {
    let found = CONTROLLERS.get().and_then(|all| all.iter().find(|it| it.base == io_apic && pin < it.pins));
    found.into_iter().for_each(|controller| controller.io_apic.lock().set_entry(pin, entry));
    found.is_some()
}

/// Masks such a pin again.
pub fn silence(io_apic: Hpa, pin: u8) {
    let found = CONTROLLERS.get().and_then(|all| all.iter().find(|it| it.base == io_apic));
    found.into_iter().for_each(|controller| controller.io_apic.lock().mask(pin));
}

fn guest(partition: &Partition<KernelHost>) -> Option<&'static Guest> {
    MACHINE.get()?.guests.get(partition.index)
}

/// Lets `act` use the pin behind one of a guest's lines.
fn with_pin(partition: &Partition<KernelHost>, gsi: u8, act: impl FnOnce(&mut IoApic<Window>, u8)) {
    let lines = guest(partition).map_or(&[][..], |guest| &guest.lines);
    if let Some(line) = lines.iter().find(|line| line.gsi == gsi) {
        act(&mut line.controller.io_apic.lock(), line.pin);
    }
}

/// See [`guest::host::Host::open_line`].
pub fn open(partition: &Partition<KernelHost>, gsi: u8, entry: u64) {
    with_pin(partition, gsi, |io_apic, pin| io_apic.open(pin, entry));
}

/// See [`guest::host::Host::close_line`].
pub fn close(partition: &Partition<KernelHost>, gsi: u8) {
    with_pin(partition, gsi, IoApic::close);
}

/// See [`guest::host::Host::end_line`].
pub fn end(partition: &Partition<KernelHost>, gsi: u8) {
    with_pin(partition, gsi, IoApic::end_of_interrupt);
}

/// See [`guest::host::Host::lines_in_service`].
pub fn in_service(partition: &Partition<KernelHost>) -> u32 {
    let lines = guest(partition).map_or(&[][..], |guest| &guest.lines);
    let waiting = lines.iter().filter(|line| line.controller.io_apic.lock().is_in_service(line.pin));
    waiting.fold(0, |bits, line| bits | 1 << (line.gsi & 31))
}
