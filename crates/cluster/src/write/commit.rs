//! The commit: one command makes what was written visible, or nothing of it.
//!
//! A segment of which the group counts too few shards (a disk was attached again since it answered) is lifted, and the
//! command is sent anew under a new number. An object of more segments than a row may list becomes an upload by itself.

use std::sync::Arc;

use cairn_meta::{Command, MetaError, NewBody, NewSegment, Refusal, Reply};
use cairn_proto::WriterId;

use super::lift::{LIFTS_MAX, lift, lift_until_enough};
use super::own_upload::OwnUpload;
use super::stored::{StoredBody, StoredBytes, StoredSegment, mark_committed};
use crate::error::EngineError;
use crate::label::SegmentOwner;
use crate::ops::{Committed, ObjectCommit, PartCommit, version_of};
use crate::sealing::{Purpose, place_of_inline};
use crate::shared::Shared;

/// Commits an object.
pub(crate) async fn commit_object(stored: StoredBytes, object: ObjectCommit) -> Result<Committed, EngineError> {
    if stored.bucket != object.bucket || stored.key != object.key {
        return Err(EngineError::invalid("bytes written for one key cannot be committed under another"));
    }
    let shared = Arc::clone(&stored.shared);
    let put = |body: NewBody| Command::PutObject {
        bucket: object.bucket,
        key: object.key.clone(),
        etag: object.etag.clone(),
        checksum: object.checksum.clone(),
        attributes: object.attributes.clone(),
        body,
        preconditions: object.preconditions.clone(),
    };
    match stored.body {
        StoredBody::Inline(plain) => {
            let bound = place_of_inline(object.bucket, &object.key, &object.etag);
            let sealed = shared.key.seal(Purpose::Inline, &bound, &plain);
            let sealed = sealed.map_err(|error| EngineError::unavailable(error.to_string()))?;
            let bytes = stored.bytes;
            version_of(&shared.writer.commit(put(NewBody::Sealed { sealed, bytes })).await?)
        }
        StoredBody::Segments(segments) if segments.len() > shared.options.extents_max => {
            commit_large(&shared, &stored.owner, segments, object).await
        }
        StoredBody::Segments(segments) => {
            let commit = SegmentCommit { shared: &shared, owner: &stored.owner };
            version_of(&commit.run(segments, |segments| put(NewBody::Segments(segments))).await?)
        }
    }
}

/// Commits a part.
pub(crate) async fn commit_part(stored: StoredBytes, part: PartCommit) -> Result<Committed, EngineError> {
    if stored.bucket != part.bucket || stored.key != part.key {
        return Err(EngineError::invalid("bytes written for one key cannot be committed under another"));
    }
    let StoredBody::Segments(segments) = stored.body else {
        return Err(EngineError::invalid("the bytes were not written as a part"));
    };
    let put = |segments: Vec<NewSegment>| Command::PutPart {
        bucket: part.bucket,
        key: part.key.clone(),
        upload: part.upload,
        number: part.number,
        etag: part.etag.clone(),
        checksum: part.checksum.clone(),
        segments,
    };
    version_of(&SegmentCommit { shared: &stored.shared, owner: &stored.owner }.run(segments, put).await?)
}

/// The commit of a command that brings in segments.
pub(super) struct SegmentCommit<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) owner: &'a Arc<SegmentOwner>,
}

impl SegmentCommit<'_> {
    pub(super) async fn run(
        &self,
        mut segments: Vec<StoredSegment>,
        command: impl Fn(Vec<NewSegment>) -> Command,
    ) -> Result<Reply, EngineError> {
        // Counted by place: a lifted segment has another id.
        let mut lifts = vec![0; segments.len()];
        loop {
            let news = segments.iter().map(|segment| segment.new.clone()).collect();
            match self.shared.writer.commit_as(self.writer(&segments), command(news)).await {
                Ok(reply) => {
                    mark_committed(&mut segments);
                    return Ok(reply);
                }
                Err(MetaError::Refused(Refusal::TooFewShards { segment, present, needed })) => {
                    let place = segments.iter().position(|known| known.new.id == segment);
                    let Some(place) = place.filter(|place| lifts[*place] < LIFTS_MAX) else {
                        return Err(MetaError::Refused(Refusal::TooFewShards { segment, present, needed }).into());
                    };
                    lifts[place] += 1;
                    self.lift(&mut segments[place]).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The writer the segments belong to: the command must be of the same.
    fn writer(&self, segments: &[StoredSegment]) -> WriterId {
        segments.first().map_or_else(|| self.shared.writer.id(), |segment| segment.new.id.writer)
    }

    async fn lift(&self, segment: &mut StoredSegment) -> Result<(), EngineError> {
        self.shared.map.refresh(&self.shared.meta).await?;
        let written = lift(self.shared, self.owner, segment, &[segment.new.pg]).await?;
        *segment = lift_until_enough(self.shared, self.owner, written).await?;
        Ok(())
    }
}

/// Makes an upload of a large object's segments and completes it.
async fn commit_large(
    shared: &Arc<Shared>,
    owner: &Arc<SegmentOwner>,
    segments: Vec<StoredSegment>,
    object: ObjectCommit,
) -> Result<Committed, EngineError> {
    let mut upload = OwnUpload::open(shared, &object).await?;
    let put = put_parts(&SegmentCommit { shared, owner }, segments, &object, &mut upload).await;
    upload.end(put).await
}

async fn put_parts(
    commit: &SegmentCommit<'_>,
    segments: Vec<StoredSegment>,
    object: &ObjectCommit,
    upload: &mut OwnUpload<'_>,
) -> Result<(), EngineError> {
    let shared = commit.shared;
    let mut segments = segments.into_iter().peekable();
    while segments.peek().is_some() {
        let row: Vec<StoredSegment> = segments.by_ref().take(shared.options.extents_max).collect();
        let (part, id) = (upload.next_part()?, upload.id);
        let put = |segments: Vec<NewSegment>| Command::PutPart {
            bucket: object.bucket,
            key: object.key.clone(),
            upload: id,
            number: part.number,
            etag: part.etag.clone(),
            checksum: None,
            segments,
        };
        commit.run(row, put).await?;
    }
    Ok(())
}
