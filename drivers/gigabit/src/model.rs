//! What differs between controllers.

use access::RegisterWindow;

/// Reads a register, which has 32 bits.
pub fn read(registers: &impl RegisterWindow, register: u64) -> u32 {
    registers.read32(register as usize)
}
/// Writes a register.
pub fn write(registers: &impl RegisterWindow, register: u64, value: u32) {
    registers.write32(register as usize, value);
}
/// Clears bits of a register and sets others.
pub fn change(registers: &impl RegisterWindow, register: u64, clear: u32, set: u32) {
    write(registers, register, read(registers, register) & !clear | set);
}

/// Where a ring is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Its iova, a multiple of 4096.
    pub iova: u64,
    /// Its bytes, a multiple of 128.
    pub bytes: u32,
}

/// How a controller is to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The ring of what is received.
    pub receive: Ring,
    /// The ring of what is sent.
    pub transmit: Ring,
    /// How many messages there are; one at least.
    pub messages: u16,
}

impl Setup {
    /// The message of frames.
    pub const FRAMES: u8 = 0;

    /// The message of what is no frame.
    pub const fn other_message(&self) -> u8 {
        if self.messages > 1 { 1 } else { Self::FRAMES }
    }
}

/// What a controller says of a frame that it received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes that it wrote, by its word.
    pub length: u16,
    /// The frame ends in this buffer.
    pub is_whole: bool,
    /// The frame is of no use.
    pub is_damaged: bool,
    /// The checksum of TCP or UDP was looked at and is right.
    pub is_checked: bool,
}

/// A kind of controller: how it is told what to do, and how its descriptors look. No method waits.
/// Those that say whether something is so are asked again until it is, or has had its time.
pub trait Model: Default {
    /// The register with the causes of the message that is no frame's. Writing ones clears them;
    /// [`LINK_CHANGED`](spec::gigabit::LINK_CHANGED) is among them.
    const CAUSE: u64;
    /// The tail of the ring of what is received.
    const RECEIVE_TAIL: u64;
    /// The tail of the ring of what is sent.
    const TRANSMIT_TAIL: u64;
    /// Whether one without an EEPROM never says that it read its configuration, and works all the same.
    const MAY_SAY_NOTHING: bool;

    /// What the second half of a receive descriptor says. `None` while the controller has it.
    fn received(descriptor: u64) -> Option<Received>;
    /// The second half of a transmit descriptor for a whole frame of so many bytes, which is to be
    /// reported when it is done.
    fn whole(bytes: u16) -> u64;

    /// Keeps it from sending any message.
    fn silence(&self, registers: &impl RegisterWindow);
    /// Whether it may be reset as to what it shares with firmware.
    fn may_reset(&mut self, registers: &impl RegisterWindow) -> bool;
    /// Whether it read its configuration after a reset.
    fn is_configured(&self, registers: &impl RegisterWindow) -> bool;
    /// It did, or never will.
    fn was_reset(&mut self, registers: &impl RegisterWindow);
    /// Whether its PHY was told all that it has to be.
    fn is_settled(&mut self, registers: &impl RegisterWindow) -> bool;
    /// It was not in time, and is left alone.
    fn leave_phy(&mut self, registers: &impl RegisterWindow);
    /// Sets it up, but lets no frame pass.
    fn program(&self, registers: &impl RegisterWindow, setup: &Setup);
    /// Whether its queues work.
    fn is_enabled(&self, registers: &impl RegisterWindow) -> bool;
    /// Lets frames pass.
    fn open(&self, registers: &impl RegisterWindow);
    /// Lets it send messages, those of frames only if asked: a message masks what it tells of, and
    /// what was set up may be lost.
    fn arm(&self, registers: &impl RegisterWindow, setup: &Setup, with_frames: bool);
    /// Keeps it from sending messages of frames.
    fn mute(&self, registers: &impl RegisterWindow, setup: &Setup);
}
