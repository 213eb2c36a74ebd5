//! The MD5 of one stream.

use crate::{BLOCK, START, scalar};

/// The MD5 of a stream so far.
#[derive(Clone)]
pub struct Md5 {
    pub(crate) state: [u32; 4],
    /// Bytes of a block that is not whole yet.
    pub(crate) rest: [u8; BLOCK],
    pub(crate) rest_bytes: usize,
    /// All bytes so far, of which the standard keeps the low 61 bits.
    pub(crate) bytes: u64,
}

impl std::fmt::Debug for Md5 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Md5 of {} bytes", self.bytes)
    }
}

impl Default for Md5 {
    fn default() -> Self {
        Self { state: START, rest: [0; BLOCK], rest_bytes: 0, bytes: 0 }
    }
}

impl Md5 {
    /// Takes bytes. Where several streams have some, [`crate::update_many`] is cheaper.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        self.fill(&mut bytes);
        self.take_rest();
        let (blocks, tail) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            scalar::compress(&mut self.state, block);
        }
        self.bytes += (blocks.len() * BLOCK) as u64;
        bytes = tail;
        self.keep(&mut bytes);
    }

    /// The MD5 of all bytes.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.bytes.wrapping_mul(8);
        let zeros = (2 * BLOCK - 9 - self.rest_bytes) % BLOCK;
        let mut padding = [0; 2 * BLOCK];
        padding[0] = 0x80;
        padding[1 + zeros..9 + zeros].copy_from_slice(&bits.to_le_bytes());
        self.update(&padding[..9 + zeros]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    /// Moves bytes to a block that has begun.
    pub(crate) fn fill(&mut self, bytes: &mut &[u8]) {
        if self.rest_bytes > 0 {
            self.keep(bytes);
        }
    }

    /// Moves bytes to the block that is not whole.
    pub(crate) fn keep(&mut self, bytes: &mut &[u8]) {
        let moved = bytes.len().min(BLOCK - self.rest_bytes);
        let (head, tail) = bytes.split_at(moved);
        self.rest[self.rest_bytes..self.rest_bytes + moved].copy_from_slice(head);
        self.rest_bytes += moved;
        self.bytes += moved as u64;
        *bytes = tail;
    }

    fn take_rest(&mut self) {
        if self.rest_bytes == BLOCK {
            scalar::compress(&mut self.state, &self.rest);
            self.rest_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;

    use super::*;

    fn of(pieces: &[&[u8]]) -> [u8; 16] {
        let mut md5 = Md5::default();
        pieces.iter().for_each(|piece| md5.update(piece));
        md5.finish()
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (text, expected) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
            ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
            ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
        ] {
            assert_eq!(of(&[text.as_bytes()]), expected.to_be_bytes(), "{text}");
        }
    }

    #[test]
    fn every_length_around_the_padding() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..bytes.len() {
            assert_eq!(of(&[&bytes[..length]])[..], md5::Md5::digest(&bytes[..length])[..], "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(bytes in prop::collection::vec(any::<u8>(), 0..1000), cut in 1_usize..200) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(&of(&pieces)[..], &md5::Md5::digest(&bytes)[..]);
        }
    }
}
