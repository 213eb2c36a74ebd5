//! Small matrices over GF(2^8), and the one that makes the code.

use crate::ErasureProfile;
use crate::field::{inverse, multiply, power};

/// Rows of equal length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Matrix {
    rows: Vec<Vec<u8>>,
}

impl Matrix {
    /// One row per slot, whose product with the data units is the unit of that slot.
    ///
    /// A Vandermonde matrix (row `s` holds the powers of `s`) times the inverse of its upper square, so that the upper
    /// part becomes the identity: data slots hold the data itself. Any `k` rows stay independent, since any `k` rows of
    /// a Vandermonde matrix are. It is the matrix of `reed-solomon-erasure`.
    pub(crate) fn generator(profile: ErasureProfile) -> Self {
        let points = 0..profile.data_u8() + profile.parity_u8();
        let vandermonde: Vec<Vec<u8>> =
            points.map(|point| (0..profile.data()).map(|exponent| power(point, exponent)).collect()).collect();
        let upper = Self { rows: vandermonde[..profile.data()].to_vec() };
        let upper_inverse = upper.inverse().expect("rows of different points are independent");
        Self { rows: vandermonde.iter().map(|row| upper_inverse.left_multiplied(row)).collect() }
    }

    /// The row of one slot.
    pub(crate) fn row(&self, index: usize) -> &[u8] {
        &self.rows[index]
    }

    /// A matrix of some of the rows, in the order given.
    pub(crate) fn select(&self, indexes: &[usize]) -> Self {
        Self { rows: indexes.iter().map(|&index| self.rows[index].clone()).collect() }
    }

    /// `row` times this matrix.
    pub(crate) fn left_multiplied(&self, row: &[u8]) -> Vec<u8> {
        let mut product = vec![0; self.rows[0].len()];
        for (&factor, own_row) in row.iter().zip(&self.rows) {
            add_multiple(&mut product, factor, own_row);
        }
        product
    }

    /// The inverse of a square matrix, if it has one: Gauss-Jordan beside the identity.
    pub(crate) fn inverse(&self) -> Option<Self> {
        let size = self.rows.len();
        let mut work = self.rows.clone();
        for (index, row) in work.iter_mut().enumerate() {
            row.resize(2 * size, 0);
            row[size + index] = 1;
        }
        for column in 0..size {
            let pivot = (column..size).find(|&row| work[row][column] != 0)?;
            work.swap(column, pivot);
            let scale = inverse(work[column][column])?;
            for cell in &mut work[column] {
                *cell = multiply(*cell, scale);
            }
            let pivot_row = work[column].clone();
            for (index, row) in work.iter_mut().enumerate() {
                if index != column {
                    let factor = row[column];
                    add_multiple(row, factor, &pivot_row);
                }
            }
        }
        Some(Self { rows: work.into_iter().map(|row| row[size..].to_vec()).collect() })
    }
}

/// Adds `factor * row` to `target`.
fn add_multiple(target: &mut [u8], factor: u8, row: &[u8]) {
    for (cell, &value) in target.iter_mut().zip(row) {
        *cell ^= multiply(factor, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_starts_with_the_identity() {
        for data in 1..=16 {
            let generator = Matrix::generator(ErasureProfile::new(data, 8).unwrap());
            for row in 0..usize::from(data) {
                let identity: Vec<u8> = (0..usize::from(data)).map(|column| u8::from(row == column)).collect();
                assert_eq!(generator.row(row), identity);
            }
        }
    }

    #[test]
    fn inverse_times_matrix_is_the_identity() {
        let matrix = Matrix::generator(ErasureProfile::new(5, 5).unwrap()).select(&[9, 2, 7, 0, 5]);
        let inverse = matrix.inverse().unwrap();
        for row in 0..5 {
            let identity: Vec<u8> = (0..5).map(|column| u8::from(row == column)).collect();
            assert_eq!(matrix.left_multiplied(inverse.row(row)), identity);
        }
    }

    #[test]
    fn dependent_rows_have_no_inverse() {
        assert_eq!(Matrix::generator(ErasureProfile::new(3, 2).unwrap()).select(&[1, 4, 1]).inverse(), None);
    }
}
