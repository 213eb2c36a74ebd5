//! What objects hold: bytes that follow from seed, key, version and length, so that any range of any object can be made
//! and checked without keeping it. They do not compress, so that no server gains by compressing.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

const WORD: usize = 8;
/// How much a body makes at once.
const PIECE_BYTES: u64 = 128 << 10;

/// Spreads a number over 64 bits (the finalizer of SplitMix64).
#[must_use]
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The bytes of one object version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    stream: u64,
    length: u64,
}

impl Content {
    /// The content of a version of a key.
    #[must_use]
    pub(crate) fn new(seed: u64, key: &str, version: u64, length: u64) -> Self {
        let named = key.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self { stream: mix(named ^ mix(version) ^ length.rotate_left(32)), length }
    }

    /// How many bytes it has.
    #[must_use]
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    fn word(&self, number: u64) -> [u8; WORD] {
        mix(self.stream.wrapping_add(number.wrapping_mul(0xD6E8_FEB8_6659_FD93))).to_le_bytes()
    }

    /// Writes the bytes from `offset` on.
    pub(crate) fn fill(&self, offset: u64, out: &mut [u8]) {
        let (skip, head) = head_of(offset, out.len());
        let (front, rest) = out.split_at_mut(head);
        front.copy_from_slice(&self.word(offset / WORD as u64)[skip..skip + head]);
        let mut numbers = (offset + head as u64) / WORD as u64..;
        for part in rest.chunks_mut(WORD) {
            let word = self.word(numbers.next().unwrap_or_default());
            part.copy_from_slice(&word[..part.len()]);
        }
    }

    /// Whether these are the bytes from `offset` on, and none behind the end.
    #[must_use]
    pub(crate) fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        if offset.saturating_add(bytes.len() as u64) > self.length {
            return false;
        }
        let (skip, head) = head_of(offset, bytes.len());
        let (front, rest) = bytes.split_at(head);
        if front != &self.word(offset / WORD as u64)[skip..skip + head] {
            return false;
        }
        let numbers = (offset + head as u64) / WORD as u64..;
        rest.chunks(WORD).zip(numbers).all(|(part, number)| part == &self.word(number)[..part.len()])
    }
}

/// Where in its word an offset lies, and how many of `length` bytes belong to that word if it is not begun at its front.
fn head_of(offset: u64, length: usize) -> (usize, usize) {
    let skip = usize::try_from(offset % WORD as u64).unwrap_or(0);
    (skip, ((WORD - skip) % WORD).min(length))
}

/// A request's or an answer's body: made while it is sent, or given.
#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Source,
    at: u64,
    end: u64,
}

#[derive(Debug)]
enum Source {
    Made(Content),
    Given(Bytes),
    /// As `Made`, with one bit of the middle turned over: for tests of what notices.
    Damaged(Content, u64),
}

impl Outgoing {
    /// Bytes `from..end` of a content.
    #[must_use]
    pub(crate) fn range(content: Content, from: u64, end: u64) -> Self {
        Self { source: Source::Made(content), at: from, end }
    }

    /// All of a content.
    #[must_use]
    pub(crate) fn whole(content: Content) -> Self {
        Self::range(content, 0, content.length())
    }

    /// Bytes that are there.
    #[must_use]
    pub(crate) fn given(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let end = bytes.len() as u64;
        Self { source: Source::Given(bytes), at: 0, end }
    }

    /// Nothing.
    #[must_use]
    pub(crate) fn empty() -> Self {
        Self::given(Bytes::new())
    }

    /// The same with one bit of its middle byte turned over.
    #[must_use]
    pub(crate) fn damaged(self) -> Self {
        let middle = self.at + (self.end - self.at) / 2;
        match self.source {
            Source::Made(content) => Self { source: Source::Damaged(content, middle), ..self },
            Source::Given(_) | Source::Damaged(..) => self,
        }
    }

    fn piece(&mut self) -> Bytes {
        let end = self.end.min(self.at + PIECE_BYTES);
        let from = std::mem::replace(&mut self.at, end);
        let length = usize::try_from(end - from).unwrap_or(0);
        match &mut self.source {
            Source::Given(bytes) => bytes.split_to(length.min(bytes.len())),
            Source::Made(content) => made(content, from, length).freeze(),
            Source::Damaged(content, middle) => {
                let mut bytes = made(content, from, length);
                let place = middle.checked_sub(from).and_then(|place| usize::try_from(place).ok());
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte ^= 1;
                }
                bytes.freeze()
            }
        }
    }
}

fn made(content: &Content, from: u64, length: usize) -> BytesMut {
    let mut bytes = BytesMut::zeroed(length);
    content.fill(from, &mut bytes);
    bytes
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_is_the_same_bytes() {
        let content = Content::new(7, "a/b", 3, 1000);
        let mut whole = vec![0; 1000];
        content.fill(0, &mut whole);
        for (from, to) in [(0, 0), (0, 1), (1, 9), (7, 8), (8, 16), (3, 1000), (999, 1000)] {
            let mut part = vec![0; to - from];
            content.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..to], "{from}..{to}");
            assert!(content.matches(from as u64, &part), "{from}..{to}");
        }
    }

    #[test]
    fn every_wrong_byte_is_seen() {
        let content = Content::new(7, "a/b", 3, 100);
        let mut bytes = vec![0; 100];
        content.fill(0, &mut bytes);
        for place in 0..100 {
            bytes[place] ^= 1;
            assert!(!content.matches(0, &bytes), "byte {place}");
            bytes[place] ^= 1;
        }
        assert!(content.matches(0, &bytes));
        bytes.push(0);
        assert!(!content.matches(0, &bytes), "bytes behind the end");
        assert!(!content.matches(1, &bytes[..99]), "bytes of another place");
    }

    #[test]
    fn seed_key_version_and_length_all_matter() {
        let first = |content: Content| content.word(0);
        let known = first(Content::new(1, "k", 1, 64));
        for other in [
            Content::new(2, "k", 1, 64),
            Content::new(1, "l", 1, 64),
            Content::new(1, "k", 2, 64),
            Content::new(1, "k", 1, 65),
        ] {
            assert_ne!(known, first(other));
        }
    }

    #[test]
    fn a_body_has_its_length_and_damage_is_one_bit() {
        let content = Content::new(1, "k", 0, PIECE_BYTES + 10);
        let gather = |mut body: Outgoing| {
            let mut all = Vec::new();
            while body.at < body.end {
                all.extend_from_slice(&body.piece());
            }
            all
        };
        let good = gather(Outgoing::whole(content));
        assert_eq!(good.len() as u64, content.length());
        assert!(content.matches(0, &good));
        let bad = gather(Outgoing::whole(content).damaged());
        let differing = good.iter().zip(&bad).filter(|(one, other)| one != other).count();
        assert_eq!((bad.len(), differing), (good.len(), 1));
    }
}
