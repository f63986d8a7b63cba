//! What a decoded instruction does: typed operands, nothing left to interpret.

use access::vcpu::SegmentName;
use spec::Width;

/// Why bytes were not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The instruction goes on after the bytes that there are.
    Truncated,
    /// More than 15 bytes.
    TooLong,
    /// Not one of the instructions that are carried out here, or not a valid one.
    Unsupported,
}

/// A general register of some width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register {
    /// Number, as instructions encode it.
    pub index: u8,
    /// Bits 8 to 15 of it (AH, CH, DH, BH).
    pub high_byte: bool,
}

/// An operand that is not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A register.
    Register(Register),
    /// A constant, sign-extended.
    Immediate(i64),
}

/// A register that is added to an address, times 1, 2, 4 or 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRegister {
    /// Number.
    pub register: u8,
    /// Binary logarithm of the factor.
    pub shift: u8,
}

/// Where the operand in memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// Segment whose base is added.
    pub segment: SegmentName,
    /// Base register.
    pub base: Option<u8>,
    /// Index register.
    pub index: Option<IndexRegister>,
    /// Whether the address of the next instruction is added.
    pub rip_relative: bool,
    /// Constant part.
    pub displacement: i64,
    /// Address size: the sum is cut to it.
    pub size: Width,
}

/// Two-operand arithmetic, numbered as opcodes encode it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Alu {
    /// Addition.
    Add = 0,
    /// Inclusive or.
    Or = 1,
    /// Addition with carry.
    Adc = 2,
    /// Subtraction with borrow.
    Sbb = 3,
    /// And.
    And = 4,
    /// Subtraction.
    Sub = 5,
    /// Exclusive or.
    Xor = 6,
    /// Subtraction without a result.
    Cmp = 7,
}

impl Alu {
    /// The operation of code `code` (3 bits).
    #[inline]
    pub(super) const fn from_code(code: u8) -> Self {
        match code & 7 {
            0 => Self::Add,
            1 => Self::Or,
            2 => Self::Adc,
            3 => Self::Sbb,
            4 => Self::And,
            5 => Self::Sub,
            6 => Self::Xor,
            _ => Self::Cmp,
        }
    }
}

/// Shifts and rotations, numbered as opcodes encode them; 6 is another SHL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shift {
    /// ROL.
    RotateLeft,
    /// ROR.
    RotateRight,
    /// RCL: with the carry as one more bit.
    RotateCarryLeft,
    /// RCR.
    RotateCarryRight,
    /// SHL.
    Left,
    /// SHR.
    Right,
    /// SAR: the sign stays.
    ArithmeticRight,
}

impl Shift {
    /// The operation of code `code` (3 bits).
    pub(super) const fn from_code(code: u8) -> Self {
        match code & 7 {
            0 => Self::RotateLeft,
            1 => Self::RotateRight,
            2 => Self::RotateCarryLeft,
            3 => Self::RotateCarryRight,
            5 => Self::Right,
            7 => Self::ArithmeticRight,
            _ => Self::Left,
        }
    }
}

/// What happens to the bit that BT and its siblings select.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BitOperation {
    /// BT: nothing.
    Test,
    /// BTS.
    Set,
    /// BTR.
    Reset,
    /// BTC.
    Complement,
}

/// String instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StringOperation {
    /// MOVS: from the source to the destination string.
    Move,
    /// STOS: from the accumulator to the destination string.
    Store,
    /// LODS: from the source string to the accumulator.
    Load,
    /// INS: from port DX to the destination string.
    Input,
    /// OUTS: from the source string to port DX.
    Output,
    /// CMPS: the source string with the destination string.
    Compare,
    /// SCAS: the accumulator with the destination string.
    Scan,
}

/// Prefixes of string instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repetition {
    /// None: one element.
    Once,
    /// REP: as often as the count register says; REPE, for those that compare: and only on
    /// from equal elements.
    WhileEqual,
    /// REPNE: only on from elements that differ. For those that do not compare it is REP.
    WhileDifferent,
}

/// How a narrow value becomes a wide one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    /// With zeros.
    Zero,
    /// With its sign.
    Sign,
}

/// What is done with the operand in memory, which is [`Instruction::width`] wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// MOV, MOVZX, MOVSX, MOVSXD, MOVBE to a register `width` wide.
    Load {
        /// Destination.
        register: Register,
        /// Width of the destination.
        width: Width,
        /// How the value is extended to it.
        extension: Extension,
        /// Whether its bytes are reversed.
        swap: bool,
    },
    /// MOV, MOVNTI, MOVBE to memory.
    Store {
        /// What is stored.
        source: Source,
        /// Whether its bytes are reversed.
        swap: bool,
    },
    /// Arithmetic whose first operand is in memory.
    ToMemory {
        /// Which.
        alu: Alu,
        /// Second operand.
        source: Source,
    },
    /// Arithmetic whose first operand is a register, the second in memory.
    ToRegister {
        /// Which.
        alu: Alu,
        /// First operand.
        register: Register,
    },
    /// TEST.
    Test {
        /// The other operand.
        source: Source,
    },
    /// NOT.
    Not,
    /// NEG.
    Negate,
    /// INC.
    Increment,
    /// DEC.
    Decrement,
    /// XCHG.
    Exchange {
        /// The other operand.
        register: Register,
    },
    /// XADD.
    ExchangeAdd {
        /// The other operand.
        register: Register,
    },
    /// CMPXCHG with the accumulator.
    CompareExchange {
        /// What is stored if they are equal.
        register: Register,
    },
    /// BT, BTS, BTR, BTC.
    Bit {
        /// Which.
        operation: BitOperation,
        /// Number of the bit. In a register it also moves the operand: it counts, signed,
        /// from bit 0 of the address. A constant stays inside the operand.
        offset: Source,
    },
    /// Shifts and rotations of the operand.
    Shift {
        /// Which.
        shift: Shift,
        /// By how much: CL, or a constant.
        count: Source,
    },
    /// MUL and IMUL with the accumulator, which is as wide as the operand, and whose product
    /// is twice as wide.
    Multiply {
        /// IMUL.
        signed: bool,
    },
    /// IMUL to a register.
    MultiplyTo {
        /// Destination.
        register: Register,
        /// The other factor; without a constant it is the destination.
        factor: Option<i64>,
    },
    /// PUSH: to the stack, which is in SS.
    Push,
    /// POP: from the stack.
    Pop,
    /// A string instruction. [`Instruction::address`] gives the source's segment and
    /// the address size; the destination is in ES.
    String {
        /// Which.
        operation: StringOperation,
        /// How often.
        repeat: Repetition,
    },
}

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// The operand in memory.
    pub address: Address,
    /// Width of the operand in memory.
    pub width: Width,
    /// Bytes in the instruction, 1 to 15.
    pub length: u8,
}
