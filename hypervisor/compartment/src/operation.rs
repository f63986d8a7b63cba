//! What a compartment can be asked to do.

/// A method of [`Device`](devices::Device), by its number in a call.
macro_rules! operations {
    ($( $(#[doc = $doc:literal])* $name:ident = $number:literal, )*) => {
        /// What a compartment is asked to do: mostly a method of [`Device`](devices::Device). The
        /// first call is another: that of [`Kind::Model`](crate::Kind).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Operation {
            $( $(#[doc = $doc])* $name = $number, )*
        }

        impl Operation {
            /// The operation of this number.
            pub const fn of(number: u64) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$name), )*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    /// Says what the device needs: see [`Described`](crate::area::Described).
    Describe = 1,
    /// `offset`, bytes of the width. Answers the value.
    Read = 2,
    /// `offset`, bytes of the width, value.
    Write = 3,
    /// `offset`, bytes of the width, bytes. Answers how many, which are the data.
    ReadString = 4,
    /// `offset`, bytes of the width; the data. Answers how many were written.
    WriteString = 5,
    /// `tag`, outcome; what has changed of the buffer: from where on, and how many bytes of it.
    Complete = 6,
    /// As after power-up.
    Reset = 7,
    /// Answers whether something was taken.
    Poll = 8,
    /// Whether they are wanted. Answers whether something was missed.
    WantNotifications = 9,
    /// Answers whether there was a frame, which is the data; what its sender left to do.
    Transmit = 10,
    /// The frame is the data; what its sender left to do. Answers what became of it.
    Receive = 11,
    /// Interrupts for frames.
    Tell = 12,
    /// The most bytes. Answers how many there were, which are the data.
    Output = 13,
    /// The byte. Answers whether it was taken.
    Input = 14,
    /// Answers whether there was one, and its peer and vector.
    TakeDoorbell = 15,
    /// Whether the network is there.
    SetLink = 16,
    /// Becomes as the device was whose state is where changes of it are written. Answers whether it has.
    Restore = 17,
}
