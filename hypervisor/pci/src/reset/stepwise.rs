//! The ladder where nobody may wait: whoever climbs it comes again when it says so.

use super::method::{MILLISECOND, OwnedBus, ResetMethod};
use super::rung::is_silent;
use super::{QUIESCE_NS, RETURN_NS, ResetFault, ResetPath};
use access::ConfigSpace;
use spec::Bdf;
use spec::pci_config::{COMMAND, VENDOR_ID, command};

/// How often it is looked whether a function is done, or back.
const LOOK_NS: u64 = MILLISECOND;

/// How far a reset is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is to be gone on with at this time, in nanoseconds.
    Waits {
        /// That time.
        until_ns: u64,
    },
    /// The function was reset, proved, by this rung.
    Done(ResetMethod),
    /// No rung worked: why the last one did not, where there is one. Bus mastering is off.
    Failed(Option<ResetFault>),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its outstanding requests get time.
    Quiesces {
        until_ns: u64,
    },
    /// An act of the rung of this number is due at a time.
    Acts {
        rung: usize,
        act: u8,
        witness: u16,
        at_ns: u64,
    },
    /// It is to answer by then.
    Returns {
        rung: usize,
        witness: u16,
        until_ns: u64,
    },
    Over(Progress),
}

/// A reset of a function, again and again, by the same ladder and with the same proofs as
/// [`ResetPath::reset`]. Nothing is allocated.
#[derive(Debug)]
pub struct Stepwise {
    path: ResetPath,
    bridge: Option<Bdf>,
    phase: Phase,
    fault: Option<ResetFault>,
}

impl Stepwise {
    /// Of this function; `bridge` is above its bus, where it is alone there.
    pub const fn new(path: ResetPath, bridge: Option<Bdf>) -> Self {
        Self { path, bridge, phase: Phase::Over(Progress::Failed(None)), fault: None }
    }

    /// Begins, or begins again. The function makes no more requests.
    pub fn begin<C: ConfigSpace + ?Sized>(&mut self, config: &C, now_ns: u64) {
        self.path.stop_requests(config);
        self.fault = None;
        self.phase = Phase::Quiesces { until_ns: now_ns.saturating_add(QUIESCE_NS) };
    }

    /// Does what is due.
    pub fn step<C: ConfigSpace + ?Sized>(&mut self, config: &C, now_ns: u64) -> Progress {
        loop {
            match self.phase {
                Phase::Quiesces { until_ns } if now_ns < until_ns && self.path.has_pending(config) => {
                    return waits(now_ns, until_ns);
                }
                Phase::Quiesces { .. } => self.begin_rung(config, 0),
                Phase::Acts { at_ns, .. } if now_ns < at_ns => return Progress::Waits { until_ns: at_ns },
                Phase::Acts { rung, act, witness, .. } => self.act(config, (rung, act, witness), now_ns),
                Phase::Returns { rung, witness, until_ns } => {
                    let identity = config.read32(self.path.function(), VENDOR_ID);
                    if is_silent(identity) && now_ns < until_ns {
                        return waits(now_ns, until_ns);
                    }
                    match self.look(config, identity, witness) {
                        Ok(()) => self.phase = Phase::Over(done(rung)),
                        Err(fault) => {
                            self.fault = Some(fault);
                            self.begin_rung(config, rung + 1);
                        }
                    }
                }
                Phase::Over(progress) => return progress,
            }
        }
    }

    /// Begins with the first rung from this one on that can be tried.
    fn begin_rung<C: ConfigSpace + ?Sized>(&mut self, config: &C, from: usize) {
        let bus = self.bridge.map(|bridge| OwnedBus { bridge, others: &[] });
        for (rung, method) in ResetMethod::LADDER.into_iter().enumerate().skip(from) {
            if !self.path.offers(method, bus) {
                continue;
            }
            match self.path.prepare(config, method, self.bridge) {
                Ok(witness) => {
                    self.phase = Phase::Acts { rung, act: 0, witness, at_ns: 0 };
                    return;
                }
                Err(fault) => self.fault = Some(fault),
            }
        }
        // A rung that failed halfway may have left decode on.
        config.write16(self.path.function(), COMMAND, command::INTERRUPT_DISABLE);
        self.phase = Phase::Over(Progress::Failed(self.fault));
    }

    fn act<C: ConfigSpace + ?Sized>(&mut self, config: &C, acts: (usize, u8, u16), now_ns: u64) {
        let (rung, act, witness) = acts;
        let method = ResetMethod::LADDER.get(rung).copied();
        let wait_ns = method.and_then(|method| self.path.act(config, method, self.bridge, act));
        self.phase = match wait_ns {
            Some(wait_ns) => {
                Phase::Acts { rung, act: act + 1, witness, at_ns: now_ns.saturating_add(wait_ns) }
            }
            None => Phase::Returns { rung, witness, until_ns: now_ns.saturating_add(RETURN_NS) },
        };
    }

    /// Whether it is back, and as it was at boot.
    fn look<C: ConfigSpace + ?Sized>(
        &self,
        config: &C,
        identity: u32,
        witness: u16,
    ) -> Result<(), ResetFault> {
        match identity {
            _ if is_silent(identity) => Err(ResetFault::NoReturn),
            _ if identity != self.path.identity() => Err(ResetFault::Replaced { identity }),
            _ => {
                self.path.prove(config, witness)?;
                self.path.restore(config)
            }
        }
    }
}

fn done(rung: usize) -> Progress {
    ResetMethod::LADDER.get(rung).map_or(Progress::Failed(None), |method| Progress::Done(*method))
}

const fn waits(now_ns: u64, until_ns: u64) -> Progress {
    let next = now_ns.saturating_add(LOOK_NS);
    Progress::Waits { until_ns: if next < until_ns { next } else { until_ns } }
}
