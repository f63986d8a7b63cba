//! Bringing a controller up (section 7.6.1): disable, tell it of the admin queues, enable, ask
//! who it is, create the pair of queues for input and output.

use crate::controller::{ADMIN_TIME_NS, Controller, DATA_QUEUE, Stage};
use crate::error::Error;
use crate::prp;
use access::{DmaBuffer, DmaMemory, RegisterWindow};
use spec::nvme::command::admin;
use spec::nvme::identify::{BYTES, cns};
use spec::nvme::register::{self, aqa, cap, cc, csts};
use spec::nvme::{Command, Status, feature};

/// How often the status register is looked at while CSTS.RDY is waited for.
const READY_LOOK_NS: u64 = 5_000_000;
/// The unit of CAP.TO.
const HALF_SECOND_NS: u64 = 500_000_000;

/// The command of the start that is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    IdentifyController,
    IdentifyNamespace,
    SetQueues,
    CreateCompletions,
    CreateSubmissions,
}

impl Step {
    const fn purpose(self) -> &'static str {
        match self {
            Self::IdentifyController => "identify the controller",
            Self::IdentifyNamespace => "identify namespace 1",
            Self::SetQueues => "set the number of queues",
            Self::CreateCompletions => "create a completion queue",
            Self::CreateSubmissions => "create a submission queue",
        }
    }
}

impl<R: RegisterWindow, D: DmaMemory> Controller<R, D> {
    /// Reads what the controller can do, and sees to it that it is disabled.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Result<(), Error> {
        self.capabilities = self.registers.read64(register::CAPABILITIES as usize);
        let status = self.status_register()?;
        if matches!(self.capabilities, 0 | u64::MAX) {
            return Err(Error::Removed);
        }
        if self.capabilities & cap::NVM_COMMANDS == 0 {
            return Err(Error::NoNvmCommands);
        }
        match cap::page_shift_minimum(self.capabilities) {
            0 => {}
            shift => return Err(Error::PageSize(shift)),
        }
        if cap::queue_entries(self.capabilities) < 2 {
            return Err(Error::QueueSize);
        }
        self.next_look_ns = now_ns.saturating_add(READY_LOOK_NS);
        let until_ns = now_ns.saturating_add(self.ready_time_ns());
        let is_enabled = self.registers.read32(register::CONFIGURATION as usize) & cc::ENABLE != 0;
        // Enabled and not ready yet, it is not to be disabled (section 3.1.5, EN).
        if is_enabled && status & (csts::READY | csts::FATAL) == 0 {
            self.stage = Stage::Settling { until_ns };
            return Ok(());
        }
        self.disable(now_ns)
    }

    /// How long CSTS.RDY may take; some controllers say 0 and mean little.
    fn ready_time_ns(&self) -> u64 {
        u64::from(cap::timeout_half_seconds(self.capabilities).max(1)) * HALF_SECOND_NS
    }

    /// Has the controller reset itself.
    fn disable(&mut self, now_ns: u64) -> Result<(), Error> {
        self.registers.write32(register::CONFIGURATION as usize, 0);
        self.stage = Stage::Disabling { until_ns: now_ns.saturating_add(self.ready_time_ns()) };
        self.look_ready(now_ns)
    }

    /// Enables the controller with empty queues.
    fn enable(&mut self, now_ns: u64) -> Result<(), Error> {
        // It is disabled: of what it was told before nothing is left.
        self.dma.allow();
        self.commands.fail(true);
        let stride = cap::doorbell_stride(self.capabilities);
        self.admin.clear(u32::MAX, stride)?;
        self.data.clear(cap::queue_entries(self.capabilities), stride)?;
        let (submissions, completions, entries) = self.admin.places();
        let registers = &self.registers;
        registers.write32(register::ADMIN_QUEUE_ATTRIBUTES as usize, aqa::of(entries, entries));
        registers.write64(register::ADMIN_SUBMISSION_QUEUE as usize, submissions);
        registers.write64(register::ADMIN_COMPLETION_QUEUE as usize, completions);
        self.dma.write_barrier();
        registers.write32(register::CONFIGURATION as usize, cc::NVM_ENTRIES | cc::ENABLE);
        self.stage = Stage::Enabling { until_ns: now_ns.saturating_add(self.ready_time_ns()) };
        Ok(())
    }

    /// Looks whether CSTS.RDY is what is waited for. It is asked before the time is, so that a
    /// stall of this processor is no failure of the controller.
    pub(crate) fn look_ready(&mut self, now_ns: u64) -> Result<(), Error> {
        let status = self.status_register()?;
        let is_ready = status & csts::READY != 0;
        self.next_look_ns = now_ns.saturating_add(READY_LOOK_NS);
        match self.stage {
            Stage::Settling { until_ns } => {
                if is_ready || status & csts::FATAL != 0 || now_ns >= until_ns {
                    return self.disable(now_ns);
                }
            }
            Stage::Disabling { until_ns } => {
                if !is_ready {
                    return self.enable(now_ns);
                }
                self.check_ready_time(false, until_ns, now_ns)?;
            }
            Stage::Enabling { until_ns } => {
                if status & csts::FATAL != 0 {
                    return Err(Error::Fatal);
                }
                if is_ready {
                    return self.command(Step::IdentifyController, now_ns);
                }
                self.check_ready_time(true, until_ns, now_ns)?;
            }
            Stage::Off | Stage::Starting(_) | Stage::Ready(_) | Stage::Failed(_) => {}
        }
        Ok(())
    }

    fn check_ready_time(&self, wanted: bool, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        if now_ns < until_ns {
            return Ok(());
        }
        Err(Error::NotReady { wanted, milliseconds: self.ready_time_ns() / 1_000_000 })
    }

    /// Submits the command of `step`.
    fn command(&mut self, step: Step, now_ns: u64) -> Result<(), Error> {
        let (submissions, completions, entries) = self.data.places();
        let page = self.identify.iova().0;
        let queue = DATA_QUEUE;
        let command = match step {
            Step::IdentifyController => Command::identify(0, cns::CONTROLLER, 0, page),
            Step::IdentifyNamespace => Command::identify(0, cns::NAMESPACE, crate::request::NAMESPACE, page),
            Step::SetQueues => Command {
                opcode: admin::SET_FEATURES,
                dwords: [feature::NUMBER_OF_QUEUES.into(), feature::queues::of(1, 1), 0, 0, 0, 0],
                ..Command::default()
            },
            Step::CreateCompletions => {
                Command::create_completion_queue(0, queue, entries, completions, Some(self.data_message()))
            }
            Step::CreateSubmissions => {
                Command::create_submission_queue(0, queue, entries, submissions, queue)
            }
        };
        if matches!(step, Step::IdentifyController | Step::IdentifyNamespace) {
            // A controller that says that it is done and wrote nothing has said nothing.
            for offset in (0..BYTES).step_by(64) {
                self.identify.write(offset, &[0; 64])?;
            }
        }
        self.stage = Stage::Starting(step);
        self.watch(now_ns);
        let slot = self.admin.free_slot().ok_or(Error::Buffer)?;
        self.admin.push(slot, command, now_ns.saturating_add(ADMIN_TIME_NS))?;
        self.admin.ring(&self.registers, &self.dma);
        Ok(())
    }

    /// Takes what is in the admin completion queue, and goes on from there.
    pub(crate) fn admin_completions(&mut self, now_ns: u64) -> Result<(), Error> {
        let Stage::Starting(step) = self.stage else { return Ok(()) };
        let Some((_, completion)) = self.admin.take(&self.dma)? else { return Ok(()) };
        self.admin.acknowledge(&self.registers);
        if !completion.status.is(Status::SUCCESS) {
            return Err(Error::Command { purpose: step.purpose(), status: completion.status });
        }
        let next = match step {
            Step::IdentifyController => {
                let limits = crate::identify::controller(&self.identify)?;
                self.identity = Some(limits.identity);
                self.optional = limits.optional;
                let most = limits.transfer_bytes.unwrap_or(u64::MAX);
                self.command_bytes = most.min(prp::MOST_BYTES);
                Step::IdentifyNamespace
            }
            Step::IdentifyNamespace => {
                self.geometry =
                    Some(crate::identify::namespace(&self.identify, self.command_bytes, self.optional)?);
                Step::SetQueues
            }
            Step::SetQueues => Step::CreateCompletions,
            Step::CreateCompletions => Step::CreateSubmissions,
            Step::CreateSubmissions => {
                let geometry = self.geometry.ok_or(Error::Buffer)?;
                self.stage = Stage::Ready(geometry);
                return Ok(());
            }
        };
        self.command(next, now_ns)
    }
}
