//! What the controller says of itself and of its namespace: identify structures and log pages
//! (NVM Express 1.4, sections 5.14.1 and 5.15.2).

use super::config::{Config, EVENT_REQUESTS, NAMESPACE};
use super::transfer::TRANSFER_SHIFT;
use spec::nvme::identify::{cns, controller, descriptor, namespace};
use spec::nvme::{ALL_NAMESPACES, Command, Status, log, put, register};

/// The temperature from which the guest is to be warned; none is ever measured.
pub(super) const WARNING_KELVINS: u16 = 343;
const CRITICAL_KELVINS: u16 = 373;
/// What the health log gives as temperature: a room's.
const KELVINS: u16 = 300;

const MODEL: &[u8] = b"Bulkhead emulated NVMe";
const FIRMWARE: [u8; 8] = *b"1.0     ";
/// What the name of a subsystem with a UUID starts with (section 7.9).
const NAME_START: &[u8] = b"nqn.2014-08.org.nvmexpress:uuid:";

/// Puts what an identify command asks for into `page`, which holds zeros.
pub(super) fn identify(command: &Command, config: &Config, page: &mut [u8]) -> Result<(), Status> {
    let is_ours = command.namespace == NAMESPACE;
    match command.identify_structure() {
        cns::NAMESPACE if is_ours => fill_namespace(config, page),
        cns::NAMESPACE_IDENTIFIERS if is_ours => {
            put(page, 0, [descriptor::UUID, config.uuid.len() as u8]);
            put(page, descriptor::IDENTIFIER, config.uuid);
        }
        cns::NAMESPACE | cns::NAMESPACE_IDENTIFIERS => return Err(Status::INVALID_NAMESPACE),
        cns::CONTROLLER => fill_controller(config, page),
        cns::ACTIVE_NAMESPACES if command.namespace >= ALL_NAMESPACES - 1 => {
            return Err(Status::INVALID_NAMESPACE);
        }
        cns::ACTIVE_NAMESPACES => {
            if command.namespace < NAMESPACE {
                put(page, 0, NAMESPACE.to_le_bytes());
            }
        }
        _ => return Err(Status::INVALID_FIELD),
    }
    Ok(())
}

fn fill_controller(config: &Config, page: &mut [u8]) {
    put(page, controller::VENDOR, config.vendor.to_le_bytes());
    put(page, controller::SUBSYSTEM_VENDOR, config.subsystem_vendor.to_le_bytes());
    let serial = config.serial.map(|byte| if byte.is_ascii_graphic() { byte } else { b' ' });
    put(page, controller::SERIAL, serial);
    put(page, controller::MODEL, padded::<40>(MODEL));
    put(page, controller::FIRMWARE, FIRMWARE);
    put(page, controller::TRANSFER_SHIFT, [TRANSFER_SHIFT]);
    put(page, controller::VERSION, register::VERSION_1_4.to_le_bytes());
    put(page, controller::CONTROLLER_TYPE, [controller::CONTROLLER_TYPE_IO]);
    if config.is_polled {
        put(page, controller::OPTIONAL_ADMIN, controller::DOORBELL_BUFFER_CONFIG.to_le_bytes());
    }
    put(page, controller::EVENT_REQUEST_LIMIT, [EVENT_REQUESTS - 1]);
    // One slot, and it cannot be written.
    put(page, controller::FIRMWARE_UPDATES, [1 << 1 | 1]);
    put(page, controller::WARNING_TEMPERATURE, WARNING_KELVINS.to_le_bytes());
    put(page, controller::CRITICAL_TEMPERATURE, CRITICAL_KELVINS.to_le_bytes());
    put(page, controller::SUBMISSION_ENTRY, [0x66]);
    put(page, controller::COMPLETION_ENTRY, [0x44]);
    put(page, controller::NAMESPACES, NAMESPACE.to_le_bytes());
    if config.writable {
        // There is a cache, and a flush of all namespaces is one of this one (bits 1 and 2).
        put(page, controller::VOLATILE_WRITE_CACHE, [7]);
    }
    put_name(config, page);
}

/// The subsystem's name: that of its UUID, in groups of 4, 2, 2, 2 and 6 bytes.
fn put_name(config: &Config, page: &mut [u8]) {
    let name = page.iter_mut().skip(controller::SUBSYSTEM_NAME);
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    let digits = config.uuid.iter().enumerate().flat_map(|(place, byte)| {
        let hyphen = matches!(place, 4 | 6 | 8 | 10).then_some(b'-');
        hyphen.into_iter().chain([digit(byte >> 4), digit(byte & 0xf)])
    });
    for (place, byte) in name.zip(NAME_START.iter().copied().chain(digits)) {
        *place = byte;
    }
}

fn fill_namespace(config: &Config, page: &mut [u8]) {
    for field in [namespace::SIZE, namespace::CAPACITY, namespace::USED] {
        put(page, field, config.blocks().to_le_bytes());
    }
    if !config.writable {
        put(page, namespace::ATTRIBUTES, [namespace::WRITE_PROTECTED]);
    }
    put(page, namespace::FORMAT_0, namespace::format_of(config.block.shift()).to_le_bytes());
}

/// Puts a log page into `page`, which holds zeros, and says how long it is, in bytes.
pub(super) fn log_page(command: &Command, page: &mut [u8]) -> Result<u64, Status> {
    if !matches!(command.namespace, 0 | NAMESPACE | ALL_NAMESPACES) {
        return Err(Status::INVALID_NAMESPACE);
    }
    // Identify does not offer to start further on.
    if command.log_offset() != 0 {
        return Err(Status::INVALID_FIELD);
    }
    match command.log_page() {
        // One entry, and it never says anything.
        log::ERROR_INFORMATION => Ok(log::ERROR_ENTRY_BYTES),
        log::HEALTH => {
            put(page, log::health::TEMPERATURE, KELVINS.to_le_bytes());
            put(page, log::health::SPARE, [100]);
            Ok(log::PAGE_BYTES)
        }
        log::FIRMWARE_SLOT => {
            put(page, log::firmware::ACTIVE, [1]);
            put(page, log::firmware::REVISION_1, FIRMWARE);
            Ok(log::PAGE_BYTES)
        }
        _ => Err(Status::INVALID_LOG_PAGE),
    }
}

/// A text filled up with spaces.
fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [b' '; N];
    for (place, byte) in field.iter_mut().zip(text) {
        *place = *byte;
    }
    field
}
