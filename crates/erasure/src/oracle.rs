//! A second code, slow and obviously right, that the tests compare the first with.
//!
//! It knows no generator matrix. The bytes at one offset of a stripe's units are values of one polynomial of degree
//! below `k`: the unit of slot `s` holds its value at the point `s`. Any `k` values determine the polynomial, so decoding
//! is: solve for the coefficients, then evaluate. Encoding is decoding with all of the parity lost.

use bytes::Bytes;

/// The product in GF(2^8), like multiplication on paper: one shifted addition per bit, reduced by 0x11D.
pub(crate) fn multiply(left: u8, right: u8) -> u8 {
    let mut product: u16 = 0;
    for bit in 0..8 {
        if right & (1 << bit) != 0 {
            product ^= u16::from(left) << bit;
        }
    }
    for bit in (8..16).rev() {
        if product & (1 << bit) != 0 {
            product ^= 0x11D << (bit - 8);
        }
    }
    u8::try_from(product).expect("all high bits were cleared")
}

/// `1 / value`, found by trying.
fn inverse(value: u8) -> u8 {
    (1..=u8::MAX).find(|&candidate| multiply(value, candidate) == 1).expect("all but zero have an inverse")
}

/// Solves `equations` (each: factors, then the right side, here one byte per offset) for the unknowns.
fn solve(mut equations: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<u8>> {
    let unknowns = equations.len();
    for column in 0..unknowns {
        let pivot = (column..unknowns).find(|&row| equations[row].0[column] != 0).expect("equations are independent");
        equations.swap(column, pivot);
        let scale = inverse(equations[column].0[column]);
        let (factors, right) = &mut equations[column];
        for value in factors.iter_mut().chain(right) {
            *value = multiply(*value, scale);
        }
        let (pivot_factors, pivot_right) = equations[column].clone();
        for (row, (factors, right)) in equations.iter_mut().enumerate() {
            let factor = factors[column];
            if row == column || factor == 0 {
                continue;
            }
            for (value, &pivot_value) in factors.iter_mut().zip(&pivot_factors) {
                *value ^= multiply(factor, pivot_value);
            }
            for (value, &pivot_value) in right.iter_mut().zip(&pivot_right) {
                *value ^= multiply(factor, pivot_value);
            }
        }
    }
    equations.into_iter().map(|(_, right)| right).collect()
}

/// 1, point, point^2, ...
fn powers(point: usize, count: usize) -> Vec<u8> {
    let point = u8::try_from(point).expect("a slot is a small number");
    let mut powers = vec![1];
    while powers.len() < count {
        powers.push(multiply(powers[powers.len() - 1], point));
    }
    powers
}

/// All units of a stripe from any `data` of them; `None` if fewer are there.
pub(crate) fn decode(data: usize, units: &[Option<Bytes>]) -> Option<Vec<Bytes>> {
    let equations: Vec<(Vec<u8>, Vec<u8>)> = units
        .iter()
        .enumerate()
        .filter_map(|(slot, unit)| Some((powers(slot, data), unit.as_ref()?.to_vec())))
        .take(data)
        .collect();
    if equations.len() < data {
        return None;
    }
    let coefficients = solve(equations);
    let evaluate = |slot: usize| -> Bytes {
        let mut values = vec![0; coefficients[0].len()];
        for (factor, coefficient) in powers(slot, data).into_iter().zip(&coefficients) {
            for (value, &byte) in values.iter_mut().zip(coefficient) {
                *value ^= multiply(factor, byte);
            }
        }
        Bytes::from(values)
    };
    Some((0..units.len()).map(evaluate).collect())
}

/// All units of a stripe, from its bytes: units of equal length, the rest zeros.
pub(crate) fn encode(data: usize, parity: usize, stripe: &[u8]) -> Vec<Bytes> {
    let unit_bytes = stripe.len().div_ceil(data);
    let mut padded = stripe.to_vec();
    padded.resize(data * unit_bytes, 0);
    let mut units: Vec<Option<Bytes>> =
        padded.chunks(unit_bytes).map(|unit| Some(Bytes::copy_from_slice(unit))).collect();
    units.resize(data + parity, None);
    decode(data, &units).expect("all data is there")
}
