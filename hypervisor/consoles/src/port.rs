//! The seam to a serial port.

/// What a serial port wants (16550D data sheet, interrupt identification register).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Nothing.
    None,
    /// Its transmitter can take more.
    Transmit,
    /// It has received something, or something about the line changed.
    Other,
}

/// A serial port. No method waits.
pub trait SerialPort {
    /// How many bytes the transmitter takes now; 0 while it is busy.
    fn room(&mut self) -> usize;
    /// Sends a byte. There must have been room for it.
    fn send(&mut self, byte: u8);
    /// A byte that was received, if there is one.
    fn receive(&mut self) -> Option<u8>;
    /// Which interrupts it raises.
    fn set_interrupts(&mut self, receive: bool, transmit: bool);
    /// Tells the other side whether it may send (RTS).
    fn set_ready(&mut self, ready: bool);
    /// Why it interrupts. Asking takes a transmitter's interrupt back.
    fn cause(&mut self) -> Cause;
}
