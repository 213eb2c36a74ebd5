//! An upload of the engine's own: how an object of more segments than a row lists becomes visible in one command.
//!
//! Its parts are put one by one, and completing it is the commit. One that gets stuck dies with its writer.

use std::sync::Arc;

use cairn_meta::{ChosenPart, Command, Reply};
use cairn_proto::UploadId;

use crate::error::EngineError;
use crate::ops::{Committed, ObjectCommit, version_of};
use crate::shared::Shared;

/// An open upload that will be an object.
pub(crate) struct OwnUpload<'a> {
    shared: &'a Arc<Shared>,
    object: &'a ObjectCommit,
    pub(crate) id: UploadId,
    parts: Vec<ChosenPart>,
}

impl<'a> OwnUpload<'a> {
    /// Opens it.
    pub(crate) async fn open(shared: &'a Arc<Shared>, object: &'a ObjectCommit) -> Result<Self, EngineError> {
        let create = Command::CreateUpload {
            bucket: object.bucket,
            key: object.key.clone(),
            attributes: object.attributes.clone(),
            checksum: None,
            initiator: String::new(),
            internal: true,
        };
        match shared.writer.commit(create).await? {
            Reply::Upload(id) => Ok(Self { shared, object, id, parts: Vec::new() }),
            _ => Err(EngineError::unavailable("CreateUpload was answered without an upload")),
        }
    }

    /// The next part, to be put by the caller.
    pub(crate) fn next_part(&mut self) -> Result<ChosenPart, EngineError> {
        let number = u16::try_from(self.parts.len() + 1).map_err(|_| EngineError::invalid("too many parts"))?;
        let part = ChosenPart { number, etag: etag_of(number), checksum: None };
        self.parts.push(part.clone());
        Ok(part)
    }

    /// Makes the object of it, if all its parts were `put`; else it is removed.
    pub(crate) async fn end(self, put: Result<(), EngineError>) -> Result<Committed, EngineError> {
        if let Err(error) = put {
            // Whether the last part is there or not, nothing was completed.
            self.abort().await;
            return Err(told(error));
        }
        let completed = self.complete().await;
        // Unknown, it may be completed, and must not be aborted; if it is not, it dies with its writer.
        if matches!(&completed, Err(error) if !matches!(error, EngineError::Unknown)) {
            self.abort().await;
        }
        completed.map_err(told)
    }

    async fn complete(&self) -> Result<Committed, EngineError> {
        let complete = Command::CompleteUpload {
            bucket: self.object.bucket,
            key: self.object.key.clone(),
            upload: self.id,
            parts: self.parts.clone(),
            etag: self.object.etag.clone(),
            checksum: self.object.checksum.clone(),
            preconditions: self.object.preconditions.clone(),
        };
        version_of(&self.shared.writer.commit(complete).await?)
    }

    async fn abort(&self) {
        let abort = Command::AbortUpload { bucket: self.object.bucket, key: self.object.key.clone(), upload: self.id };
        if let Err(error) = self.shared.writer.commit(abort).await {
            tracing::warn!(%error, upload = %self.id, "the upload of a failed large object stays until its writer is closed");
        }
    }
}

/// The ETag of a part of our own: no bytes have it.
fn etag_of(number: u16) -> String {
    format!("{number:032x}")
}

/// Whether a part is of an upload of our own: its object came from the client as one.
pub(crate) fn is_own_part(number: u16, etag: &str) -> bool {
    etag == etag_of(number)
}

fn told(error: EngineError) -> EngineError {
    match error {
        EngineError::NoSuchUpload => {
            EngineError::unavailable("our writer was closed while the object was put together")
        }
        error => error,
    }
}
