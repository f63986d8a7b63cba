//! Features of the controller (NVM Express 1.4, section 5.21.1). Most of them are kept for the
//! guest to read back: there is no power to manage and no temperature to watch.

use super::config::{Config, IO_QUEUES};
use super::identify::WARNING_KELVINS;
use serde::{Deserialize, Serialize};
use spec::nvme::feature::{self, queues};
use spec::nvme::{Command, Status};

/// TMPSEL of set features: every sensor there is, which is the composite temperature.
const ALL_SENSORS: u32 = 0xf;

/// The values that the guest set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Features {
    arbitration: u32,
    temperature_over: u16,
    temperature_under: u16,
    error_recovery: u16,
    write_cache: bool,
    coalescing: u16,
    /// A bit for each vector that says "do not coalesce". Nothing is, with or without.
    uncoalesced: u32,
    write_atomicity: bool,
    events: u32,
}

impl Features {
    /// As after a reset.
    pub(super) const DEFAULT: Self = Self {
        arbitration: 0,
        temperature_over: WARNING_KELVINS,
        temperature_under: 0,
        error_recovery: 0,
        write_cache: true,
        coalescing: 0,
        uncoalesced: 0,
        write_atomicity: false,
        events: 0,
    };

    /// Whether a write may be answered before it survives a loss of power.
    pub(super) const fn write_cache(&self) -> bool {
        self.write_cache
    }

    /// Whether a guest can have set these values.
    pub(super) fn is_possible(&self, config: &Config) -> bool {
        let is_vector = self.uncoalesced.checked_shr(config.messages.into()).unwrap_or(0) == 0;
        is_vector && (config.writable || self.write_cache)
    }

    /// Words of them, as they are committed.
    pub(super) const WORDS: usize = 3;

    pub(super) fn to_words(self) -> [u64; Self::WORDS] {
        let (cache, atomicity) = (u64::from(self.write_cache), u64::from(self.write_atomicity));
        [
            u64::from(self.arbitration)
                | u64::from(self.temperature_over) << 32
                | u64::from(self.temperature_under) << 48,
            u64::from(self.error_recovery)
                | u64::from(self.coalescing) << 16
                | u64::from(self.uncoalesced) << 32,
            cache | atomicity << 1 | u64::from(self.events) << 32,
        ]
    }

    pub(super) const fn of_words([first, second, third]: [u64; Self::WORDS]) -> Self {
        Self {
            arbitration: first as u32,
            temperature_over: (first >> 32) as u16,
            temperature_under: (first >> 48) as u16,
            error_recovery: second as u16,
            write_cache: third & 1 != 0,
            coalescing: (second >> 16) as u16,
            uncoalesced: (second >> 32) as u32,
            write_atomicity: third & 2 != 0,
            events: (third >> 32) as u32,
        }
    }

    /// Get features: the value in dword 0 of the answer.
    pub(super) const fn get(&self, command: &Command, config: &Config) -> Result<u32, Status> {
        // Identify says that there is no choice between current, default and saved values.
        if feature::selected(command.dword10()) != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let asked = command.dword11();
        Ok(match command.feature() {
            feature::ARBITRATION => self.arbitration,
            feature::POWER_MANAGEMENT => 0,
            feature::TEMPERATURE_THRESHOLD => match threshold(asked) {
                Some(Threshold::Over) => self.temperature_over as u32,
                Some(Threshold::Under) => self.temperature_under as u32,
                None => return Err(Status::INVALID_FIELD),
            },
            feature::ERROR_RECOVERY => self.error_recovery as u32,
            feature::VOLATILE_WRITE_CACHE if config.writable => self.write_cache as u32,
            feature::NUMBER_OF_QUEUES => queues::of(IO_QUEUES as u32, IO_QUEUES as u32),
            feature::INTERRUPT_COALESCING => self.coalescing as u32,
            feature::INTERRUPT_VECTOR => match vector_bit(asked, config) {
                Some(bit) => asked & 0xffff | ((self.uncoalesced & bit != 0) as u32) << 16,
                None => return Err(Status::INVALID_FIELD),
            },
            feature::WRITE_ATOMICITY => self.write_atomicity as u32,
            feature::ASYNCHRONOUS_EVENTS => self.events,
            _ => return Err(Status::INVALID_FIELD),
        })
    }

    /// Set features: the value in dword 0 of the answer. `has_queues` says that the guest
    /// created I/O queues.
    pub(super) const fn set(
        &mut self,
        command: &Command,
        config: &Config,
        has_queues: bool,
    ) -> Result<u32, Status> {
        if command.dword10() & feature::SAVE != 0 {
            return Err(Status::FEATURE_NOT_SAVEABLE);
        }
        let value = command.dword11();
        match command.feature() {
            feature::ARBITRATION => self.arbitration = value,
            // There is one power state.
            feature::POWER_MANAGEMENT if value & 0x1f == 0 => {}
            feature::TEMPERATURE_THRESHOLD => match threshold(value) {
                Some(Threshold::Over) => self.temperature_over = value as u16,
                Some(Threshold::Under) => self.temperature_under = value as u16,
                None => return Err(Status::INVALID_FIELD),
            },
            // Bit 16 asks for errors on blocks that are not allocated, which there are not.
            feature::ERROR_RECOVERY if value >> 16 & 1 == 0 => self.error_recovery = value as u16,
            feature::VOLATILE_WRITE_CACHE if config.writable => self.write_cache = value & 1 != 0,
            feature::NUMBER_OF_QUEUES => return set_queues(value, has_queues),
            feature::INTERRUPT_COALESCING => self.coalescing = value as u16,
            feature::INTERRUPT_VECTOR => match vector_bit(value, config) {
                Some(bit) if value >> 16 & 1 != 0 => self.uncoalesced |= bit,
                Some(bit) => self.uncoalesced &= !bit,
                None => return Err(Status::INVALID_FIELD),
            },
            feature::WRITE_ATOMICITY => self.write_atomicity = value & 1 != 0,
            feature::ASYNCHRONOUS_EVENTS => self.events = value,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(0)
    }
}

/// However many queues the guest asks for (65536 is not a number of queues), it gets all.
const fn set_queues(value: u32, has_queues: bool) -> Result<u32, Status> {
    if has_queues {
        return Err(Status::SEQUENCE_ERROR);
    }
    if queues::submission(value) > 0xffff || queues::completion(value) > 0xffff {
        return Err(Status::INVALID_FIELD);
    }
    Ok(queues::of(IO_QUEUES as u32, IO_QUEUES as u32))
}

enum Threshold {
    Over,
    Under,
}

/// Which threshold of the composite temperature dword 11 means: TMPSEL in bits 16 to 19,
/// THSEL in bits 20 and 21 (section 5.21.1.4).
const fn threshold(dword11: u32) -> Option<Threshold> {
    match (dword11 >> 16 & 0xf, dword11 >> 20 & 3) {
        (0 | ALL_SENSORS, 0) => Some(Threshold::Over),
        (0 | ALL_SENSORS, 1) => Some(Threshold::Under),
        _ => None,
    }
}

/// The bit of the vector that bits 0 to 15 of dword 11 name.
const fn vector_bit(dword11: u32, config: &Config) -> Option<u32> {
    let vector = dword11 & 0xffff;
    if vector < config.messages as u32 { 1_u32.checked_shl(vector) } else { None }
}
