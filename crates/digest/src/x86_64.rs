//! Eight lanes in registers of 256 bits, by AVX2, or by the cheaper rotations and functions of AVX-512 where the CPU has
//! them.

use std::{
    arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256, _mm256_permute2x128_si256,
        _mm256_rol_epi32, _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_ternarylogic_epi32,
        _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
    },
    sync::LazyLock,
};

use crate::{BLOCK, LANES, SINES, word_of};

/// Takes so many blocks of each input, which must be that long, into its state.
pub(crate) type Kernel = fn(&mut [[u32; 4]; LANES], &[&[u8]; LANES], usize);

/// The kernel of this CPU.
static BEST: LazyLock<Option<Kernel>> = LazyLock::new(|| {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        Some(avx512)
    } else if is_x86_feature_detected!("avx2") {
        Some(avx2)
    } else {
        None
    }
});

/// What hashes so many streams quicker than one after the other. One alone waits as long in a lane as without it.
pub(crate) fn kernel(streams: usize) -> Option<Kernel> {
    (*BEST).filter(|_| streams > 1)
}

fn avx2(states: &mut [[u32; 4]; LANES], inputs: &[&[u8]; LANES], blocks: usize) {
    // SAFETY: only taken where the CPU has AVX2.
    unsafe { compress_avx2(states, inputs, blocks) }
}

fn avx512(states: &mut [[u32; 4]; LANES], inputs: &[&[u8]; LANES], blocks: usize) {
    // SAFETY: only taken where the CPU has AVX-512F and VL, and with them AVX2.
    unsafe { compress_avx512(states, inputs, blocks) }
}

/// The same number in all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn all(number: u32) -> __m256i {
    _mm256_set1_epi32(number.cast_signed())
}

/// Eight words, the first in the lowest lane.
#[inline]
#[target_feature(enable = "avx2")]
fn load(words: [u32; 8]) -> __m256i {
    // SAFETY: both are 32 bytes, and any bits are right in either.
    unsafe { std::mem::transmute(words) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(words: __m256i) -> [u32; 8] {
    // SAFETY: both are 32 bytes, and any bits are right in either.
    unsafe { std::mem::transmute(words) }
}

/// Half a block.
#[inline]
#[target_feature(enable = "avx2")]
fn load_half(half: [u8; BLOCK / 2]) -> __m256i {
    // SAFETY: both are 32 bytes, and any bits are right in either; x86-64 is little-endian, as MD5 is.
    unsafe { std::mem::transmute(half) }
}

/// Of eight rows of eight words the eight columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x, y| (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
    let ((ab_low, ab_high), (cd_low, cd_high)) = (pairs(a, b), pairs(c, d));
    let ((ef_low, ef_high), (gh_low, gh_high)) = (pairs(e, f), pairs(g, h));
    let fours = |x, y| [_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y)];
    let [above_0, above_1] = fours(ab_low, cd_low);
    let [above_2, above_3] = fours(ab_high, cd_high);
    let [below_0, below_1] = fours(ef_low, gh_low);
    let [below_2, below_3] = fours(ef_high, gh_high);
    let left = |x, y| _mm256_permute2x128_si256::<0x20>(x, y);
    let right = |x, y| _mm256_permute2x128_si256::<0x31>(x, y);
    [
        left(above_0, below_0),
        left(above_1, below_1),
        left(above_2, below_2),
        left(above_3, below_3),
        right(above_0, below_0),
        right(above_1, below_1),
        right(above_2, below_2),
        right(above_3, below_3),
    ]
}

/// The 16 words of a block of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn words_of(inputs: &[&[u8]; LANES], block: usize) -> [__m256i; 16] {
    let half = |lane: usize, half: usize| {
        let from = block * BLOCK + half * (BLOCK / 2);
        let mut bytes = [0; BLOCK / 2];
        bytes.copy_from_slice(&inputs[lane][from..from + BLOCK / 2]);
        load_half(bytes)
    };
    let mut words = [all(0); 16];
    for part in 0..2 {
        let rows = [
            half(0, part),
            half(1, part),
            half(2, part),
            half(3, part),
            half(4, part),
            half(5, part),
            half(6, part),
            half(7, part),
        ];
        words[part * 8..part * 8 + 8].copy_from_slice(&transpose(rows));
    }
    words
}

/// Four steps of a round, four times. `$mix` is the round's function, `$turn` rotates by a number known when compiling.
macro_rules! round {
    ($round:tt, $mix:ident, $turn:ident, $words:ident, $state:ident, $first:literal $second:literal $third:literal $fourth:literal) => {
        for four in 0..4 {
            let [mut a, mut b, mut c, mut d] = $state;
            round!(@step $round, $mix, $turn, $words, 4 * four, $first, a, b, c, d);
            round!(@step $round, $mix, $turn, $words, 4 * four + 1, $second, d, a, b, c);
            round!(@step $round, $mix, $turn, $words, 4 * four + 2, $third, c, d, a, b);
            round!(@step $round, $mix, $turn, $words, 4 * four + 3, $fourth, b, c, d, a);
            $state = [a, b, c, d];
        }
    };
    (@step $round:tt, $mix:ident, $turn:ident, $words:ident, $step:expr, $by:literal, $a:ident, $b:ident, $c:ident, $d:ident) => {
        let word = _mm256_add_epi32($words[word_of($round, $step)], all(SINES[16 * $round + $step]));
        let added = _mm256_add_epi32(_mm256_add_epi32($a, word), $mix!($round, $b, $c, $d));
        $a = _mm256_add_epi32($turn!(added, $by), $b);
    };
}

macro_rules! mix_avx2 {
    (0, $b:ident, $c:ident, $d:ident) => {
        _mm256_xor_si256($d, _mm256_and_si256($b, _mm256_xor_si256($c, $d)))
    };
    (1, $b:ident, $c:ident, $d:ident) => {
        _mm256_or_si256(_mm256_and_si256($b, $d), _mm256_andnot_si256($d, $c))
    };
    (2, $b:ident, $c:ident, $d:ident) => {
        _mm256_xor_si256($b, _mm256_xor_si256($c, $d))
    };
    (3, $b:ident, $c:ident, $d:ident) => {
        _mm256_xor_si256($c, _mm256_or_si256($b, _mm256_xor_si256($d, all(u32::MAX))))
    };
}

macro_rules! turn_avx2 {
    ($word:ident, $by:literal) => {
        _mm256_or_si256(_mm256_slli_epi32::<$by>($word), _mm256_srli_epi32::<{ 32 - $by }>($word))
    };
}

/// The functions as tables: bit `4b + 2c + d` is the answer to the bits b, c and d.
macro_rules! mix_avx512 {
    (0, $b:ident, $c:ident, $d:ident) => {
        _mm256_ternarylogic_epi32::<0b1100_1010>($b, $c, $d)
    };
    (1, $b:ident, $c:ident, $d:ident) => {
        _mm256_ternarylogic_epi32::<0b1110_0100>($b, $c, $d)
    };
    (2, $b:ident, $c:ident, $d:ident) => {
        _mm256_ternarylogic_epi32::<0b1001_0110>($b, $c, $d)
    };
    (3, $b:ident, $c:ident, $d:ident) => {
        _mm256_ternarylogic_epi32::<0b0011_1001>($b, $c, $d)
    };
}

macro_rules! turn_avx512 {
    ($word:ident, $by:literal) => {
        _mm256_rol_epi32::<$by>($word)
    };
}

macro_rules! kernel {
    ($name:ident, $features:literal, $mix:ident, $turn:ident) => {
        #[target_feature(enable = $features)]
        fn $name(states: &mut [[u32; 4]; LANES], inputs: &[&[u8]; LANES], blocks: usize) {
            let mut state: [__m256i; 4] =
                std::array::from_fn(|word| load(std::array::from_fn(|lane| states[lane][word])));
            for block in 0..blocks {
                let words = words_of(inputs, block);
                let before = state;
                round!(0, $mix, $turn, words, state, 7 12 17 22);
                round!(1, $mix, $turn, words, state, 5 9 14 20);
                round!(2, $mix, $turn, words, state, 4 11 16 23);
                round!(3, $mix, $turn, words, state, 6 10 15 21);
                for (word, before) in state.iter_mut().zip(before) {
                    *word = _mm256_add_epi32(*word, before);
                }
            }
            for (word, lanes) in state.into_iter().map(|word| store(word)).enumerate() {
                for (state, lane) in states.iter_mut().zip(lanes) {
                    state[word] = lane;
                }
            }
        }
    };
}

kernel!(compress_avx2, "avx2", mix_avx2, turn_avx2);
kernel!(compress_avx512, "avx2,avx512f,avx512vl", mix_avx512, turn_avx512);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{START, scalar};

    #[test]
    fn each_kernel_does_what_one_stream_does() {
        let bytes: Vec<Vec<u8>> = (0..LANES).map(|lane| crate::sample(10 * BLOCK, lane)).collect();
        let inputs: [&[u8]; LANES] = std::array::from_fn(|lane| &bytes[lane][..]);
        let expected: [[u32; 4]; LANES] = std::array::from_fn(|lane| {
            let mut state = START;
            bytes[lane].as_chunks::<BLOCK>().0.iter().take(9).for_each(|block| scalar::compress(&mut state, block));
            state
        });
        let mut kernels: Vec<Kernel> = Vec::new();
        if is_x86_feature_detected!("avx2") {
            kernels.push(avx2);
        }
        if is_x86_feature_detected!("avx512vl") {
            kernels.push(avx512);
        }
        for kernel in kernels {
            let mut states = [START; LANES];
            kernel(&mut states, &inputs, 9);
            assert_eq!(states, expected);
        }
    }
}
