//! An object that was opened: its row, and the pin that keeps its bytes.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_meta::{Body, MetaView, ObjectRow, PartRef};
use cairn_proto::{BucketId, VersionId, WriterId};

use crate::error::EngineError;
use crate::pins::Pin;
use crate::read::ObjectBody;
use crate::read::url_versions::{SeenVersion, UrlRange};
use crate::sealing::{Purpose, place_of_inline};
use crate::shared::Shared;
use crate::write::is_own_part;

/// Keeps a version's bytes readable until dropped.
///
/// The pin counts while our writer is open. When the group closed it, the manifest is read again under a new pin: the
/// same version goes on, another one breaks the read.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    bucket: BucketId,
    key: String,
    version: VersionId,
    pinned: Mutex<(WriterId, Pin)>,
}

impl Hold {
    /// Pins first, then reads the row.
    async fn take(
        shared: &Arc<Shared>,
        bucket: BucketId,
        key: &str,
    ) -> Result<(Self, ObjectRow, MetaView), EngineError> {
        let writer = shared.writer.id();
        let pin = shared.pins.pin(|| shared.meta.applied());
        let view = shared.meta.read().await?;
        let named = key.to_owned();
        let row = view.fetch(move |view| view.object(bucket, &named)).await?.ok_or(EngineError::NoSuchObject)?;
        pin.name(row.version);
        let hold = Self {
            shared: Arc::clone(shared),
            bucket,
            key: key.to_owned(),
            version: row.version,
            pinned: Mutex::new((writer, pin)),
        };
        Ok((hold, row, view))
    }

    /// Holds by the version's name from now on.
    pub(super) fn by_name(&self) {
        self.pinned.lock().expect("no holder of this lock panics").1.by_name();
    }

    pub(super) fn is_of(&self, bucket: BucketId, key: &str) -> bool {
        self.bucket == bucket && self.key == key
    }

    pub(super) fn is_same_object(&self, other: &Self) -> bool {
        self.is_of(other.bucket, &other.key)
    }

    /// The bytes of a row that has them in itself, opened; none for a row that has not.
    pub(crate) fn inline(&self, shared: &Shared, row: &ObjectRow) -> Option<Result<Bytes, EngineError>> {
        match &row.body {
            Body::Inline(bytes) => Some(Ok(bytes.clone())),
            Body::Sealed(sealed) => {
                let bound = place_of_inline(self.bucket, &self.key, &row.etag);
                let plain = shared.key.open(Purpose::Inline, &bound, sealed);
                Some(plain.map_err(|error| EngineError::Sealed { key: self.key.clone(), error }))
            }
            Body::Extents(_) | Body::Parts { .. } => None,
        }
    }

    /// Called between pieces: fails where the bytes may be gone.
    pub(crate) async fn check(&self) -> Result<(), EngineError> {
        let writer = self.pinned.lock().expect("no holder of this lock panics").0;
        if self.shared.writer.id() == writer {
            return Ok(());
        }
        let (anew, row, _) = Self::take(&self.shared, self.bucket, &self.key).await?;
        if row.version != self.version {
            return Err(EngineError::unavailable("the object was overwritten while our writer was closed"));
        }
        let pinned = anew.pinned.into_inner().expect("no holder of this lock panics");
        *self.pinned.lock().expect("no holder of this lock panics") = pinned;
        Ok(())
    }
}

/// An open object.
pub struct ObjectReader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hold: Arc<Hold>,
    row: Arc<ObjectRow>,
}

impl ObjectReader {
    pub(crate) async fn open(shared: &Arc<Shared>, bucket: BucketId, key: &str) -> Result<Self, EngineError> {
        let (hold, row, _) = Hold::take(shared, bucket, key).await?;
        Ok(Self::of(shared, SeenVersion { hold: Arc::new(hold), row: Arc::new(row) }))
    }

    /// Opens the version that the URL's ranges are of.
    pub(crate) async fn open_range(
        shared: &Arc<Shared>,
        bucket: BucketId,
        key: &str,
        range: &UrlRange,
    ) -> Result<Self, EngineError> {
        if let Some(seen) = shared.urls.find(range, bucket, key) {
            if seen.hold.check().await.is_ok() {
                return Ok(Self::of(shared, seen));
            }
            shared.urls.let_go(range.url);
        }
        let (hold, row, _) = Hold::take(shared, bucket, key).await?;
        if !range.is_first && shared.urls.may_have_seen_another(range, (bucket, key), &row) {
            return Err(EngineError::VersionUnknown);
        }
        let seen = SeenVersion { hold: Arc::new(hold), row: Arc::new(row) };
        Ok(Self::of(shared, shared.urls.remember(range.url, seen)))
    }

    fn of(shared: &Arc<Shared>, SeenVersion { hold, row }: SeenVersion) -> Self {
        Self { shared: Arc::clone(shared), hold, row }
    }

    /// The version's row.
    #[must_use]
    pub fn row(&self) -> &ObjectRow {
        &self.row
    }

    /// The bucket it was opened in.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        self.hold.bucket
    }

    /// The key it was opened under.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.hold.key
    }

    /// The parts that its client uploaded it in; none where it came as one, though its row may name parts of our own.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn uploaded_parts(&self) -> Result<&[PartRef], EngineError> {
        let Body::Parts { upload, parts } = &self.row.body else { return Ok(&[]) };
        let Some(first) = parts.first() else { return Ok(&[]) };
        let (upload, number) = (*upload, first.number);
        // The hold keeps the rows of the parts.
        let part = self.shared.meta.local().fetch(move |view| view.part(upload, number)).await?;
        let part = part.ok_or_else(|| EngineError::unavailable("the parts of the object are gone"))?;
        if is_own_part(number, &part.etag) {
            return Ok(&[]);
        }
        Ok(parts)
    }

    /// Its bytes in a range, which is cut to the object's length.
    #[must_use]
    pub fn body(self, range: Range<u64>) -> ObjectBody {
        self.stream(range)
    }

    /// The same without giving the reader up: both hold the version.
    pub(crate) fn stream(&self, range: Range<u64>) -> ObjectBody {
        let start = range.start.min(self.row.bytes);
        let range = start..range.end.clamp(start, self.row.bytes);
        ObjectBody::start(Arc::clone(&self.shared), Arc::clone(&self.hold), Arc::clone(&self.row), range)
    }
}
