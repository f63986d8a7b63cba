//! Registers of the local APIC by their numbers: the MSR is `0x800 +` the number in x2APIC
//! mode, the offset in the page 16 times it in xAPIC mode (Intel SDM vol. 3 tables 11-1 and
//! 11-6, AMD APM vol. 2 table 16-2).

/// Number of registers in x2APIC mode.
pub const REGISTERS: u8 = 0x40;

/// Local APIC ID.
pub const ID: u8 = 0x02;
/// Version, and the number of the last entry of the local vector table.
pub const VERSION: u8 = 0x03;
/// Task priority.
pub const TASK_PRIORITY: u8 = 0x08;
/// Arbitration priority; xAPIC mode only.
pub const ARBITRATION_PRIORITY: u8 = 0x09;
/// Processor priority.
pub const PROCESSOR_PRIORITY: u8 = 0x0a;
/// End of interrupt.
pub const END_OF_INTERRUPT: u8 = 0x0b;
/// Remote read; xAPIC mode only.
pub const REMOTE_READ: u8 = 0x0c;
/// Logical destination.
pub const LOGICAL_DESTINATION: u8 = 0x0d;
/// Destination format; xAPIC mode only.
pub const DESTINATION_FORMAT: u8 = 0x0e;
/// Spurious-interrupt vector and software enable.
pub const SPURIOUS_VECTOR: u8 = 0x0f;
/// First of eight: in service.
pub const IN_SERVICE: u8 = 0x10;
/// First of eight: trigger mode.
pub const TRIGGER_MODE: u8 = 0x18;
/// First of eight: requests.
pub const REQUESTS: u8 = 0x20;
/// Last of the requests.
pub const REQUESTS_LAST: u8 = 0x27;
/// Error status.
pub const ERROR_STATUS: u8 = 0x28;
/// Local vector of corrected machine checks.
pub const LVT_CMCI: u8 = 0x2f;
/// Interrupt command; its high half is the next register in xAPIC mode.
pub const COMMAND: u8 = 0x30;
/// High half of the interrupt command; xAPIC mode only.
pub const COMMAND_HIGH: u8 = 0x31;
/// Local vector of the timer.
pub const LVT_TIMER: u8 = 0x32;
/// Local vector of the thermal monitor.
pub const LVT_THERMAL: u8 = 0x33;
/// Local vector of the performance counters.
pub const LVT_PERFORMANCE: u8 = 0x34;
/// Local vector of pin LINT0.
pub const LVT_LINT0: u8 = 0x35;
/// Local vector of pin LINT1.
pub const LVT_LINT1: u8 = 0x36;
/// Local vector of errors.
pub const LVT_ERROR: u8 = 0x37;
/// Initial count of the timer.
pub const INITIAL_COUNT: u8 = 0x38;
/// Current count of the timer.
pub const CURRENT_COUNT: u8 = 0x39;
/// Divide configuration of the timer.
pub const DIVIDE: u8 = 0x3e;
/// Interrupt to this processor itself; x2APIC mode only.
pub const SELF_IPI: u8 = 0x3f;

/// Mask bit of an entry of the local vector table.
pub const LVT_MASKED: u32 = 1 << 16;
/// Mode field of the timer's entry: one-shot, periodic, TSC-deadline, reserved.
pub const TIMER_MODE: u32 = 3 << 17;
/// TSC-deadline mode in [`TIMER_MODE`].
pub const TIMER_DEADLINE: u32 = 2 << 17;
