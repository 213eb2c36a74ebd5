//! MD5 of many streams at once.
//!
//! S3's `ETag` of an object is its MD5 ([RFC 1321](https://www.rfc-editor.org/rfc/rfc1321)), a chain in which each step waits
//! for the one before: a core computes it at a fraction of what it could. Streams do not wait for each other, so eight of
//! them are hashed side by side in the lanes of one vector register, at about the cost of one.
//!
//! This is for `ETag`s and `Content-MD5` only: MD5 proves nothing against one who means harm.

mod many;
mod md5;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use many::{LANES, Stream, lanes, update_many};
pub use md5::Md5;

/// Bytes of a block.
const BLOCK: usize = 64;

/// The four words of RFC 1321, section 3.3.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Rotations of each round, section 3.4.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The integer part of 2³² × |sin(step)|, section 3.4.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The word that a step of a round reads.
const fn word_of(round: usize, step: usize) -> usize {
    match round {
        0 => step,
        1 => (5 * step + 1) % 16,
        2 => (3 * step + 5) % 16,
        _ => (7 * step) % 16,
    }
}

/// Bytes that tell streams and their places apart.
#[cfg(test)]
fn sample(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|byte| u8::try_from((byte * 31 + seed * 13) % 251).expect("below 251")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sines_are_those_of_the_standard() {
        for (step, expected) in (1_u32..).zip(SINES) {
            let sine = f64::from(step).sin().abs() * 4_294_967_296.0;
            assert_eq!(format!("{:.0}", sine.floor()), expected.to_string(), "step {step}");
        }
    }
}
