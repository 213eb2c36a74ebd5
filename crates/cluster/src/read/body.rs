//! An object's bytes as a stream.
//!
//! ```text
//! task: window of extents -> segment row -> batch of stripes --channel(1)--> ObjectBody -> client
//! ```
//!
//! The task reads the next batch while the present one is sent. A batch has at most [`BATCH_BYTES`] and [`BATCHES_MAX`] may
//! exist at once: in the client's hands, in the channel, and in the making. That bounds what a read takes.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_meta::{Extent, ObjectRow};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::EngineError;
use crate::read::{Hold, SegmentReader, SegmentSource};
use crate::shared::Shared;

/// Data bytes read at once, unless a single stripe has more.
pub(crate) const BATCH_BYTES: u64 = 3 << 20;
/// Batches that may exist at once.
pub(crate) const BATCHES_MAX: u64 = 3;
/// Extents are resolved for so many bytes of the object at a time.
const WINDOW_BYTES: u64 = 1 << 30;

type Batch = Result<Vec<Bytes>, EngineError>;

/// The bytes of an open object, in order. It ends early only with an error.
pub struct ObjectBody {
    ready: VecDeque<Bytes>,
    /// Why there are no bytes: told first.
    failed: Option<EngineError>,
    source: Option<Source>,
    bytes_left: u64,
}

struct Source {
    batches: mpsc::Receiver<Batch>,
    task: JoinHandle<()>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ObjectBody {
    pub(super) fn start(shared: Arc<Shared>, hold: Arc<Hold>, row: Arc<ObjectRow>, range: Range<u64>) -> Self {
        let bytes_left = range.end - range.start;
        if let Some(inline) = hold.inline(&shared, &row) {
            let cut = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let (piece, failed) = match inline {
                Ok(bytes) => {
                    (cut.and_then(|(start, end)| bytes.get(start..end).map(|piece| bytes.slice_ref(piece))), None)
                }
                Err(error) => (None, Some(error)),
            };
            let ready = piece.filter(|piece| !piece.is_empty()).into_iter().collect();
            return Self { ready, failed, source: None, bytes_left };
        }
        if bytes_left == 0 {
            return Self { ready: VecDeque::new(), failed: None, source: None, bytes_left };
        }
        let (sender, batches) = mpsc::channel(1);
        let feed = Feed { shared, hold, row, sender };
        let task = tokio::spawn(feed.run(range));
        Self { ready: VecDeque::new(), failed: None, source: Some(Source { batches, task }), bytes_left }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.bytes_left
    }
}

impl Stream for ObjectBody {
    type Item = Result<Bytes, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.failed.take() {
            self.bytes_left = 0;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(piece) = self.ready.pop_front() {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.bytes_left = self.bytes_left.saturating_sub(length);
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some(source) = &mut self.source else {
                return self.end();
            };
            match std::task::ready!(source.batches.poll_recv(cx)) {
                Some(Ok(pieces)) => self.ready.extend(pieces),
                Some(Err(error)) => {
                    self.source = None;
                    self.bytes_left = 0;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.source = None,
            }
        }
    }
}

impl ObjectBody {
    /// The end, which is an error while bytes are owed: a short body must never look whole.
    fn end(&mut self) -> Poll<Option<Result<Bytes, EngineError>>> {
        if self.bytes_left == 0 {
            return Poll::Ready(None);
        }
        self.bytes_left = 0;
        Poll::Ready(Some(Err(EngineError::Shutdown)))
    }
}

/// The task's side.
struct Feed {
    shared: Arc<Shared>,
    hold: Arc<Hold>,
    row: Arc<ObjectRow>,
    sender: mpsc::Sender<Batch>,
}

impl Feed {
    async fn run(self, range: Range<u64>) {
        if let Err(error) = self.send_range(range).await {
            // The receiver may be gone: then nobody waits for the error.
            let _sent = self.sender.send(Err(error)).await;
        }
    }

    async fn send_range(&self, range: Range<u64>) -> Result<(), EngineError> {
        let mut at = range.start;
        while at < range.end {
            let window = at..range.end.min(at + WINDOW_BYTES);
            for extent in self.extents(window.clone()).await? {
                self.send_extent(&extent).await?;
            }
            at = window.end;
        }
        Ok(())
    }

    /// The extents of a window. The pin keeps the rows they are read from.
    async fn extents(&self, window: Range<u64>) -> Result<Vec<Extent>, EngineError> {
        let row = Arc::clone(&self.row);
        Ok(self.shared.meta.local().fetch(move |view| view.extents(&row.body, window.clone())).await?)
    }

    async fn send_extent(&self, extent: &Extent) -> Result<(), EngineError> {
        let (pg, segment) = (extent.pg, extent.segment);
        let row = self.shared.meta.local().fetch(move |view| view.segment(pg, segment)).await?;
        let gone = || EngineError::Corrupt { segment, detail: "its row is gone".to_owned() };
        let row = row.ok_or_else(gone)?;
        let source = SegmentSource::of_row(&self.shared, extent.pg, extent.segment, &row)?;
        let reader = SegmentReader::new(Arc::clone(&self.shared), source);
        let range = extent.offset..extent.offset + extent.bytes;
        let all = reader.layout().stripes_of(range.clone());
        let stripe_bytes = reader.layout().stripe_bytes(0).max(1);
        let batch = u32::try_from((BATCH_BYTES / stripe_bytes).max(1)).unwrap_or(1);
        let mut stripe = all.start;
        while stripe < all.end {
            // The first batch of a segment is one stripe, so that the first byte goes out soon.
            let count = if stripe == all.start { 1 } else { batch };
            let stripes = stripe..all.end.min(stripe + count);
            stripe = stripes.end;
            self.hold.check().await?;
            let pieces = reader.read_range(&range, stripes).await?;
            if self.sender.send(Ok(pieces)).await.is_err() {
                return Err(EngineError::Shutdown);
            }
        }
        Ok(())
    }
}
