//! What a rung of the ladder does, in acts between which somebody waits.

use super::fault::ResetFault;
use super::method::{HOLD_NS, OwnedBus, POWER_NS, ResetMethod, SILENCE_NS};
use super::saved::ResetPath;
use crate::bridge::has_empty_slot;
use access::ConfigSpace;
use spec::Bdf;
use spec::pci_capability::{advanced_features, express, power};
use spec::pci_config::{
    BRIDGE_CONTROL, BRIDGE_CONTROL_SECONDARY_RESET, COMMAND, HEADER_TYPE, HEADER_TYPE_BRIDGE,
    HEADER_TYPE_MULTI_FUNCTION, SECONDARY_BUS, VENDOR_ID, command,
};

impl ResetPath {
    /// Whether a rung can be tried, of a function whose bus this is where that is known.
    pub(super) fn offers(&self, method: ResetMethod, bus: Option<OwnedBus<'_>>) -> bool {
        match method {
            ResetMethod::SecondaryBus => bus.is_some_and(|bus| {
                !self.quirks.no_bus && !bus.others.iter().any(|other| other.quirks.no_bus)
            }),
            _ => self.methods().any(|offered| offered == method),
        }
    }

    /// Has the function make no new requests.
    pub(super) fn stop_requests<C: ConfigSpace + ?Sized>(&self, config: &C) {
        let function = self.function();
        let before = config.read16(function, COMMAND);
        config.write16(function, COMMAND, before & !command::BUS_MASTER | command::INTERRUPT_DISABLE);
    }

    /// Whether requests that it made are outstanding.
    pub(super) fn has_pending<C: ConfigSpace + ?Sized>(&self, config: &C) -> bool {
        let function = self.function();
        let express = self.express.map(|at| config.read16(function, at + express::DEVICE_STATUS));
        let advanced =
            self.advanced_features.map(|at| config.read8(function, at + advanced_features::STATUS));
        express.is_some_and(|status| status & express::TRANSACTIONS_PENDING != 0)
            || advanced.is_some_and(|status| status & advanced_features::TRANSACTIONS_PENDING != 0)
    }

    /// What comes before the first act: sets command bits that the reset clears, and returns those that took.
    pub(super) fn prepare<C: ConfigSpace + ?Sized>(
        &self,
        config: &C,
        method: ResetMethod,
        bridge: Option<Bdf>,
    ) -> Result<u16, ResetFault> {
        if method == ResetMethod::SecondaryBus {
            let bridge = bridge.ok_or(ResetFault::WrongBridge)?;
            let header = config.read8(bridge, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION;
            let below = config.read8(bridge, SECONDARY_BUS);
            if header != HEADER_TYPE_BRIDGE || below != self.function().bus() {
                return Err(ResetFault::WrongBridge);
            }
            // A function that is silent already can hold no witness: that it answers
            // again is the proof.
            if config.read32(self.function(), VENDOR_ID) == u32::MAX {
                // It was pulled out, and does not come back however long it is waited for.
                return if has_empty_slot(config, bridge) { Err(ResetFault::Absent) } else { Ok(0) };
            }
            return self.set_witness(config);
        }
        // A silent function is for the bus reset only: it would not hear the others.
        match config.read32(self.function(), VENDOR_ID) {
            u32::MAX => Err(ResetFault::Absent),
            identity if identity != self.identity() => Err(ResetFault::Replaced { identity }),
            _ => self.set_witness(config),
        }
    }

    /// Sets command bits that a reset clears, and returns those that took. Ports are
    /// never decoded, and memory only where the firmware put it.
    fn set_witness<C: ConfigSpace + ?Sized>(&self, config: &C) -> Result<u16, ResetFault> {
        let decode = if self.may_decode(config) { command::MEMORY_SPACE } else { 0 };
        let bits = command::INTERRUPT_DISABLE | decode;
        config.write16(self.function(), COMMAND, bits);
        let witness = config.read16(self.function(), COMMAND) & bits;
        if witness == 0 { Err(ResetFault::NoWitness) } else { Ok(witness) }
    }

    /// Act number `act`, from 0. How long to wait after it, in nanoseconds; `None` where there is none of this
    /// number, and the function may be asked whether it is back.
    pub(super) fn act<C: ConfigSpace + ?Sized>(
        &self,
        config: &C,
        method: ResetMethod,
        bridge: Option<Bdf>,
        act: u8,
    ) -> Option<u64> {
        let function = self.function();
        match (method, act) {
            (ResetMethod::FunctionLevel, 0) => {
                let register = self.function_level? + express::DEVICE_CONTROL;
                let control = config.read16(function, register);
                config.write16(function, register, control | express::INITIATE_RESET);
                Some(SILENCE_NS.max(self.quirks.silence_ns))
            }
            (ResetMethod::AdvancedFeatures, 0) => {
                let control = self.advanced_features? + advanced_features::CONTROL;
                config.write8(function, control, advanced_features::INITIATE_RESET);
                Some(SILENCE_NS)
            }
            (ResetMethod::PowerState, 0 | 1) => {
                let register = self.power_reset? + power::CONTROL;
                let state = if act == 0 { power::STATE_D3_HOT } else { power::STATE_D0 };
                // PME status is cleared by writing one: it must not be, and wake-up not left on.
                let rest = config.read16(function, register) & !0x8103 & !power::STATE_MASK;
                config.write16(function, register, rest | state);
                Some(POWER_NS)
            }
            (ResetMethod::SecondaryBus, 0 | 1) => {
                let bridge = bridge?;
                let control = config.read16(bridge, BRIDGE_CONTROL) & !BRIDGE_CONTROL_SECONDARY_RESET;
                let (held, wait_ns) =
                    if act == 0 { (BRIDGE_CONTROL_SECONDARY_RESET, HOLD_NS) } else { (0, SILENCE_NS) };
                config.write16(bridge, BRIDGE_CONTROL, control | held);
                Some(wait_ns)
            }
            _ => None,
        }
    }

    /// Whether what was set before the reset is clear after it.
    pub(super) fn prove<C: ConfigSpace + ?Sized>(&self, config: &C, witness: u16) -> Result<(), ResetFault> {
        let after = config.read16(self.function(), COMMAND);
        if after & (witness | command::BUS_MASTER) == 0 { Ok(()) } else { Err(ResetFault::NotReset) }
    }
}

/// Whether a function that reads so as its identity is not ready: it reads ones, or vendor ID 1 where the root
/// port shows retries (section 2.3.2).
pub(super) const fn is_silent(identity: u32) -> bool {
    identity == u32::MAX || identity & 0xffff == 1
}
