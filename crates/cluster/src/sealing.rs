//! Sealing by the cluster's key: what the metadata group and the disks keep and cannot read.
//!
//! AES-256-GCM. **Nonce rule**: every sealing has a key of its own, derived (HKDF-SHA256) from the cluster's key, the
//! purpose and 24 random bytes that stand before the sealed ones; so its nonce is always zero, and no number of sealings
//! wears the cluster's key out. What a sealing is *bound* to (where the bytes belong) is authenticated with it: moved
//! elsewhere, it does not open.
//!
//! ```text
//! format (1)   key number (4)   random (24)   sealed bytes   tag (16)
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use bytes::Bytes;
use cairn_proto::BucketId;

const FORMAT: u8 = 1;
const NUMBER_BYTES: usize = 4;
const RANDOM_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + NUMBER_BYTES + RANDOM_BYTES;
const TAG_BYTES: usize = 16;

/// What bytes are sealed for: bytes sealed for one purpose open for no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The bytes of a small object, in its row.
    Inline,
    /// The label in a shard's header.
    Label,
    /// A piece of a snapshot of the metadata.
    Snapshot,
    /// The secret of an access key.
    Secret,
}

impl Purpose {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Inline => b"cairn inline 1",
            Self::Label => b"cairn label 1",
            Self::Snapshot => b"cairn snapshot 1",
            Self::Secret => b"cairn secret 1",
        }
    }
}

/// Bytes that cannot be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealingError {
    /// Too short, or of a format this program does not know.
    #[error("sealed bytes are damaged, or a newer cairn sealed them")]
    Damaged,
    /// By another key of the cluster.
    #[error("bytes were sealed by cluster key {found}, this is key {own}")]
    OtherKey {
        /// The number found.
        found: u32,
        /// The number of the key at hand.
        own: u32,
    },
    /// Another key of that number, other bytes, or another place.
    #[error("sealed bytes do not open: they were changed, moved, or sealed by another cluster's key")]
    Refused,
    /// The system gives no random bytes, or the cipher refused to work.
    #[error("bytes could not be sealed")]
    Seal,
}

/// The cluster's key.
pub struct ClusterKey {
    number: u32,
    key: Prk,
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({})", self.number)
    }
}

impl ClusterKey {
    /// Length of a key.
    pub const BYTES: usize = 32;
    /// Bytes that sealing adds.
    pub const OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;

    /// The key of that number.
    #[must_use]
    pub fn new(number: u32, key: &[u8; Self::BYTES]) -> Self {
        Self { number, key: Prk::new_less_safe(HKDF_SHA256, key) }
    }

    fn derived(&self, purpose: Purpose, random: &[u8]) -> Result<LessSafeKey, SealingError> {
        let info = [purpose.name(), random];
        let derived = self.key.expand(&info, &AES_256_GCM).map_err(|_| SealingError::Seal)?;
        Ok(LessSafeKey::new(UnboundKey::from(derived)))
    }

    /// Seals bytes for a purpose and a place.
    ///
    /// # Errors
    /// [`SealingError::Seal`].
    pub fn seal(&self, purpose: Purpose, bound: &[u8], plain: &[u8]) -> Result<Bytes, SealingError> {
        let mut random = [0; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| SealingError::Seal)?;
        let key = self.derived(purpose, &random)?;
        let mut sealed = Vec::with_capacity(plain.len() + Self::OVERHEAD_BYTES);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.number.to_be_bytes());
        sealed.extend_from_slice(&random);
        sealed.extend_from_slice(plain);
        let (_, body) = sealed.split_at_mut(HEAD_BYTES);
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(bound), body).map_err(|_| SealingError::Seal)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed.into())
    }

    /// Opens what was sealed for the purpose and the place.
    ///
    /// # Errors
    /// All but [`SealingError::Seal`].
    pub fn open(&self, purpose: Purpose, bound: &[u8], sealed: &[u8]) -> Result<Bytes, SealingError> {
        let (head, body) = sealed.split_first_chunk::<HEAD_BYTES>().ok_or(SealingError::Damaged)?;
        let (&[format], rest) = head.split_first_chunk::<1>().ok_or(SealingError::Damaged)?;
        let (number, random) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or(SealingError::Damaged)?;
        if format != FORMAT || body.len() < TAG_BYTES {
            return Err(SealingError::Damaged);
        }
        let found = u32::from_be_bytes(*number);
        if found != self.number {
            return Err(SealingError::OtherKey { found, own: self.number });
        }
        let key = self.derived(purpose, random)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain = key.open_in_place(nonce, Aad::from(bound), &mut body).map_err(|_| SealingError::Refused)?.len();
        body.truncate(plain);
        Ok(body.into())
    }
}

/// What an object's inline bytes are bound to. The version is not in it: the group draws it when the bytes are already
/// sealed; the ETag stands for it. A copy is sealed anew for its own key.
pub(crate) fn place_of_inline(bucket: BucketId, key: &str, etag: &str) -> Vec<u8> {
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX);
    [&bucket.0.to_be_bytes()[..], &length.to_be_bytes(), key.as_bytes(), etag.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32, fill: u8) -> ClusterKey {
        ClusterKey::new(number, &[fill; ClusterKey::BYTES])
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_place_by_its_key_and_for_nothing_else() {
        let sealed = key(1, 7).seal(Purpose::Inline, b"place", b"some bytes").unwrap();
        assert_eq!(sealed.len(), 10 + ClusterKey::OVERHEAD_BYTES);
        assert!(!sealed.windows(4).any(|window| window == b"some"));
        assert_eq!(key(1, 7).open(Purpose::Inline, b"place", &sealed).unwrap(), "some bytes");
        for (other, purpose, place, error) in [
            (key(1, 8), Purpose::Inline, &b"place"[..], SealingError::Refused),
            (key(1, 7), Purpose::Label, b"place", SealingError::Refused),
            (key(1, 7), Purpose::Inline, b"elsewhere", SealingError::Refused),
            (key(2, 7), Purpose::Inline, b"place", SealingError::OtherKey { found: 1, own: 2 }),
        ] {
            assert_eq!(other.open(purpose, place, &sealed), Err(error));
        }
        let again = key(1, 7).seal(Purpose::Inline, b"place", b"some bytes").unwrap();
        assert_ne!(sealed, again, "each sealing has a key of its own");
        assert_eq!(
            key(1, 7).open(Purpose::Secret, b"", &key(1, 7).seal(Purpose::Secret, b"", b"").unwrap()).unwrap(),
            ""
        );
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let sealed = key(1, 7).seal(Purpose::Snapshot, b"", b"bytes").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(key(1, 7).open(Purpose::Snapshot, b"", &changed).is_err(), "changed at {at}");
            assert!(key(1, 7).open(Purpose::Snapshot, b"", &sealed[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn the_place_of_one_key_is_that_of_no_other() {
        let places = [(1, "ab", "c"), (1, "a", "bc"), (2, "ab", "c"), (1, "ab", "d")]
            .map(|(bucket, key, etag)| place_of_inline(BucketId(bucket), key, etag));
        assert!(places.iter().enumerate().all(|(at, place)| !places[..at].contains(place)));
    }
}
