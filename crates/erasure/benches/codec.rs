//! How fast one core codes: encoding, decoding with lost units, unit checksums.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_erasure::{Codec, ErasureProfile, StripeLayout, unit_checksum};

const MEASURED_FOR: Duration = Duration::from_millis(500);

/// Data bytes per second of a piece of work, in GB/s.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    work();
    let (begin, mut rounds) = (Instant::now(), 0_u32);
    while begin.elapsed() < MEASURED_FOR {
        work();
        rounds += 1;
    }
    let total = f64::from(u32::try_from(bytes).expect("a stripe is small")) * f64::from(rounds);
    total / begin.elapsed().as_secs_f64() / 1e9
}

fn main() {
    println!("| profile | encode GB/s | decode 1 lost | decode m lost |");
    println!("|---|---|---|---|");
    for (data, parity) in [(4, 2), (6, 3), (8, 4), (10, 4)] {
        let profile = ErasureProfile::new(data, parity).expect("a known profile");
        let codec = Codec::new(profile);
        let stripe = Bytes::from(vec![7; StripeLayout::stripe_data_max(profile)]);
        let encode = rate(stripe.len(), || {
            black_box(codec.encode_stripe(&stripe).expect("a whole stripe"));
        });
        let units = codec.encode_stripe(&stripe).expect("a whole stripe");
        let decode = |lost: usize| {
            rate(stripe.len(), || {
                let mut found: Vec<Option<Bytes>> = units.iter().cloned().map(Some).collect();
                found.iter_mut().take(lost).for_each(|unit| *unit = None);
                codec.reconstruct(&mut found, |slot| slot < lost).expect("enough units are left");
                black_box(found);
            })
        };
        println!("| {profile} | {encode:.1} | {:.1} | {:.1} |", decode(1), decode(usize::from(parity)));
    }
    let unit = vec![7; 256 << 10];
    let checksum = rate(unit.len(), || {
        black_box(unit_checksum(&[&unit]));
    });
    println!("unit checksum: {checksum:.0} GB/s");
}
