//! The inner loop of the code, in two forms that yield the same bytes. Hot path.
//!
//! `reed-solomon-erasure` compiles its C loop for one CPU (`-march=haswell` on x86-64) and asks nothing at run time: on
//! an older CPU it dies of an illegal instruction. So this file asks, and has a loop of its own for that case. Do not
//! build with `RUST_REED_SOLOMON_ERASURE_ARCH` set to more than Haswell: what is asked here would no longer suffice.

use std::fmt;

use reed_solomon_erasure::galois_8;

use crate::field::multiply;

/// Which loop multiplies and adds units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// Vector instructions: AVX2 on x86-64, NEON on aarch64.
    Simd,
    /// Table look-ups, on every CPU.
    Portable,
}

impl Kernel {
    /// The fastest loop that this CPU can run.
    pub fn detect() -> Self {
        if cpu_runs_simd() { Self::Simd } else { Self::Portable }
    }

    /// Adds `factor * input` to `output`; both have the same length, which is not zero.
    pub(crate) fn multiply_add(self, factor: u8, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len(), "units of a stripe have one length");
        if factor == 0 {
            return;
        }
        match self {
            Self::Simd => galois_8::mul_slice_xor(factor, input, output),
            Self::Portable => multiply_add_portable(factor, input, output),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Simd => "simd",
            Self::Portable => "portable",
        })
    }
}

/// Everything that a C compiler may use under `-march=haswell`, not AVX2 alone: some CPUs have the one without the other.
#[cfg(target_arch = "x86_64")]
fn cpu_runs_simd() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("popcnt")
}

/// NEON is part of aarch64; on other CPUs the crate has a plain loop.
#[cfg(not(target_arch = "x86_64"))]
fn cpu_runs_simd() -> bool {
    cfg!(target_arch = "aarch64")
}

fn multiply_add_portable(factor: u8, input: &[u8], output: &mut [u8]) {
    let mut products = [0; 256];
    for (value, product) in (0..=u8::MAX).zip(&mut products) {
        *product = multiply(factor, value);
    }
    for (target, &value) in output.iter_mut().zip(input) {
        *target ^= products[usize::from(value)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;

    #[test]
    fn every_product_at_every_length() {
        let kernels = [Kernel::detect(), Kernel::Portable];
        let input: Vec<u8> = (0..=u8::MAX).chain(0..=u8::MAX).collect();
        for kernel in kernels {
            for factor in 0..=u8::MAX {
                let length = 256 + usize::from(factor);
                let mut output = vec![0xA5; length];
                kernel.multiply_add(factor, &input[..length], &mut output);
                for (&value, &result) in input.iter().zip(&output) {
                    assert_eq!(result, 0xA5 ^ oracle::multiply(factor, value), "{kernel}: {factor} * {value}");
                }
            }
        }
    }
}
