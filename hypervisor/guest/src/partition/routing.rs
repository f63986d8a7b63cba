//! The way of an interrupt message to the vCPUs that it addresses.

use super::Partition;
use crate::host::Host;
use crate::mailbox::{self, Delivery, Mailbox};
use devices::ApicAddress;
use spec::apic::{DeliveryMode, Destination, FIRST_LEGAL_VECTOR, InterruptMessage};

impl<H: Host> Partition<H> {
    /// Takes an interrupt message to the vCPUs that it addresses. Returns whether
    /// the sender is one of them.
    pub fn route(&self, from: usize, message: InterruptMessage) -> bool {
        let mut own = false;
        for (to, mailbox) in self.mailboxes.iter().enumerate() {
            let addressed = match message.destination {
                Destination::ToSelf => to == from,
                Destination::AllButSelf => {
                    to != from && ApicAddress::from_bits(mailbox.address()).matches(&message.destination)
                }
                ref destination => ApicAddress::from_bits(mailbox.address()).matches(destination),
            };
            // Arbitration passes over an APIC that its software has switched off.
            let arbitrated = message.mode == DeliveryMode::LowestPriority;
            let off = arbitrated && !ApicAddress::from_bits(mailbox.address()).software_enabled;
            if !addressed || off {
                continue;
            }
            if self.deliver_plainly(from, to, mailbox, &message) {
                // Nobody has to look at anything.
            } else if !self.deliver(mailbox, message) {
                continue;
            } else if to == from {
                own = true;
            } else {
                self.host.kick(self, to);
            }
            if message.mode == DeliveryMode::LowestPriority {
                break;
            }
        }
        own
    }

    /// Lets hardware deliver the message where it can. What a vCPU sends to itself is mail:
    /// it is outside of the guest.
    fn deliver_plainly(&self, from: usize, to: usize, mailbox: &Mailbox, message: &InterruptMessage) -> bool {
        let delivery = mailbox.delivery();
        if delivery == Delivery::Mailbox || !is_plain(message) {
            return false;
        }
        match (delivery, mailbox.posting()) {
            (Delivery::Physical, _) => self.host.send_interrupt(self, to, message.vector),
            // An APIC that its software has switched off takes nothing, as its model knows.
            (_, Some(posting))
                if to != from && ApicAddress::from_bits(mailbox.address()).software_enabled =>
            {
                posting.post(message.vector);
                // Where the vCPU went back to the model meanwhile, it may have looked before.
                return mailbox.delivery() == Delivery::Posted;
            }
            _ => return false,
        }
        true
    }

    fn deliver(&self, mailbox: &Mailbox, message: InterruptMessage) -> bool {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                mailbox.post_vector(message.vector, message.level);
            }
            DeliveryMode::Nmi => mailbox.post_nmi(),
            DeliveryMode::Init => mailbox.post_init(),
            DeliveryMode::StartUp => mailbox.post_start_up(message.vector),
            DeliveryMode::ExtInt => mailbox.post(mailbox::CHIPSET),
            // There is no system management mode here.
            DeliveryMode::Smi => return false,
        }
        true
    }
}

/// Whether hardware can deliver it as it is: nobody waits for its end.
fn is_plain(message: &InterruptMessage) -> bool {
    matches!(message.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
        && !message.level
        && message.vector >= FIRST_LEGAL_VECTOR
}
