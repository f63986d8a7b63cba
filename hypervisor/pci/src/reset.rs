//! The reset ladder: how a function loses what its last owner left in it.
//!
//! Each rung is tried until one is proved to have worked: function-level reset,
//! D3hot and back, and the reset of the bus behind a bridge, the last only where
//! everything on that bus belongs to the same guest. A rung counts when command
//! bits that were set before it are clear after it, the function answers with its
//! own identity, and what is restored reads back: the BARs with their addresses and
//! sizes, and the access control services that keep it apart from others. A function that no rung reset
//! is quarantined: nobody gets it.

mod extended;
mod fault;
mod method;
mod quirks;
mod rung;
mod saved;
mod stepwise;

use access::{Clock, ConfigSpace, wait_until};
use core::fmt;

use method::MILLISECOND;
use rung::is_silent;
use spec::Bdf;
use spec::pci_config::{COMMAND, VENDOR_ID, command};

pub use fault::ResetFault;
pub use method::{OwnedBus, ResetMethod};
pub use saved::ResetPath;
pub use stepwise::{Progress, Stepwise};

const SECOND: u64 = 1000 * MILLISECOND;
/// How long outstanding requests may take to finish (PCI Express Base
/// Specification section 2.8: the default completion timeout ends at 50 ms; many
/// functions are set to more).
const QUIESCE_NS: u64 = SECOND;
/// From the end of the silence, a function must answer within so long. Section 6.6.1
/// lets software give up after 1 s, but a function that asks to be tried again may do so
/// for longer; operating systems wait for a minute.
const RETURN_NS: u64 = 60 * SECOND;
/// What each rung that was tried came to, in the order of the ladder.
pub type Attempts = [Option<(ResetMethod, ResetFault)>; ResetMethod::LADDER.len()];

/// A function was reset, proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResetReport {
    /// The rung that worked.
    pub method: ResetMethod,
    /// The rungs before it that did not.
    pub failed: Attempts,
    /// Whether its outstanding requests finished before it was reset.
    pub quiesced: bool,
}

impl fmt::Display for ResetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reset by {}", self.method)?;
        write_attempts(f, &self.failed)?;
        if self.quiesced { Ok(()) } else { f.write_str("; requests were outstanding") }
    }
}

/// No rung reset the function: it must be given to nobody and stays detached,
/// with bus mastering off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// The function.
    pub function: Bdf,
    /// The rungs that were tried; none where the function offers none.
    pub failed: Attempts,
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is quarantined: ", self.function)?;
        if self.failed.iter().all(Option::is_none) {
            return f.write_str("it offers no reset, and its bus is shared or cannot be reset");
        }
        f.write_str("no reset worked")?;
        write_attempts(f, &self.failed)
    }
}

fn write_attempts(f: &mut fmt::Formatter<'_>, attempts: &Attempts) -> fmt::Result {
    for (method, fault) in attempts.iter().flatten() {
        write!(f, "; {method}: {fault}")?;
    }
    Ok(())
}

/// What a ladder works with.
struct Ladder<'a, C: ?Sized, T: ?Sized> {
    config: &'a C,
    clock: &'a T,
    path: &'a ResetPath,
    bus: Option<OwnedBus<'a>>,
    waiting: &'a Waiting<'a>,
}

/// Hears that a function has not come back after 1, 2, 4, 8... seconds; false: it is not
/// waited for any longer.
pub type Waiting<'a> = dyn Fn(Bdf, u64) -> bool + 'a;

impl ResetPath {
    /// Resets the function, which must be detached from its guest: nothing else
    /// touches it meanwhile. Afterwards its BARs and PCI Express controls are as at
    /// boot, decode, bus mastering and messages are off, and INTx is disabled.
    /// `bus` allows the last rung.
    ///
    /// # Errors
    /// No rung worked; the reasons say why. Bus mastering was turned off.
    pub fn reset<C: ConfigSpace + ?Sized, T: Clock + ?Sized>(
        &self,
        config: &C,
        clock: &T,
        bus: Option<OwnedBus<'_>>,
    ) -> Result<ResetReport, Quarantine> {
        self.reset_while(config, clock, bus, &|_, _| true)
    }

    /// As [`ResetPath::reset`], where a function that takes its time can be told about,
    /// and no longer waited for.
    ///
    /// # Errors
    /// As for [`ResetPath::reset`].
    pub fn reset_while<C: ConfigSpace + ?Sized, T: Clock + ?Sized>(
        &self,
        config: &C,
        clock: &T,
        bus: Option<OwnedBus<'_>>,
        waiting: &Waiting<'_>,
    ) -> Result<ResetReport, Quarantine> {
        let ladder = Ladder { config, clock, path: self, bus, waiting };
        let quiesced = ladder.quiesce(self);
        let mut failed: Attempts = [None; ResetMethod::LADDER.len()];
        for (method, place) in ResetMethod::LADDER.into_iter().zip(&mut failed) {
            if !self.offers(method, bus) {
                continue;
            }
            match ladder.attempt(method) {
                Ok(()) => return Ok(ResetReport { method, failed, quiesced }),
                Err(fault) => *place = Some((method, fault)),
            }
        }
        // A rung that failed halfway may have left decode on.
        config.write16(self.function(), COMMAND, command::INTERRUPT_DISABLE);
        Err(Quarantine { function: self.function(), failed })
    }

    /// The rungs that the function itself offers: not the reset of its bus.
    pub fn methods(&self) -> impl Iterator<Item = ResetMethod> {
        ResetMethod::LADDER.into_iter().filter(|method| match method {
            ResetMethod::FunctionLevel => self.function_level.is_some() && !self.quirks.no_function_level,
            ResetMethod::AdvancedFeatures => {
                self.advanced_features.is_some() && !self.quirks.no_function_level
            }
            ResetMethod::PowerState => self.power_reset.is_some() && !self.quirks.no_power_state,
            ResetMethod::SecondaryBus => false,
        })
    }
}

impl<C: ConfigSpace + ?Sized, T: Clock + ?Sized> Ladder<'_, C, T> {
    /// Ends a function's requests: no new ones, and those outstanding get time.
    fn quiesce(&self, path: &ResetPath) -> bool {
        path.stop_requests(self.config);
        wait_until(self.clock, QUIESCE_NS, || !path.has_pending(self.config)).is_ok()
    }

    /// One rung, with its proof.
    fn attempt(&self, method: ResetMethod) -> Result<(), ResetFault> {
        let bridge = self.bus.map(|bus| bus.bridge);
        let others = self.bus.map_or(&[][..], |bus| bus.others);
        let others = if method == ResetMethod::SecondaryBus { others } else { &[] };
        let witness = self.path.prepare(self.config, method, bridge)?;
        for other in others {
            self.quiesce(other);
        }
        for act in 0..u8::MAX {
            let Some(wait_ns) = self.path.act(self.config, method, bridge, act) else { break };
            // Nothing ends the wait early, so it ends with the time.
            let _ = wait_until(self.clock, wait_ns, || false);
        }
        self.await_return(self.path)?;
        self.path.prove(self.config, witness)?;
        self.path.restore(self.config)?;
        for other in others {
            self.await_return(other)?;
            other.restore(self.config)?;
        }
        Ok(())
    }

    /// Waits until the function answers with its identity.
    fn await_return(&self, path: &ResetPath) -> Result<(), ResetFault> {
        let mut identity = u32::MAX;
        let mut ended = false;
        let start = self.clock.now_ns();
        let mut told = SECOND;
        let answered = wait_until(self.clock, RETURN_NS, || {
            identity = self.config.read32(path.function(), VENDOR_ID);
            if !is_silent(identity) {
                return true;
            }
            let waited = self.clock.now_ns().wrapping_sub(start);
            if waited >= told {
                told = told.saturating_mul(2);
                ended = !(self.waiting)(path.function(), waited / SECOND);
            }
            ended
        });
        match answered {
            Err(_) => Err(ResetFault::NoReturn),
            Ok(()) if ended => Err(ResetFault::NoReturn),
            Ok(()) if identity != path.identity() => Err(ResetFault::Replaced { identity }),
            Ok(()) => Ok(()),
        }
    }
}
