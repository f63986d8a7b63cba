//! The registers of an HBA, which its ports share.

use crate::error::Error;
use access::{DmaMemory, RegisterWindow};
use alloc::sync::Arc;
use spec::ahci;

/// What the HBA and its ports reach.
#[derive(Debug)]
pub(crate) struct Shared<R, D> {
    pub registers: R,
    pub dma: D,
}

/// The registers of one port.
#[derive(Debug)]
pub(crate) struct PortRegisters<R, D> {
    hba: Arc<Shared<R, D>>,
    number: u32,
}

impl<R: RegisterWindow, D: DmaMemory> PortRegisters<R, D> {
    pub const fn new(hba: Arc<Shared<R, D>>, number: u32) -> Self {
        Self { hba, number }
    }

    pub const fn number(&self) -> u32 {
        self.number
    }

    pub fn dma(&self) -> &D {
        &self.hba.dma
    }

    pub fn read(&self, register: usize) -> u32 {
        self.hba.registers.read32(ahci::port_registers(self.number) + register)
    }

    /// Reads a register that is never all ones, unless nothing answers.
    pub fn read_there(&self, register: usize) -> Result<u32, Error> {
        match self.read(register) {
            u32::MAX => Err(Error::Removed),
            value => Ok(value),
        }
    }

    pub fn write(&self, register: usize, value: u32) {
        self.hba.registers.write32(ahci::port_registers(self.number) + register, value);
    }

    /// Writes both halves of an address.
    pub fn write_address(&self, register: usize, iova: spec::Iova) {
        self.write(register, iova.0 as u32);
        self.write(register + 4, (iova.0 >> 32) as u32);
    }

    /// Forgets causes of interrupts, also in the HBA, where one that stays sends no message for the
    /// next.
    pub fn clear_causes(&self, causes: u32) {
        self.write(ahci::port::INTERRUPT_STATUS, causes);
        self.hba.registers.write32(ahci::INTERRUPT_STATUS, 1 << (self.number & 31));
    }

    /// Takes the causes of interrupts. They are cleared in the port first and in the HBA then
    /// (section 5.5.3), so what comes meanwhile interrupts again.
    pub fn take_causes(&self) -> Result<u32, Error> {
        let causes = self.read_there(ahci::port::INTERRUPT_STATUS)?;
        if causes != 0 {
            self.clear_causes(causes);
        }
        Ok(causes)
    }
}
