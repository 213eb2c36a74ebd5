//! One block of one stream.

use crate::{BLOCK, SHIFTS, SINES, word_of};

/// Takes a block.
pub(crate) fn compress(state: &mut [u32; 4], block: &[u8; BLOCK]) {
    let (bytes, _) = block.as_chunks::<4>();
    let words: [u32; 16] = std::array::from_fn(|word| u32::from_le_bytes(bytes[word]));
    let mut now = *state;
    round::<0>(&mut now, &words, |b, c, d| d ^ (b & (c ^ d)));
    // The halves never have a bit in common: their sum needs one wait less than their or.
    round::<1>(&mut now, &words, |b, c, d| (b & d).wrapping_add(c & !d));
    round::<2>(&mut now, &words, |b, c, d| b ^ c ^ d);
    round::<3>(&mut now, &words, |b, c, d| c ^ (b | !d));
    for (word, now) in state.iter_mut().zip(now) {
        *word = word.wrapping_add(now);
    }
}

#[inline(always)]
fn round<const ROUND: usize>(state: &mut [u32; 4], words: &[u32; 16], mix: impl Fn(u32, u32, u32) -> u32) {
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..16 {
        let added = a.wrapping_add(words[word_of(ROUND, step)]).wrapping_add(SINES[16 * ROUND + step]);
        let turned = added.wrapping_add(mix(b, c, d)).rotate_left(SHIFTS[ROUND][step % 4]);
        (a, b, c, d) = (d, b.wrapping_add(turned), b, c);
    }
    *state = [a, b, c, d];
}
