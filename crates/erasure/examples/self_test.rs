//! Codes, loses and reconstructs on the CPU it runs on, and prints which loop did it and a digest of all units.
//!
//! The digest is the same on every CPU. `tests/old_cpu.rs` runs this under CPU models older than the build machine.

use std::error::Error;
use std::io::{self, Write};

use bytes::Bytes;
use cairn_erasure::{Codec, ErasureProfile, unit_checksum};

fn main() -> Result<(), Box<dyn Error>> {
    let report = self_test()?;
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}

/// Runs the test; says `kernel=<name> digest=<hex>`.
pub(crate) fn self_test() -> Result<String, Box<dyn Error>> {
    let mut digest = 0u64;
    let mut kernel = None;
    for (data, parity) in [(1, 0), (1, 1), (2, 1), (4, 2), (6, 3), (10, 4), (16, 8)] {
        let codec = Codec::new(ErasureProfile::new(data, parity)?);
        kernel = Some(codec.kernel());
        for stripe_bytes in [1, 1000, 100_003] {
            let checksum = round_trip(&codec, stripe_bytes)?;
            digest = unit_checksum(&[&digest.to_le_bytes(), &checksum.to_le_bytes()]);
        }
    }
    let kernel = kernel.ok_or("no profile was tested")?;
    Ok(format!("kernel={kernel} digest={digest:016x}"))
}

/// Codes a stripe, loses its first `m` units, gets them back; the checksum over all units.
fn round_trip(codec: &Codec, stripe_bytes: usize) -> Result<u64, Box<dyn Error>> {
    let stripe: Bytes = pseudo_random().take(stripe_bytes).collect();
    let profile = codec.profile();
    let encoded = codec.encode_stripe(&stripe)?;
    let mut units: Vec<Option<Bytes>> = encoded.iter().cloned().map(Some).collect();
    for unit in &mut units[..profile.parity()] {
        *unit = None;
    }
    codec.reconstruct(&mut units, |_| true)?;
    let units: Vec<Bytes> = units.into_iter().flatten().collect();
    if units != encoded || codec.join_stripe(&units[..profile.data()], stripe_bytes)? != stripe {
        return Err(format!("{profile}: a stripe of {stripe_bytes} bytes came back changed").into());
    }
    let parts: Vec<&[u8]> = units.iter().map(Bytes::as_ref).collect();
    Ok(unit_checksum(&parts))
}

/// The same bytes on every CPU: a linear congruential generator's high bytes.
fn pseudo_random() -> impl Iterator<Item = u8> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(1), next).map(|state: u64| state.to_be_bytes()[0])
}
