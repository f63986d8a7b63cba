//! Arithmetic with flags (Intel SDM vol. 1 section 3.4.3.1). Flags that the manual
//! leaves undefined are cleared, as processors do for AF, or kept.

use crate::decode::{Alu, Shift};
use spec::Width;

pub(super) const CARRY: u64 = 1 << 0;
pub(super) const PARITY: u64 = 1 << 2;
pub(super) const ADJUST: u64 = 1 << 4;
pub(super) const ZERO: u64 = 1 << 6;
pub(super) const SIGN: u64 = 1 << 7;
pub(super) const OVERFLOW: u64 = 1 << 11;
/// The flags that arithmetic sets.
pub(super) const ARITHMETIC: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// A result and the whole of the new flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Computed {
    pub value: u64,
    pub flags: u64,
}

fn bit(condition: bool, flag: u64) -> u64 {
    if condition { flag } else { 0 }
}

/// ZF, SF, PF of a value that is cut to `width`.
fn of_result(value: u64, width: Width) -> u64 {
    bit(value == 0, ZERO)
        | bit(value >> (8 * width.bytes() - 1) & 1 != 0, SIGN)
        | bit((value as u8).count_ones() & 1 == 0, PARITY)
}

fn add(a: u64, b: u64, carry: u64, width: Width, flags: u64) -> Computed {
    let mask = width.mask();
    let (a, b) = (a & mask, b & mask);
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let value = wide as u64 & mask;
    let sign = 8 * width.bytes() - 1;
    let new = of_result(value, width)
        | bit(wide > u128::from(mask), CARRY)
        | bit((a ^ b ^ value) & 0x10 != 0, ADJUST)
        | bit((a ^ value) & (b ^ value) & 1 << sign != 0, OVERFLOW);
    Computed { value, flags: flags & !ARITHMETIC | new }
}

fn subtract(a: u64, b: u64, borrow: u64, width: Width, flags: u64) -> Computed {
    let mask = width.mask();
    let (a, b) = (a & mask, b & mask);
    let value = a.wrapping_sub(b).wrapping_sub(borrow) & mask;
    let sign = 8 * width.bytes() - 1;
    let new = of_result(value, width)
        | bit(u128::from(a) < u128::from(b) + u128::from(borrow), CARRY)
        | bit((a ^ b ^ value) & 0x10 != 0, ADJUST)
        | bit((a ^ b) & (a ^ value) & 1 << sign != 0, OVERFLOW);
    Computed { value, flags: flags & !ARITHMETIC | new }
}

fn logic(value: u64, width: Width, flags: u64) -> Computed {
    let value = value & width.mask();
    Computed { value, flags: flags & !ARITHMETIC | of_result(value, width) }
}

/// `a` op `b`. The value of a comparison is the difference.
pub(super) fn compute(alu: Alu, a: u64, b: u64, width: Width, flags: u64) -> Computed {
    let carry = flags & CARRY;
    match alu {
        Alu::Add => add(a, b, 0, width, flags),
        Alu::Adc => add(a, b, carry, width, flags),
        Alu::Sub | Alu::Cmp => subtract(a, b, 0, width, flags),
        Alu::Sbb => subtract(a, b, carry, width, flags),
        Alu::Or => logic(a | b, width, flags),
        Alu::And => logic(a & b, width, flags),
        Alu::Xor => logic(a ^ b, width, flags),
    }
}

/// INC and DEC, which keep the carry.
pub(super) fn step(up: bool, value: u64, width: Width, flags: u64) -> Computed {
    let alu = if up { Alu::Add } else { Alu::Sub };
    let computed = compute(alu, value, 1, width, flags);
    Computed { value: computed.value, flags: computed.flags & !CARRY | flags & CARRY }
}

/// NEG.
pub(super) fn negate(value: u64, width: Width, flags: u64) -> Computed {
    subtract(0, value, 0, width, flags)
}

/// Shifts and rotations. Only the lower 5 bits of `count` count, 6 of a quadword's; by 0
/// nothing changes. A rotation leaves all flags but CF and OF.
pub(super) fn shift(shift: Shift, value: u64, count: u64, width: Width, flags: u64) -> Computed {
    use Shift::*;
    let mask = width.mask();
    let count = count & if width == Width::Qword { 0x3f } else { 0x1f };
    let mut value = value & mask;
    if count == 0 {
        return Computed { value, flags };
    }
    let top = mask ^ mask >> 1;
    let top_if = |condition: bool| if condition { top } else { 0 };
    let (mut carry, mut before) = (flags & CARRY != 0, value);
    // At most 63 bits; a closed form would have to tell 8 cases apart by width.
    for _ in 0..count {
        before = value;
        let (highest, lowest) = (value & top != 0, value & 1 != 0);
        value = match shift {
            RotateLeft => value << 1 | u64::from(highest),
            RotateCarryLeft => value << 1 | u64::from(carry),
            Left => value << 1,
            RotateRight => value >> 1 | top_if(lowest),
            RotateCarryRight => value >> 1 | top_if(carry),
            Right => value >> 1,
            ArithmeticRight => value >> 1 | top_if(highest),
        } & mask;
        carry = if matches!(shift, RotateLeft | RotateCarryLeft | Left) { highest } else { lowest };
    }
    // Defined for shifts by 1 (SDM vol. 2, "RCL", "SAL"); processors do the last one's.
    let overflow = match shift {
        RotateLeft | RotateCarryLeft | Left => (value & top != 0) != carry,
        _ => (value ^ before) & top != 0,
    };
    let set = bit(carry, CARRY) | bit(overflow, OVERFLOW);
    let flags = match shift {
        Left | Right | ArithmeticRight => flags & !ARITHMETIC | of_result(value, width) | set,
        _ => flags & !(CARRY | OVERFLOW) | set,
    };
    Computed { value, flags }
}

/// A product: two halves, each as wide as the factors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Product {
    pub low: u64,
    pub high: u64,
    pub flags: u64,
}

/// MUL and IMUL. CF and OF say that the upper half is more than zeros, or than the sign.
pub(super) fn multiply(signed: bool, a: u64, b: u64, width: Width, flags: u64) -> Product {
    let bits = 8 * width.bytes() as u32;
    let unused = 64 - bits;
    let widen = |value: u64| match signed {
        true => i128::from((value << unused) as i64 >> unused) as u128,
        false => u128::from(value & width.mask()),
    };
    let whole = widen(a).wrapping_mul(widen(b));
    let (low, high) = (whole as u64 & width.mask(), (whole >> bits) as u64 & width.mask());
    let is_short = widen(low) == if signed { whole } else { whole & (u128::MAX >> (128 - 2 * bits)) };
    let set = bit(!is_short, CARRY | OVERFLOW);
    Product { low, high, flags: flags & !(CARRY | OVERFLOW) | set }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];

    /// The value as a signed number of its width.
    fn signed(value: u64, width: Width) -> i128 {
        let unused = 64 - 8 * width.bytes() as u32;
        i128::from((value << unused) as i64 >> unused)
    }

    fn fits(value: i128, width: Width) -> bool {
        let half = 1i128 << (8 * width.bytes() - 1);
        (-half..half).contains(&value)
    }

    // The oracle is arithmetic over numbers that do not wrap.
    proptest! {
        #[test]
        fn sums_and_differences(
            a in any::<u64>(), b in any::<u64>(), carry in 0u64..2, which in 0usize..4, small in any::<bool>(),
        ) {
            let width = WIDTHS[which];
            let (a, b) = if small { (a & 0x11, b & 0x11) } else { (a, b) };
            let (ua, ub) = (i128::from(a & width.mask()), i128::from(b & width.mask()));
            let (sa, sb) = (signed(a, width), signed(b, width));
            let c = i128::from(carry);
            for (alu, unsigned, exact, nibble) in [
                (Alu::Adc, ua + ub + c, sa + sb + c, (ua & 15) + (ub & 15) + c > 15),
                (Alu::Sbb, ua - ub - c, sa - sb - c, (ua & 15) - (ub & 15) - c < 0),
            ] {
                let got = compute(alu, a, b, width, carry | 1 << 9);
                prop_assert_eq!(got.value, unsigned as u64 & width.mask());
                let carried = unsigned < 0 || unsigned > i128::from(width.mask());
                prop_assert_eq!(got.flags & CARRY != 0, carried);
                prop_assert_eq!(got.flags & OVERFLOW != 0, !fits(exact, width));
                prop_assert_eq!(got.flags & ADJUST != 0, nibble);
                prop_assert_eq!(got.flags & ZERO != 0, got.value == 0);
                prop_assert_eq!(got.flags & SIGN != 0, signed(got.value, width) < 0);
                prop_assert_eq!(got.flags & PARITY != 0, (got.value as u8).count_ones() % 2 == 0);
                // Flags that are not arithmetic stay.
                prop_assert_eq!(got.flags & !ARITHMETIC, 1 << 9);
            }
        }

        #[test]
        fn shifts_multiply_and_divide_by_powers_of_two(
            a in any::<u64>(), count in 0u64..=255, which in 0usize..4, flags in any::<u64>(),
        ) {
            let width = WIDTHS[which];
            let bits = 8 * width.bytes() as u32;
            let by = (count & if width == Width::Qword { 63 } else { 31 }) as u32;
            let value = a & width.mask();
            let old = flags & CARRY;
            // Of the exact result what fits is the value, and the next bit the carry.
            let left = u128::from(value) << by;
            let right = (u128::from(value) << 64) >> by;
            let arithmetic = (signed(a, width) << 64) >> by;
            for (kind, exact, carried) in [
                (Shift::Left, left as u64, (left >> bits) as u64 & 1),
                (Shift::Right, (right >> 64) as u64, (right >> 63) as u64 & 1),
                (Shift::ArithmeticRight, (arithmetic >> 64) as u64, (arithmetic >> 63) as u64 & 1),
            ] {
                let got = shift(kind, a, count, width, flags);
                prop_assert_eq!(got.value, exact & width.mask());
                if by == 0 {
                    prop_assert_eq!(got.flags, flags);
                    continue;
                }
                prop_assert_eq!(got.flags & CARRY, carried, "{:?}", kind);
                prop_assert_eq!(got.flags & ZERO != 0, got.value == 0);
                prop_assert_eq!(got.flags & SIGN != 0, signed(got.value, width) < 0);
                prop_assert_eq!(got.flags & !ARITHMETIC, flags & !ARITHMETIC);
            }
            // A ring of the operand's bits, or of one more, the carry.
            let turned = |ring: u128, length: u32, by: u32| {
                let by = by % length;
                (ring << by | ring >> (length - by)) & ((1u128 << length) - 1)
            };
            let ring = turned(value.into(), bits, by);
            prop_assert_eq!(u128::from(shift(Shift::RotateLeft, a, count, width, flags).value), ring);
            let back = shift(Shift::RotateRight, ring as u64, count, width, flags);
            prop_assert_eq!(back.value, value);
            let wide = turned(u128::from(old) << bits | u128::from(value), bits + 1, by);
            let carried = shift(Shift::RotateCarryLeft, a, count, width, flags);
            prop_assert_eq!(u128::from(carried.flags & CARRY) << bits | u128::from(carried.value), wide);
            let back = shift(Shift::RotateCarryRight, carried.value, count, width, carried.flags);
            prop_assert_eq!((back.value, back.flags & CARRY), (value, old));
            prop_assert_eq!(back.flags & !(CARRY | OVERFLOW), flags & !(CARRY | OVERFLOW));
        }

        #[test]
        fn products_have_two_halves(a in any::<u64>(), b in any::<u64>(), which in 0usize..4) {
            let width = WIDTHS[which];
            let bits = 8 * width.bytes();
            let got = multiply(false, a, b, width, 0);
            let exact = u128::from(a & width.mask()) * u128::from(b & width.mask());
            prop_assert_eq!(u128::from(got.high) << bits | u128::from(got.low), exact);
            prop_assert_eq!(got.flags, if exact >> bits == 0 { 0 } else { CARRY | OVERFLOW });
            let got = multiply(true, a, b, width, 0);
            let exact = signed(a, width) * signed(b, width);
            prop_assert_eq!(signed(got.high, width) << bits | i128::from(got.low), exact);
            prop_assert_eq!(got.flags, if fits(exact, width) { 0 } else { CARRY | OVERFLOW });
        }

        #[test]
        fn negation_is_subtraction_from_zero(a in any::<u64>(), which in 0usize..4) {
            let width = WIDTHS[which];
            prop_assert_eq!(negate(a, width, 0), compute(Alu::Sub, 0, a, width, 0));
            prop_assert_eq!(negate(a, width, 0).flags & CARRY != 0, a & width.mask() != 0);
        }
    }

    #[test]
    fn a_shift_by_one_tells_whether_the_sign_changed() {
        for (kind, value, overflow) in [
            (Shift::Left, 0x40, true),
            (Shift::Left, 0xc0, false),
            (Shift::Right, 0x80, true),
            (Shift::Right, 0x7f, false),
            (Shift::ArithmeticRight, 0x80, false),
            (Shift::RotateLeft, 0x40, true),
            (Shift::RotateRight, 0x01, true),
            (Shift::RotateRight, 0x81, false),
            (Shift::RotateCarryRight, 0x80, true),
        ] {
            let got = shift(kind, value, 1, Width::Byte, 0);
            assert_eq!(got.flags & OVERFLOW != 0, overflow, "{kind:?} {value:#x}");
        }
    }

    #[test]
    fn add_and_sub_ignore_the_carry() {
        assert_eq!(compute(Alu::Add, 1, 1, Width::Byte, CARRY).value, 2);
        assert_eq!(compute(Alu::Sub, 1, 1, Width::Byte, CARRY).value, 0);
    }

    #[test]
    fn logic_clears_carry_and_overflow() {
        let got = compute(Alu::And, 0xf0, 0x0f, Width::Byte, ARITHMETIC);
        assert_eq!(got, Computed { value: 0, flags: ZERO | PARITY });
        assert_eq!(compute(Alu::Or, 0x80, 1, Width::Byte, 0).flags, SIGN | PARITY);
        assert_eq!(compute(Alu::Xor, 0xff, 0xf0, Width::Byte, 0).value, 0x0f);
    }

    #[test]
    fn steps_keep_the_carry() {
        assert_eq!(step(true, 0xff, Width::Byte, 0), Computed { value: 0, flags: ZERO | PARITY | ADJUST });
        assert_eq!(step(false, 0, Width::Byte, CARRY).flags & CARRY, CARRY);
        assert_eq!(step(true, 0x7f, Width::Byte, 0).flags & OVERFLOW, OVERFLOW);
    }
}
