//! The codec against the oracle and against `reed-solomon-erasure`: every loss pattern, every border, both kernels.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::*;
use crate::{SEGMENT_BYTES_MAX, UNIT_BYTES_MAX, oracle};

const UNIT: usize = UNIT_BYTES_MAX as usize;

fn profile(data: usize, parity: usize) -> ErasureProfile {
    ErasureProfile::new(u8::try_from(data).unwrap(), u8::try_from(parity).unwrap()).unwrap()
}

/// The codec of this CPU and the portable one. On a CPU without AVX2 both are the same.
fn codecs(data: usize, parity: usize) -> [Codec; 2] {
    let profile = profile(data, parity);
    [Codec::new(profile), Codec::with_kernel(profile, Kernel::Portable)]
}

fn random_bytes(seed: usize, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(u64::try_from(seed).unwrap()).fill_bytes(&mut bytes);
    Bytes::from(bytes)
}

fn lose(units: &[Bytes], lost: u32) -> Vec<Option<Bytes>> {
    units.iter().enumerate().map(|(slot, unit)| (lost & (1 << slot) == 0).then(|| unit.clone())).collect()
}

fn all_some(units: &[Bytes]) -> Vec<Option<Bytes>> {
    units.iter().cloned().map(Some).collect()
}

/// Profiles 1+0 to 10+4.
fn small_profiles() -> impl Iterator<Item = (usize, usize)> {
    (1..=10).flat_map(|data| (0..=4).map(move |parity| (data, parity)))
}

#[test]
fn every_loss_of_every_profile_is_reconstructed() {
    let mut patterns = 0;
    for (data, parity) in small_profiles() {
        // 67 bytes: two vectors and a tail; 3 less than that times k: padding where k > 3.
        let stripe = random_bytes(data * 16 + parity, (data * 67).saturating_sub(3));
        let expected = oracle::encode(data, parity, &stripe);
        let codecs = codecs(data, parity);
        for codec in &codecs {
            assert_eq!(codec.encode_stripe(&stripe).unwrap(), expected, "{data}+{parity}");
        }
        for lost in (0..1u32 << (data + parity)).filter(|lost| lost.count_ones() as usize <= parity) {
            let context = format!("{data}+{parity}, lost {lost:b}");
            let damaged = lose(&expected, lost);
            assert_eq!(oracle::decode(data, &damaged).unwrap(), expected, "{context}");
            for codec in &codecs {
                let mut units = damaged.clone();
                codec.reconstruct(&mut units, |_| true).unwrap();
                assert_eq!(units, all_some(&expected), "{context}, {}", codec.kernel());
            }
            patterns += 1;
        }
        let joined = codecs[0].join_stripe(&expected[..data], stripe.len()).unwrap();
        assert_eq!(joined, stripe, "{data}+{parity}");
    }
    assert_eq!(patterns, 6_822, "the sum over all profiles of all ways to lose up to m units");
}

#[test]
fn losing_more_than_parity_is_refused() {
    for (data, parity) in small_profiles() {
        let codec = Codec::new(profile(data, parity));
        let expected = codec.encode_stripe(&random_bytes(1, data * 5)).unwrap();
        // More than m lost: the first, or the last m+1 units.
        let lost = (1u32 << (parity + 1)) - 1;
        for lost in [lost, lost << (data - 1)] {
            let damaged = lose(&expected, lost);
            let mut units = damaged.clone();
            let error = codec.reconstruct(&mut units, |_| true).unwrap_err();
            assert_eq!(error, ErasureError::TooFewUnits { present: data - 1, needed: data });
            assert_eq!(units, damaged, "{data}+{parity}: an error changes nothing");
            assert_eq!(oracle::decode(data, &damaged), None);
        }
    }
}

/// Encodes on both kernels, loses `m` units at each end, and reads the stripe back.
fn check_stripe(data: usize, parity: usize, stripe: &Bytes) {
    let context = format!("{data}+{parity}, {} bytes", stripe.len());
    let [codec, portable] = codecs(data, parity);
    let expected = codec.encode_stripe(stripe).unwrap();
    assert_eq!(expected.len(), data + parity, "{context}");
    assert!(expected.iter().all(|unit| unit.len() == stripe.len().div_ceil(data)), "{context}");
    assert!(portable.encode_stripe(stripe).unwrap() == expected, "{context}: kernels differ");
    let lost = (1u32 << parity) - 1;
    for lost in [lost, lost << data] {
        for codec in [&codec, &portable] {
            let mut units = lose(&expected, lost);
            codec.reconstruct(&mut units, |_| true).unwrap();
            assert!(units == all_some(&expected), "{context}, lost {lost:b}, {}", codec.kernel());
        }
    }
    assert!(codec.join_stripe(&expected[..data], stripe.len()).unwrap() == stripe, "{context}");
}

#[test]
fn every_short_length_equals_the_oracle() {
    for (data, parity) in small_profiles() {
        for length in (1..=3 * data + 1).chain([data * 31, data * 32 - 1, data * 32, data * 32 + 1, data * 64 + 1]) {
            let stripe = random_bytes(length, length);
            check_stripe(data, parity, &stripe);
            let expected = oracle::encode(data, parity, &stripe);
            assert_eq!(Codec::new(profile(data, parity)).encode_stripe(&stripe).unwrap(), expected);
        }
    }
}

#[test]
fn lengths_around_piece_unit_and_stripe() {
    for (data, parity) in [(1, 0), (1, 1), (2, 1), (2, 2), (4, 2), (10, 4), (16, 8)] {
        let borders = [PIECE_BYTES, data * PIECE_BYTES, UNIT, (data - 1) * UNIT + 1, data * UNIT - 1];
        let random = random_bytes(data, data * UNIT);
        for border in borders {
            for length in border - 1..=(border + 1).min(data * UNIT) {
                if length > 0 {
                    check_stripe(data, parity, &random.slice(..length));
                }
            }
        }
    }
}

#[test]
fn segments_of_every_border_length_read_back() {
    let codec = Codec::new(profile(4, 2));
    let stripe_bytes = 4 * UNIT;
    let longest = usize::try_from(SEGMENT_BYTES_MAX).unwrap();
    let segment = random_bytes(7, longest);
    for length in
        [0, 1, UNIT, stripe_bytes - 1, stripe_bytes, stripe_bytes + 1, 3 * stripe_bytes + 5, longest - 1, longest]
    {
        let layout = StripeLayout::new(codec.profile(), u64::try_from(length).unwrap()).unwrap();
        let mut read = Vec::with_capacity(length);
        for stripe in 0..layout.stripes() {
            let start = usize::try_from(layout.stripe_offset(stripe)).unwrap();
            let bytes = usize::try_from(layout.stripe_bytes(stripe)).unwrap();
            let expected = codec.encode_stripe(&segment[start..start + bytes]).unwrap();
            assert!(expected.iter().all(|unit| unit.len() == usize::try_from(layout.unit_bytes(stripe)).unwrap()));
            let mut units = lose(&expected, 0b01_0010);
            codec.reconstruct(&mut units, |slot| slot < 4).unwrap();
            let data: Vec<Bytes> = units.into_iter().take(4).flatten().collect();
            read.extend_from_slice(&codec.join_stripe(&data, bytes).unwrap());
        }
        assert!(read == segment[..length], "{length} bytes");
    }
}

#[test]
fn parity_equals_the_crate() {
    if Kernel::detect() != Kernel::Simd {
        // The crate cannot run here at all; the oracle has checked the same bytes.
        return;
    }
    for data in 1..=16 {
        for parity in 1..=8 {
            let stripe = random_bytes(data, data * 1009);
            let other = reed_solomon_erasure::galois_8::ReedSolomon::new(data, parity).unwrap();
            let inputs: Vec<&[u8]> = stripe.chunks(1009).collect();
            let mut outputs = vec![vec![0; 1009]; parity];
            other.encode_sep(&inputs, &mut outputs).unwrap();
            for codec in codecs(data, parity) {
                let units = codec.encode_stripe(&stripe).unwrap();
                assert_eq!(units[data..], outputs, "{data}+{parity}, {}", codec.kernel());
            }
        }
    }
}

#[test]
fn units_stay_where_they_were_collected_behind_their_headroom() {
    let stripe = random_bytes(3, 4 * 100 - 1);
    let codec = Codec::new(profile(4, 2));
    let mut buffer = StripeBuffer::new(codec.profile(), stripe.len(), 7).unwrap();
    stripe.chunks(33).for_each(|piece| assert_eq!(buffer.extend(piece), piece.len()));
    let units = codec.encode(buffer).unwrap();
    for (unit, expected) in units.iter().zip(codec.encode_stripe(&stripe).unwrap()) {
        assert_eq!((&unit[..7], &unit[7..]), (&[0; 7][..], &expected[..]));
        assert_eq!(unit.capacity(), unit.len(), "allocated once");
    }
    let other = StripeBuffer::new(profile(3, 2), 1, 0).unwrap();
    assert!(codec.encode(other).is_err(), "of another profile");
}

#[test]
fn wrong_input_is_an_error() {
    let codec = Codec::new(profile(2, 1));
    let long = Bytes::from(vec![0; 2 * UNIT + 1]);
    for stripe in [Bytes::new(), long] {
        let stripe_bytes = stripe.len();
        let expected = ErasureError::StripeLength { stripe_bytes, stripe_bytes_max: 2 * UNIT };
        assert_eq!(codec.encode_stripe(&stripe).unwrap_err(), expected);
        assert_eq!(codec.join_stripe(&[Bytes::new(), Bytes::new()], stripe_bytes).unwrap_err(), expected);
    }

    let unit = |length: usize| Some(Bytes::from(vec![1; length]));
    let refused = |units: &[Option<Bytes>]| codec.reconstruct(&mut units.to_vec(), |_| true).unwrap_err();
    assert_eq!(refused(&[]), ErasureError::UnitCount { expected: 3, found: 0 });
    assert_eq!(refused(&[unit(1), unit(1)]), ErasureError::UnitCount { expected: 3, found: 2 });
    assert_eq!(refused(&[unit(4), unit(5), None]), ErasureError::UnitLength { slot: 1, expected: 4, found: 5 });
    assert_eq!(refused(&[None, None, None]), ErasureError::TooFewUnits { present: 0, needed: 2 });
    assert!(matches!(refused(&[unit(0), unit(0), None]), ErasureError::StripeLength { stripe_bytes: 0, .. }));
    assert!(matches!(refused(&[unit(UNIT + 1), None, unit(UNIT + 1)]), ErasureError::StripeLength { .. }));

    let units: Vec<Bytes> = [unit(5), unit(4), unit(5)].into_iter().flatten().collect();
    let joined = |units: &[Bytes], stripe_bytes| codec.join_stripe(units, stripe_bytes).unwrap_err();
    assert_eq!(joined(&units, 9), ErasureError::UnitCount { expected: 2, found: 3 });
    assert_eq!(joined(&units[..2], 9), ErasureError::UnitLength { slot: 1, expected: 5, found: 4 });
    assert_eq!(joined(&units[1..], 8), ErasureError::UnitLength { slot: 1, expected: 4, found: 5 });
    assert_eq!(joined(&units[..1], 5), ErasureError::UnitCount { expected: 2, found: 1 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_profile_length_loss_and_wish(
        data in 1..=16usize,
        parity in 0..=8usize,
        bytes in prop::collection::vec(any::<u8>(), 1..700),
        lost in any::<u32>(),
        wanted in any::<u32>(),
    ) {
        let slots = data + parity;
        let lost = lost & ((1 << slots) - 1);
        let is_lost = |slot: usize| lost & (1 << slot) != 0;
        let is_wanted = |slot: usize| wanted & (1 << slot) != 0;
        let expected = oracle::encode(data, parity, &bytes);
        let damaged = lose(&expected, lost);
        for codec in codecs(data, parity) {
            prop_assert_eq!(&codec.encode_stripe(&bytes).unwrap(), &expected);
            let mut units = damaged.clone();
            let result = codec.reconstruct(&mut units, is_wanted);
            let anything_to_do = (0..slots).any(|slot| is_lost(slot) && is_wanted(slot));
            let too_many = lost.count_ones() as usize > parity && anything_to_do;
            prop_assert_eq!(result.is_err(), too_many);
            for slot in 0..slots {
                let there = !is_lost(slot) || (is_wanted(slot) && !too_many);
                prop_assert_eq!(units[slot].as_ref(), there.then_some(&expected[slot]), "slot {}", slot);
            }
        }
    }

    #[test]
    fn any_k_units_suffice(
        data in 1..=16usize,
        parity in 0..=8usize,
        bytes in prop::collection::vec(any::<u8>(), 1..700),
        order in any::<u64>(),
    ) {
        // Exactly m losses, which random bits hit too seldom.
        let mut slots: Vec<usize> = (0..data + parity).collect();
        rand::seq::SliceRandom::shuffle(slots.as_mut_slice(), &mut SmallRng::seed_from_u64(order));
        let lost = slots[..parity].iter().fold(0u32, |lost, slot| lost | 1 << slot);
        let expected = oracle::encode(data, parity, &bytes);
        for codec in codecs(data, parity) {
            let mut units = lose(&expected, lost);
            codec.reconstruct(&mut units, |_| true).unwrap();
            prop_assert_eq!(&units, &all_some(&expected));
            prop_assert_eq!(codec.join_stripe(&expected[..data], bytes.len()).unwrap(), &bytes);
        }
    }
}
