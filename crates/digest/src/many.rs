//! Many streams at once.

use crate::{BLOCK, Md5, scalar};

/// Streams that are hashed side by side.
pub const LANES: usize = 8;

/// How many streams this CPU hashes at about the cost of one: one where it has no vectors for it.
#[must_use]
pub fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if crate::x86_64::kernel(LANES).is_some() {
        return LANES;
    }
    1
}

/// A stream, and the pieces of bytes it takes.
#[derive(Debug)]
pub struct Stream<'a, P> {
    md5: &'a mut Md5,
    /// What is left of the piece that is being taken.
    piece: &'a [u8],
    pieces: std::slice::Iter<'a, P>,
}

impl<'a, P: AsRef<[u8]>> Stream<'a, P> {
    /// A stream that takes pieces.
    pub fn new(md5: &'a mut Md5, pieces: &'a [P]) -> Self {
        Self { md5, piece: &[], pieces: pieces.iter() }
    }

    /// Moves on to where a block is whole; answers whole blocks that lie in a row from there. None at the end.
    fn blocks(&mut self) -> Option<usize> {
        loop {
            self.md5.fill(&mut self.piece);
            if self.md5.rest_bytes == BLOCK {
                return Some(1);
            }
            if self.piece.len() >= BLOCK {
                return Some(self.piece.len() / BLOCK);
            }
            self.md5.keep(&mut self.piece);
            self.piece = self.pieces.next()?.as_ref();
        }
    }

    /// The next bytes, where whole blocks lie in a row.
    fn bytes(&self) -> &[u8] {
        if self.md5.rest_bytes == BLOCK { &self.md5.rest } else { self.piece }
    }

    /// So many blocks were taken.
    fn advance(&mut self, blocks: usize) {
        if self.md5.rest_bytes == BLOCK {
            self.md5.rest_bytes = 0;
        } else {
            let bytes = blocks * BLOCK;
            self.piece = &self.piece[bytes..];
            self.md5.bytes += bytes as u64;
        }
    }
}

/// Takes the bytes of all streams.
pub fn update_many<P: AsRef<[u8]>>(streams: Vec<Stream<'_, P>>) {
    let mut waiting = streams.into_iter();
    // Streams that have blocks, and how many in a row.
    let mut active: Vec<(Stream<'_, P>, usize)> = Vec::with_capacity(LANES);
    loop {
        while active.len() < LANES
            && let Some(mut stream) = waiting.next()
        {
            if let Some(blocks) = stream.blocks() {
                active.push((stream, blocks));
            }
        }
        let Some(blocks) = active.iter().map(|(_, blocks)| *blocks).min() else { return };
        compress(&mut active, blocks);
        active.retain_mut(|(stream, left)| {
            stream.advance(blocks);
            *left -= blocks;
            if *left > 0 {
                return true;
            }
            let next = stream.blocks();
            *left = next.unwrap_or_default();
            next.is_some()
        });
    }
}

/// Takes so many blocks of each stream.
fn compress<P: AsRef<[u8]>>(active: &mut [(Stream<'_, P>, usize)], blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = crate::x86_64::kernel(active.len()) {
        let mut states: [[u32; 4]; LANES] = [[0; 4]; LANES];
        // Lanes without a stream take the bytes of the first, for nobody.
        let mut inputs: [&[u8]; LANES] = [active[0].0.bytes(); LANES];
        for ((stream, _), (state, input)) in active.iter().zip(states.iter_mut().zip(&mut inputs)) {
            *state = stream.md5.state;
            *input = stream.bytes();
        }
        kernel(&mut states, &inputs, blocks);
        for ((stream, _), state) in active.iter_mut().zip(states) {
            stream.md5.state = state;
        }
        return;
    }
    for (stream, _) in active {
        let mut state = stream.md5.state;
        for block in stream.bytes().as_chunks::<BLOCK>().0.iter().take(blocks) {
            scalar::compress(&mut state, block);
        }
        stream.md5.state = state;
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;

    use super::*;

    /// The MD5 of bodies that are taken in several rounds of pieces.
    fn of(bodies: &[Vec<u8>], cuts: &[usize], rounds: usize) -> Vec<[u8; 16]> {
        let mut all = vec![Md5::default(); bodies.len()];
        for round in 0..rounds {
            let pieces: Vec<Vec<&[u8]>> = bodies
                .iter()
                .zip(cuts)
                .map(|(body, cut)| {
                    let (from, to) = (body.len() * round / rounds, body.len() * (round + 1) / rounds);
                    body[from..to].chunks(*cut).collect()
                })
                .collect();
            update_many(all.iter_mut().zip(&pieces).map(|(md5, pieces)| Stream::new(md5, pieces)).collect());
        }
        all.into_iter().map(Md5::finish).collect()
    }

    #[test]
    fn as_many_as_there_are_lanes_fewer_and_more() {
        for count in [0, 1, 2, 3, LANES - 1, LANES, LANES + 1, 3 * LANES] {
            let bodies: Vec<Vec<u8>> = (0..count).map(|body| crate::sample(5000 + body * 777, body)).collect();
            let expected: Vec<[u8; 16]> = bodies.iter().map(|body| md5::Md5::digest(body).into()).collect();
            assert_eq!(of(&bodies, &vec![1000; count], 3), expected, "{count}");
        }
    }

    proptest! {
        #[test]
        fn any_bodies_in_any_cuts(
            bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2000), 1_usize..700), 0..20),
            rounds in 1_usize..4,
        ) {
            let (bodies, cuts): (Vec<_>, Vec<_>) = bodies.into_iter().unzip();
            let expected: Vec<[u8; 16]> = bodies.iter().map(|body| md5::Md5::digest(body).into()).collect();
            prop_assert_eq!(of(&bodies, &cuts, rounds), expected);
        }
    }
}
