//! Codes stripes: bytes to units, and units to missing units.
//!
//! A unit of any slot is a sum of multiples of any `k` others of its stripe. Encoding takes the factors from the
//! generator matrix; reconstruction inverts the rows of `k` units that are there. Both end in [`Codec::combine`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::{ErasureError, ErasureProfile, StripeBuffer, StripeLayout};

/// Units are combined piece by piece, so that the pieces of a stripe stay in the CPU's cache for all sums over them.
const PIECE_BYTES: usize = 16 * 1024;

/// Codes stripes of one profile. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Codec {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    profile: ErasureProfile,
    generator: Matrix,
    kernel: Kernel,
}

impl Codec {
    /// A codec with the fastest loop this CPU can run.
    pub fn new(profile: ErasureProfile) -> Self {
        Self::with_kernel(profile, Kernel::detect())
    }

    /// Not public: [`Kernel::Simd`] on the wrong CPU ends the process.
    fn with_kernel(profile: ErasureProfile, kernel: Kernel) -> Self {
        Self { inner: Arc::new(Inner { profile, generator: Matrix::generator(profile), kernel }) }
    }

    /// The profile this codec codes.
    pub fn profile(&self) -> ErasureProfile {
        self.inner.profile
    }

    /// The loop in use.
    pub fn kernel(&self) -> Kernel {
        self.inner.kernel
    }

    /// Splits the bytes of one stripe (1 to `k` times [`UNIT_BYTES_MAX`](crate::UNIT_BYTES_MAX)) into `k` data units and
    /// computes `m` parity units; returns all in the order of their slots.
    pub fn encode_stripe(&self, stripe: &[u8]) -> Result<Vec<Bytes>, ErasureError> {
        let mut buffer = StripeBuffer::new(self.profile(), stripe.len(), 0)?;
        buffer.extend(stripe);
        Ok(self.encode(buffer)?.into_iter().map(Bytes::from).collect())
    }

    /// As [`Self::encode_stripe`], without a copy: the units stay where they were collected, each with its headroom.
    pub fn encode(&self, stripe: StripeBuffer) -> Result<Vec<Vec<u8>>, ErasureError> {
        let (profile, headroom) = (self.profile(), stripe.headroom());
        if stripe.profile() != profile {
            return Err(ErasureError::UnitCount { expected: profile.slots(), found: stripe.profile().slots() });
        }
        let mut units = stripe.into_units()?;
        let rows: Vec<&[u8]> = (profile.data()..profile.slots()).map(|slot| self.inner.generator.row(slot)).collect();
        let (data, parity) = units.split_at_mut(profile.data());
        let inputs: Vec<&[u8]> = data.iter().map(|unit| &unit[headroom..]).collect();
        let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|unit| &mut unit[headroom..]).collect();
        self.combine(&rows, &inputs, &mut outputs);
        Ok(units)
    }

    /// Fills in every missing unit whose slot `wanted` says true, from any `k` that are there, all of one length.
    ///
    /// Units that are there and those not wanted stay as they are; after an error all do.
    pub fn reconstruct(&self, units: &mut [Option<Bytes>], wanted: impl Fn(usize) -> bool) -> Result<(), ErasureError> {
        let profile = self.profile();
        check_count(profile.slots(), units.len())?;
        let missing: Vec<usize> = (0..units.len()).filter(|&slot| units[slot].is_none() && wanted(slot)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.check_present(units)?;
        // Data slots come first, so what is there of the data is used before any parity.
        let (slots, inputs): (Vec<usize>, Vec<Bytes>) = (0..units.len())
            .filter_map(|slot| units[slot].clone().map(|unit| (slot, unit)))
            .take(profile.data())
            .unzip();
        let to_data =
            self.inner.generator.select(&slots).inverse().expect("any k rows of the generator are independent");
        let rows: Vec<Vec<u8>> =
            missing.iter().map(|&slot| to_data.left_multiplied(self.inner.generator.row(slot))).collect();
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let mut outputs = vec![vec![0; inputs[0].len()]; rows.len()];
        let inputs: Vec<&[u8]> = inputs.iter().map(|unit| &unit[..]).collect();
        self.combine(&rows, &inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        for (slot, unit) in missing.into_iter().zip(outputs) {
            units[slot] = Some(unit.into());
        }
        Ok(())
    }

    /// Joins the `k` data units of a stripe to its bytes, without the padding.
    pub fn join_stripe(&self, units: &[Bytes], stripe_bytes: usize) -> Result<Bytes, ErasureError> {
        check_count(self.profile().data(), units.len())?;
        let unit_bytes = self.check_stripe_length(stripe_bytes)?;
        for (slot, unit) in units.iter().enumerate() {
            check_length(slot, unit_bytes, unit.len())?;
        }
        if let [only] = units {
            return Ok(only.clone());
        }
        let mut stripe = BytesMut::with_capacity(stripe_bytes);
        for unit in units {
            let rest = stripe_bytes - stripe.len();
            stripe.extend_from_slice(&unit[..rest.min(unit_bytes)]);
        }
        Ok(stripe.freeze())
    }

    /// One sum of multiples of `inputs` per row of factors, to outputs of zeros. All have one length, which is not zero.
    fn combine(&self, rows: &[&[u8]], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        if let [only] = inputs {
            // With k=1 every unit is a copy of the other: the polynomial is a constant.
            outputs.iter_mut().for_each(|output| output.copy_from_slice(only));
            return;
        }
        let unit_bytes = inputs[0].len();
        for start in (0..unit_bytes).step_by(PIECE_BYTES) {
            let piece = start..(start + PIECE_BYTES).min(unit_bytes);
            for (row, output) in rows.iter().zip(outputs.iter_mut()) {
                for (&factor, input) in row.iter().zip(inputs) {
                    self.inner.kernel.multiply_add(factor, &input[piece.clone()], &mut output[piece.clone()]);
                }
            }
        }
    }

    /// The length of the units of a stripe of that many bytes.
    fn check_stripe_length(&self, stripe_bytes: usize) -> Result<usize, ErasureError> {
        let stripe_bytes_max = StripeLayout::stripe_data_max(self.profile());
        if stripe_bytes == 0 || stripe_bytes > stripe_bytes_max {
            return Err(ErasureError::StripeLength { stripe_bytes, stripe_bytes_max });
        }
        Ok(stripe_bytes.div_ceil(self.profile().data()))
    }

    /// Enough units, none empty or too long, all of the length of the first.
    fn check_present(&self, units: &[Option<Bytes>]) -> Result<(), ErasureError> {
        let profile = self.profile();
        let present = units.iter().flatten().count();
        if present < profile.data() {
            return Err(ErasureError::TooFewUnits { present, needed: profile.data() });
        }
        let first = units.iter().flatten().next().map_or(0, Bytes::len);
        self.check_stripe_length(first * profile.data())?;
        for (slot, unit) in units.iter().enumerate() {
            check_length(slot, first, unit.as_ref().map_or(first, Bytes::len))?;
        }
        Ok(())
    }
}

fn check_count(expected: usize, found: usize) -> Result<(), ErasureError> {
    if found == expected { Ok(()) } else { Err(ErasureError::UnitCount { expected, found }) }
}

fn check_length(slot: usize, expected: usize, found: usize) -> Result<(), ErasureError> {
    if found == expected { Ok(()) } else { Err(ErasureError::UnitLength { slot, expected, found }) }
}

#[cfg(test)]
#[path = "codec_test.rs"]
mod codec_test;
