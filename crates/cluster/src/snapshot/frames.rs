//! The bytes of a snapshot: frames, each the length of a sealed piece of rows and the piece.
//!
//! A piece is bound to its snapshot and its number, the last one to being the last: frames cannot be left out, changed
//! in order, or cut off unseen.

use bytes::{Buf, Bytes, BytesMut};
use cairn_proto::Index;

use crate::sealing::{ClusterKey, Purpose, SealingError};

/// Longest sealed piece that is believed.
const FRAME_BYTES_MAX: usize = 64 << 20;
const LENGTH_BYTES: usize = 4;

/// Why frames cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// They do not open.
    #[error("piece {number} of the snapshot: {error}")]
    Sealed {
        /// Which.
        number: u64,
        /// Why.
        error: SealingError,
    },
    /// No frames, or not all of them.
    #[error("the snapshot is cut off or damaged behind piece {0}")]
    Cut(u64),
}

fn place(snapshot: Index, number: u64, last: bool) -> Vec<u8> {
    [&snapshot.0.to_be_bytes()[..], &number.to_be_bytes(), &[u8::from(last)]].concat()
}

/// Seals pieces in order.
pub(crate) struct Frames<'a> {
    key: &'a ClusterKey,
    snapshot: Index,
    number: u64,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(key: &'a ClusterKey, snapshot: Index) -> Self {
        Self { key, snapshot, number: 0 }
    }

    /// The next frame.
    pub(crate) fn seal(&mut self, piece: &[u8]) -> Result<Bytes, SealingError> {
        self.frame(piece, false)
    }

    /// The frame that says that it was the last.
    pub(crate) fn end(mut self) -> Result<Bytes, SealingError> {
        self.frame(&[], true)
    }

    fn frame(&mut self, piece: &[u8], last: bool) -> Result<Bytes, SealingError> {
        let sealed = self.key.seal(Purpose::Snapshot, &place(self.snapshot, self.number, last), piece)?;
        self.number += 1;
        let length = u32::try_from(sealed.len()).map_err(|_| SealingError::Seal)?;
        Ok([&length.to_be_bytes()[..], &sealed].concat().into())
    }
}

/// Opens frames as their bytes come.
pub(crate) struct FrameReader<'a> {
    key: &'a ClusterKey,
    snapshot: Index,
    number: u64,
    waiting: BytesMut,
    ended: bool,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(key: &'a ClusterKey, snapshot: Index) -> Self {
        Self { key, snapshot, number: 0, waiting: BytesMut::new(), ended: false }
    }

    /// Takes bytes in; gives the pieces that are whole with them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        self.waiting.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while let Some(head) = self.waiting.first_chunk::<LENGTH_BYTES>() {
            let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
            if self.ended || length > FRAME_BYTES_MAX {
                return Err(FrameError::Cut(self.number));
            }
            if self.waiting.len() - LENGTH_BYTES < length {
                break;
            }
            self.waiting.advance(LENGTH_BYTES);
            let sealed = self.waiting.split_to(length);
            pieces.extend(self.open(&sealed)?);
        }
        Ok(pieces)
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Option<Bytes>, FrameError> {
        let open = |last| self.key.open(Purpose::Snapshot, &place(self.snapshot, self.number, last), sealed);
        // The last one has no rows.
        let is_last = sealed.len() == ClusterKey::OVERHEAD_BYTES;
        let piece = open(is_last).map_err(|error| FrameError::Sealed { number: self.number, error })?;
        self.number += 1;
        self.ended = is_last;
        Ok((!is_last).then_some(piece))
    }

    /// Says whether the last frame came.
    pub(crate) fn finish(self) -> Result<(), FrameError> {
        if self.ended && self.waiting.is_empty() { Ok(()) } else { Err(FrameError::Cut(self.number)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &ClusterKey, bytes: &[u8], step: usize) -> Result<Vec<Bytes>, FrameError> {
        let mut reader = FrameReader::new(key, Index(7));
        let mut pieces = Vec::new();
        for some in bytes.chunks(step) {
            pieces.extend(reader.take(some)?);
        }
        reader.finish().map(|()| pieces)
    }

    #[test]
    fn frames_are_read_back_whole_or_not_at_all() {
        let key = ClusterKey::new(1, &[4; ClusterKey::BYTES]);
        let mut frames = Frames::new(&key, Index(7));
        let (one, other) = (frames.seal(b"one").unwrap(), frames.seal(b"other").unwrap());
        let end = frames.end().unwrap();
        let all = [&one[..], &other, &end].concat();
        for step in [1, 3, 1000] {
            assert_eq!(read(&key, &all, step).unwrap(), ["one", "other"]);
        }
        let wrong = [
            [&other[..], &one, &end].concat(),
            [&one[..], &end].concat(),
            [&all[..], &one].concat(),
            all[5..].to_vec(),
        ];
        for bytes in wrong {
            assert!(read(&key, &bytes, 1000).is_err());
        }
        for cut in 0..all.len() {
            assert!(read(&key, &all[..cut], 1000).is_err(), "cut to {cut}");
        }
        let foreign = ClusterKey::new(1, &[5; ClusterKey::BYTES]);
        assert!(matches!(read(&foreign, &all, 1000), Err(FrameError::Sealed { number: 0, .. })));
    }
}
