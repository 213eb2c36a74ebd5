//! The log writer thread: one growing file, to which all streams append their units as they arrive.
//!
//! When a shard wants to be durable and the committer is free, the file goes to the committer and the next one begins.
//! While the committer is busy the file keeps growing, so that many shards share a commit. A file also ends at
//! 256 MiB.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc as std_mpsc,
    },
};

use bytes::Bytes;
use rocksdb::SstFileWriter;
use tokio::sync::mpsc;

use super::{
    core::Core,
    engine::{create_file, engine_error},
    index_thread::{FinishKind, LogFinish, Reply},
    keys::{FileId, LogKey},
    rows::{
        HeaderFields, KIND_HEADER, KIND_TRAILER, KIND_UNIT, LogHeader, LogPlace, Place, Trailer, encode_entry, runs_of,
    },
};
use crate::{Finished, SealedUnit, ShardStoreError, checks::check_header};

/// Units that may wait: 4 MiB.
pub(super) const QUEUE_MAX: usize = 16;
/// Orders taken while a file waits to be handed over.
const PATIENCE_ORDERS: u32 = 32;

/// The bytes of an entry.
#[derive(Debug)]
pub(super) enum UnitValue {
    /// From a writer.
    Sealed(SealedUnit),
    /// From cleaning: as it stands in the log, kind byte included.
    Entry(Bytes),
}

/// A shard's last word.
#[derive(Debug)]
pub(super) struct FinishOrder {
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub kind: FinishKind,
    /// Cleaning keeps the shard's first header key.
    pub origin: Option<LogKey>,
    /// Whether the file should be committed soon for this one.
    pub hurry: bool,
    pub reply: Reply<Finished>,
}

/// What the thread does.
#[derive(Debug)]
pub(super) enum LogOrder {
    /// A stream begins, with places it has already (cleaning).
    Begin {
        stream: u64,
        places: Vec<Place>,
    },
    /// The unit of a stripe.
    Unit {
        stream: u64,
        stripe: u32,
        value: UnitValue,
    },
    Finish {
        stream: u64,
        finish: Box<FinishOrder>,
    },
    /// Hand the open file over soon.
    Commit,
    /// Something changed beside the queue: a stream ended, the committer is free.
    Wake,
    Close,
}

/// Streams that ended without a finish. Beside the queue, since a dropped writer cannot wait for room in it.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Vec<u64>>);

impl Ended {
    pub(super) fn push(&self, stream: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A file that goes to the committer.
pub(super) struct FullFile {
    pub writer: SstFileWriter<'static>,
    pub path: PathBuf,
    pub id: FileId,
    pub last: LogKey,
    pub bytes: u64,
    pub finishes: Vec<LogFinish>,
}

struct OpenFile {
    writer: SstFileWriter<'static>,
    path: PathBuf,
    id: FileId,
    last: LogKey,
    bytes: u64,
    headers: Vec<u64>,
    finishes: Vec<LogFinish>,
}

#[derive(Default)]
struct Stream {
    places: Vec<Place>,
    held: Vec<FileId>,
}

/// The thread's own.
pub(super) struct LogWriter {
    core: Arc<Core>,
    orders: mpsc::Receiver<LogOrder>,
    ended: Arc<Ended>,
    committer: std_mpsc::SyncSender<FullFile>,
    /// Files the committer has not finished.
    in_commit: Arc<AtomicUsize>,
    streams: HashMap<u64, Stream>,
    file: Option<OpenFile>,
    counter: u64,
    wants_commit: bool,
    buffer: Vec<u8>,
}

impl LogWriter {
    pub(super) fn new(
        core: Arc<Core>,
        orders: mpsc::Receiver<LogOrder>,
        ended: Arc<Ended>,
        committer: std_mpsc::SyncSender<FullFile>,
        in_commit: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            core,
            orders,
            ended,
            committer,
            in_commit,
            streams: HashMap::new(),
            file: None,
            counter: 0,
            wants_commit: false,
            buffer: Vec::new(),
        }
    }

    /// Runs until told to close or nobody can send orders any more.
    pub(super) fn run(mut self) {
        let mut orders_since = 0;
        loop {
            let order = match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(_) => {
                    self.hand_over_if_wanted();
                    orders_since = 0;
                    self.orders.blocking_recv()
                }
            };
            match order {
                None | Some(LogOrder::Close) => break,
                Some(order) => self.take(order),
            }
            for stream in self.ended.take() {
                self.end(stream);
            }
            orders_since += 1;
            let is_full = self.file.as_ref().is_some_and(|file| file.bytes >= self.core.file_bytes_max);
            if is_full {
                self.hand_over();
            } else if orders_since >= PATIENCE_ORDERS {
                self.hand_over_if_wanted();
                orders_since = 0;
            }
        }
        // Shards finished and not committed: their callers see that nobody answers.
        if let Some(file) = self.file.take() {
            drop(file.writer);
            let _ = std::fs::remove_file(file.path);
        }
    }

    fn take(&mut self, order: LogOrder) {
        match order {
            LogOrder::Begin { stream, places } => {
                self.streams.insert(stream, Stream { places, held: Vec::new() });
            }
            LogOrder::Unit { stream, stripe, value } => {
                // A stream that ended meanwhile wants nothing written.
                if self.streams.contains_key(&stream)
                    && let Err(e) = self.append_unit(stream, stripe, &value)
                {
                    self.fail(&e);
                    self.end(stream);
                }
            }
            LogOrder::Finish { stream, finish } => self.finish(stream, *finish),
            LogOrder::Commit => self.wants_commit = true,
            LogOrder::Wake | LogOrder::Close => {}
        }
    }

    fn append_unit(&mut self, stream: u64, stripe: u32, value: &UnitValue) -> Result<(), ShardStoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let place = match value {
            UnitValue::Sealed(unit) => {
                buffer.clear();
                buffer.push(KIND_UNIT);
                unit.write_to(&mut buffer);
                self.append(&buffer)
            }
            UnitValue::Entry(entry) => self.append(entry),
        };
        self.buffer = buffer;
        let place = place?;
        let Some(stream) = self.streams.get_mut(&stream) else { return Ok(()) };
        if !stream.held.contains(&place.file) {
            self.core.pending.hold(place.file);
            stream.held.push(place.file);
        }
        let at = usize::try_from(stripe).map_err(engine_error)?;
        if at > stream.places.len() {
            return Err(ShardStoreError::Invalid("units come in order of stripe"));
        }
        match stream.places.get_mut(at) {
            Some(standing) => *standing = place,
            None => stream.places.push(place),
        }
        Ok(())
    }

    /// Puts an entry under the next key; begins a file where none is open.
    fn append(&mut self, value: &[u8]) -> Result<Place, ShardStoreError> {
        self.core.vitals.check_write()?;
        let key = LogKey { start: self.core.start, counter: self.counter };
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let path = self.core.staging().join(format!("{:016x}-{:016x}.sst", key.start, key.counter));
                let writer = create_file(&path).map_err(engine_error)?;
                let (headers, finishes) = (Vec::new(), Vec::new());
                self.file.insert(OpenFile { writer, path, id: FileId(key), last: key, bytes: 0, headers, finishes })
            }
        };
        file.writer.put(key.to_bytes(), value).map_err(engine_error)?;
        let bytes = value.len() as u64;
        file.bytes += bytes;
        file.last = key;
        self.counter += 1;
        Ok(Place { file: file.id, key, bytes })
    }

    fn finish(&mut self, stream: u64, order: FinishOrder) {
        let Some(stream) = self.streams.remove(&stream) else {
            let _ = order.reply.send(Err(ShardStoreError::Invalid("the stream ended")));
            return;
        };
        let runs = runs_of(&stream.places);
        match self.append_header(&order, runs.clone()) {
            Ok((header, file)) => {
                let origin = order.origin.unwrap_or(header.key);
                file.headers.push(header.key.counter);
                file.finishes.push(LogFinish {
                    header: order.header,
                    payload_bytes: order.payload_bytes,
                    place: LogPlace { runs, header, origin },
                    kind: order.kind,
                    held: stream.held,
                    reply: order.reply,
                });
                self.wants_commit |= order.hurry;
            }
            Err(e) => {
                self.core.pending.release(&stream.held);
                let _ = order.reply.send(Err(self.fail(&e)));
            }
        }
    }

    fn append_header(
        &mut self,
        order: &FinishOrder,
        runs: Vec<super::rows::Run>,
    ) -> Result<(Place, &mut OpenFile), ShardStoreError> {
        let layout = check_header(&order.header.to_header().map_err(engine_error)?)?;
        let units = runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
        if units != u64::from(layout.stripes()) {
            return Err(ShardStoreError::Invalid("not all units were written"));
        }
        let moved_from = match order.kind {
            FinishKind::Move { expected } => Some(expected),
            FinishKind::Write(_) => None,
        };
        let (header, payload_bytes, origin) = (order.header.clone(), order.payload_bytes, order.origin);
        let record = LogHeader { header, payload_bytes, runs, origin, moved_from };
        let entry = encode_entry(KIND_HEADER, record).map_err(engine_error)?;
        let place = self.append(&entry)?;
        let file = self.file.as_mut().ok_or_else(|| ShardStoreError::Engine("no open file".to_owned()))?;
        Ok((place, file))
    }

    fn end(&mut self, stream: u64) {
        if let Some(stream) = self.streams.remove(&stream) {
            self.core.pending.release(&stream.held);
        }
    }

    fn hand_over_if_wanted(&mut self) {
        if self.wants_commit && self.in_commit.load(SeqCst) == 0 {
            self.hand_over();
        }
    }

    /// Gives the open file to the committer; waits while that has one in work and one before it.
    fn hand_over(&mut self) {
        self.wants_commit = false;
        let Some(open) = &mut self.file else { return };
        let trailer = encode_entry(KIND_TRAILER, Trailer { headers: std::mem::take(&mut open.headers) });
        if let Err(e) = trailer.map_err(engine_error).and_then(|trailer| self.append(&trailer)) {
            self.fail(&e);
        }
        let Some(OpenFile { writer, path, id, last, bytes, finishes, .. }) = self.file.take() else { return };
        self.in_commit.fetch_add(1, SeqCst);
        // The committer outlives this thread; it answers all finishes, those of a failed file too.
        let _ = self.committer.send(FullFile { writer, path, id, last, bytes, finishes });
    }

    /// A file that could not be written to: the disk takes no more writes.
    fn fail(&self, error: &ShardStoreError) -> ShardStoreError {
        match error {
            ShardStoreError::Fenced { reason, .. } => self.core.vitals.fenced(reason.clone()),
            // The caller's fault, not the disk's.
            ShardStoreError::Invalid(rule) => ShardStoreError::Invalid(rule),
            other => self.core.vitals.fail_writes(&format!("append to the log: {other}")),
        }
    }
}
