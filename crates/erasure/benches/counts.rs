//! What coding a stripe costs: allocations, copies, and CPU time.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../../../benches/counting/mod.rs"]
mod counting;

use std::hint::black_box;

use bytes::Bytes;
use cairn_erasure::{Codec, ErasureProfile, StripeLayout, UNIT_BYTES_MAX, unit_checksum};
use counting::{Case, Counts};

const UNIT_BYTES: usize = UNIT_BYTES_MAX as usize;

fn main() {
    let mut counts = Counts::start();
    for (data, parity) in [(4, 2), (6, 3), (8, 4), (10, 4)] {
        stripe(&mut counts, ErasureProfile::new(data, parity).expect("a known profile"));
    }
    let unit = vec![7; UNIT_BYTES];
    let none = Case {
        name: "checksum of a unit, CRC-64/NVME",
        handled: UNIT_BYTES,
        made: 0,
        allocations_max: 0,
        beyond_max: 0,
    };
    counts.case(&none, || {
        black_box(unit_checksum(&[&unit]));
    });
    counts.end();
}

fn stripe(counts: &mut Counts, profile: ErasureProfile) {
    let codec = Codec::new(profile);
    let stripe = Bytes::from(vec![7; StripeLayout::stripe_data_max(profile)]);
    let (slots, data, parity) = (profile.slots() as u64, profile.data() as u64, profile.parity());
    // The units, collected and computed, each in an allocation, and a few tables of slots.
    let case = Case {
        name: &format!("{profile}: encode a stripe"),
        handled: stripe.len(),
        made: profile.slots() * UNIT_BYTES,
        allocations_max: 6 + slots,
        beyond_max: 128 * slots,
    };
    counts.case(&case, || {
        black_box(codec.encode_stripe(&stripe).expect("a whole stripe"));
    });
    let units = codec.encode_stripe(&stripe).expect("a whole stripe");
    for lost in [1, parity] {
        // The units that were lost, and the inverse of a matrix of k rows, each an allocation.
        let case = Case {
            name: &format!("{profile}: decode a stripe, {lost} lost"),
            handled: stripe.len(),
            made: lost * UNIT_BYTES,
            allocations_max: 6 * data + 10 + 2 * lost as u64,
            beyond_max: 320 * data + 100 * lost as u64,
        };
        counts.case(&case, || {
            let mut found: Vec<Option<Bytes>> = units.iter().cloned().map(Some).collect();
            found.iter_mut().take(lost).for_each(|unit| *unit = None);
            codec.reconstruct(&mut found, |slot| slot < lost).expect("enough units are left");
            black_box(found);
        });
    }
    let data_units = &units[..profile.data()];
    let case = Case {
        name: &format!("{profile}: join a stripe"),
        handled: stripe.len(),
        made: stripe.len(),
        allocations_max: 1,
        beyond_max: 64,
    };
    counts.case(&case, || {
        black_box(codec.join_stripe(data_units, stripe.len()).expect("k units"));
    });
}
