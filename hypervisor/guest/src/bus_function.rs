//! What can stand in a slot of a guest's bus.

use access::{ConfigSpace, RegisterWindow};
use spec::Width;
use vpci::{Bar, EmulatedFunction, MessageChange, PassedThrough, PciEffects, PciFunction, TrappedRegion};

/// A function on a guest's bus.
#[allow(clippy::large_enum_variant, reason = "a guest has a handful, each of them allocated once")]
pub enum BusFunction<C, W> {
    /// A function of the machine.
    PassedThrough(PassedThrough<C, W>),
    /// An emulated one.
    Emulated {
        /// Its configuration space.
        function: EmulatedFunction,
        /// Number of the endpoint behind its BAR, among those of the guest's
        /// [`Partition`](crate::partition::Partition).
        endpoint: usize,
    },
}

impl<C: ConfigSpace, W: RegisterWindow> BusFunction<C, W> {
    fn function(&self) -> &dyn PciFunction {
        match self {
            Self::PassedThrough(function) => function,
            Self::Emulated { function, .. } => function,
        }
    }

    fn function_mut(&mut self) -> &mut dyn PciFunction {
        match self {
            Self::PassedThrough(function) => function,
            Self::Emulated { function, .. } => function,
        }
    }

    /// The function of the machine that it is, if it is one.
    pub fn passed_through(&mut self) -> Option<&mut PassedThrough<C, W>> {
        match self {
            Self::PassedThrough(function) => Some(function),
            Self::Emulated { .. } => None,
        }
    }
}

impl<C: ConfigSpace, W: RegisterWindow> PciFunction for BusFunction<C, W> {
    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.function_mut().config_read(offset, width)
    }
    fn config_write(&mut self, offset: u16, width: Width, value: u32, effects: &mut PciEffects) {
        self.function_mut().config_write(offset, width, value, effects)
    }
    fn bars(&self) -> [Option<Bar>; vpci::BARS] {
        self.function().bars()
    }
    fn fixed_port(&self, port: u16) -> Option<u64> {
        self.function().fixed_port(port)
    }
    fn trapped_regions(&self) -> &[TrappedRegion] {
        self.function().trapped_regions()
    }
    fn set_forwarded(&mut self, forwarded: bool, effects: &mut PciEffects) {
        self.function_mut().set_forwarded(forwarded, effects)
    }
    fn reset(&mut self, effects: &mut PciEffects) {
        self.function_mut().reset(effects)
    }
    fn next_message(&mut self) -> Option<MessageChange> {
        self.function_mut().next_message()
    }
}
