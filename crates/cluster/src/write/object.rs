//! The bytes of an object or part as they come in.
//!
//! Small objects stay in memory and travel in the commit. Others fall into segments; the finish of one overlaps with
//! the writing of the next, and no more than those two are in flight. A body of unknown length is collected up to
//! [`UNKNOWN_SEGMENT_BYTES`] before its segment begins: a shard's header names the segment's length.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_proto::{BucketId, Index, UploadId};
use tokio::task::JoinHandle;

use super::lift::lift_until_enough;
use super::segment::{SegmentPlace, SegmentWriter};
use super::stored::{StoredBody, StoredBytes, StoredSegment};
use crate::error::EngineError;
use crate::label::SegmentOwner;
use crate::options::EngineOptions;
use crate::shared::Shared;
use crate::want::Want;

/// Segments of a body whose length is not known are this long.
const UNKNOWN_SEGMENT_BYTES: u64 = 8 << 20;
/// Most segments of an object written at once: their ids and guards are kept in memory until the commit. A part has
/// one row, so it may have no more than a row lists.
const SEGMENTS_MAX: usize = 8192;

/// What is being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteKind {
    /// An object: inline when small.
    Object,
    /// A part of an upload: never inline.
    Part {
        /// The upload.
        upload: UploadId,
        /// The part's number.
        number: u16,
    },
    /// A snapshot of the metadata, by the index of its rows: never inline; bucket and key say nothing.
    Snapshot(Index),
}

/// Where bytes shall go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteTarget {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: String,
    /// Object or part.
    pub kind: WriteKind,
    /// How many bytes will come, where that is known: a body of another length is refused.
    pub length: Option<u64>,
    /// The storage class that was asked for: its profile, if it has one.
    pub class: Option<String>,
}

impl WriteTarget {
    /// For the labels of its segments.
    fn owner(&self) -> SegmentOwner {
        let part = match self.kind {
            WriteKind::Snapshot(snapshot) => return SegmentOwner::Snapshot(snapshot),
            WriteKind::Object => None,
            WriteKind::Part { upload, number } => Some((upload, number)),
        };
        SegmentOwner::Object { bucket: self.bucket, key: self.key.clone(), part, bytes: self.length }
    }

    /// Refuses more bytes than the target may have.
    pub(crate) fn check_bytes(&self, options: &EngineOptions, bytes: u64) -> Result<(), EngineError> {
        let segment_bytes = match self.length {
            Some(_) => options.segment_bytes_max,
            None => UNKNOWN_SEGMENT_BYTES.min(options.segment_bytes_max),
        };
        let segments = match self.kind {
            WriteKind::Object | WriteKind::Snapshot(_) => SEGMENTS_MAX,
            WriteKind::Part { .. } => options.extents_max,
        };
        check_segments(segments, segment_bytes, bytes)
    }
}

/// Refuses more bytes of a known length than a part may have: its row lists all its segments.
pub(crate) fn check_part_bytes(options: &EngineOptions, bytes: u64) -> Result<(), EngineError> {
    check_segments(options.extents_max, options.segment_bytes_max, bytes)
}

fn check_segments(segments: usize, segment_bytes: u64, bytes: u64) -> Result<(), EngineError> {
    let bytes_max = segment_bytes.saturating_mul(u64::try_from(segments).unwrap_or(u64::MAX));
    if bytes > bytes_max { Err(EngineError::TooLarge { bytes_max }) } else { Ok(()) }
}

/// A running segment finish.
struct Finishing(JoinHandle<Result<StoredSegment, EngineError>>);

impl Drop for Finishing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the bytes of one object or part. Dropped, nothing was written.
pub struct ObjectWriter {
    shared: Arc<Shared>,
    owner: Arc<SegmentOwner>,
    target: WriteTarget,
    /// What is to be coded with; known with the first segment.
    want: Option<Want>,
    received: u64,
    /// Bytes handed to segments.
    placed: u64,
    /// Bytes that wait: for the decision whether the object is inline, or for a segment of unknown length.
    waiting: BytesMut,
    current: Option<SegmentWriter>,
    finishing: Option<Finishing>,
    done: Vec<StoredSegment>,
    failed: bool,
}

impl ObjectWriter {
    /// Refuses a body that is announced longer than can be committed.
    pub(crate) fn begin(shared: &Arc<Shared>, target: WriteTarget) -> Result<Self, EngineError> {
        target.check_bytes(&shared.options, target.length.unwrap_or(0))?;
        Ok(Self {
            shared: Arc::clone(shared),
            owner: Arc::new(target.owner()),
            target,
            want: None,
            received: 0,
            placed: 0,
            waiting: BytesMut::new(),
            current: None,
            finishing: None,
            done: Vec::new(),
            failed: false,
        })
    }

    /// Takes the next bytes. After an error the writer is of no more use.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for more bytes than announced, [`EngineError::TooLarge`] for more than there may be of
    /// a body of unknown length, [`EngineError::Unavailable`] when too few disks take them.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        if self.failed {
            return Err(EngineError::invalid("this write failed before"));
        }
        // Set before the first wait: a call that is dropped half-way leaves a body with a hole.
        self.failed = true;
        self.take(bytes).await?;
        self.failed = false;
        Ok(())
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.received = self.received.saturating_add(length);
        if self.target.length.is_some_and(|announced| self.received > announced) {
            return Err(EngineError::invalid("the body is longer than announced"));
        }
        self.target.check_bytes(&self.shared.options, self.received)?;
        if self.may_be_inline() {
            self.waiting.extend_from_slice(&bytes);
            return Ok(());
        }
        match self.target.length {
            Some(_) => {
                let waited = std::mem::take(&mut self.waiting).freeze();
                self.place(waited).await?;
                self.place(bytes).await
            }
            None => self.collect(bytes).await,
        }
    }

    fn may_be_inline(&self) -> bool {
        let inline_bytes_max = u64::try_from(self.shared.options.inline_bytes_max).unwrap_or(0);
        self.target.kind == WriteKind::Object && self.received.max(self.target.length.unwrap_or(0)) <= inline_bytes_max
    }

    /// Unknown length: a segment begins when it is complete.
    async fn collect(&mut self, mut bytes: Bytes) -> Result<(), EngineError> {
        let segment_bytes = UNKNOWN_SEGMENT_BYTES.min(self.shared.options.segment_bytes_max);
        let segment_bytes = usize::try_from(segment_bytes).unwrap_or(usize::MAX);
        while !bytes.is_empty() {
            let room = segment_bytes - self.waiting.len().min(segment_bytes);
            self.waiting.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.waiting.len() >= segment_bytes {
                self.place_collected().await?;
            }
        }
        Ok(())
    }

    async fn place_collected(&mut self) -> Result<(), EngineError> {
        let collected = std::mem::take(&mut self.waiting).freeze();
        if collected.is_empty() {
            return Ok(());
        }
        self.begin_segment(u64::try_from(collected.len()).unwrap_or(u64::MAX)).await?;
        self.place(collected).await
    }

    /// Known length: bytes go to the segment they belong to.
    async fn place(&mut self, mut bytes: Bytes) -> Result<(), EngineError> {
        while !bytes.is_empty() {
            if self.current.is_none() {
                let rest = self.target.length.map_or(0, |length| length - self.placed);
                self.begin_segment(rest.min(self.shared.options.segment_bytes_max)).await?;
            }
            let Some(segment) = &mut self.current else { continue };
            let room = usize::try_from(segment.bytes_left()).unwrap_or(usize::MAX);
            let piece = bytes.split_to(room.min(bytes.len()));
            self.placed += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            segment.write(piece).await?;
            if segment.bytes_left() == 0 {
                self.end_segment().await?;
            }
        }
        Ok(())
    }

    async fn begin_segment(&mut self, bytes: u64) -> Result<(), EngineError> {
        let want = match self.want {
            Some(want) => want,
            None => {
                let want = self.shared.want(self.target.bucket, self.target.class.as_deref()).await?;
                *self.want.insert(want)
            }
        };
        let place = SegmentPlace { owner: Arc::clone(&self.owner), offset: self.placed, bytes, want };
        self.current = Some(SegmentWriter::begin(&self.shared, &place, &[]).await?);
        Ok(())
    }

    /// Lets the full segment finish behind the next one, once the one before it is through.
    async fn end_segment(&mut self) -> Result<(), EngineError> {
        let Some(segment) = self.current.take() else { return Ok(()) };
        let (shared, owner) = (Arc::clone(&self.shared), Arc::clone(&self.owner));
        let task = tokio::spawn(async move {
            let written = segment.finish().await?;
            lift_until_enough(&shared, &owner, written).await
        });
        let before = self.finishing.replace(Finishing(task));
        self.settle(before).await
    }

    async fn settle(&mut self, finishing: Option<Finishing>) -> Result<(), EngineError> {
        if let Some(mut finishing) = finishing {
            let stored = (&mut finishing.0).await.map_err(|_| EngineError::Shutdown)??;
            self.done.push(stored);
        }
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a body that is shorter than announced, and as [`Self::write`].
    pub async fn finish(mut self) -> Result<StoredBytes, EngineError> {
        if self.failed {
            return Err(EngineError::invalid("this write failed before"));
        }
        if self.target.length.is_some_and(|announced| self.received < announced) {
            return Err(EngineError::invalid("the body is shorter than announced"));
        }
        let body = if self.may_be_inline() {
            StoredBody::Inline(std::mem::take(&mut self.waiting).freeze())
        } else {
            self.place_collected().await?;
            let last = self.finishing.take();
            self.settle(last).await?;
            StoredBody::Segments(std::mem::take(&mut self.done))
        };
        Ok(StoredBytes {
            shared: self.shared,
            bucket: self.target.bucket,
            key: self.target.key,
            owner: self.owner,
            bytes: self.received,
            body,
        })
    }
}
