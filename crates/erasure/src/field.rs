//! The field GF(2^8) with the polynomial 0x11D, as in `reed-solomon-erasure` and its relatives.

/// `x^8` reduced by the field's polynomial.
const REDUCTION: u8 = 0x1D;

static TABLES: Tables = Tables::new();

/// Powers of the generator 2 and their inverse function.
struct Tables {
    log: [u8; 256],
    /// Twice the 255 powers, so that the sum of two logarithms needs no reduction.
    exp: [u8; 510],
}

impl Tables {
    const fn new() -> Self {
        let (mut log, mut exp) = ([0; 256], [0; 510]);
        let (mut power, mut value) = (0u8, 1u8);
        while power < 255 {
            log[value as usize] = power;
            exp[power as usize] = value;
            exp[power as usize + 255] = value;
            value = (value << 1) ^ if value & 0x80 == 0 { 0 } else { REDUCTION };
            power += 1;
        }
        Self { log, exp }
    }
}

/// The product; the sum of the field is `^`.
pub(crate) fn multiply(left: u8, right: u8) -> u8 {
    if left == 0 || right == 0 {
        return 0;
    }
    TABLES.exp[usize::from(TABLES.log[usize::from(left)]) + usize::from(TABLES.log[usize::from(right)])]
}

/// `1 / value`; zero has none.
pub(crate) fn inverse(value: u8) -> Option<u8> {
    if value == 0 {
        return None;
    }
    Some(TABLES.exp[255 - usize::from(TABLES.log[usize::from(value)])])
}

/// `base` to the power of `exponent`; `0^0` is 1.
pub(crate) fn power(base: u8, exponent: usize) -> u8 {
    (0..exponent).fold(1, |product, _| multiply(product, base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;

    #[test]
    fn products_equal_bitwise_multiplication() {
        for left in 0..=u8::MAX {
            for right in 0..=u8::MAX {
                assert_eq!(multiply(left, right), oracle::multiply(left, right), "{left} * {right}");
            }
        }
    }

    #[test]
    fn inverses_multiply_to_one() {
        assert_eq!(inverse(0), None);
        for value in 1..=u8::MAX {
            assert_eq!(multiply(value, inverse(value).unwrap()), 1, "{value}");
        }
        assert_eq!((power(0, 0), power(0, 3), power(2, 8)), (1, 0, REDUCTION));
    }
}
