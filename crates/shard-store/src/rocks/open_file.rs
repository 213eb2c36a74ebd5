//! A file of the group log while it is filled: by the log writer with what clients write, by cleaning with its copies.
//!
//! Its keys follow one after another, its last entry says where its headers are. Whoever fills it gives it to the
//! committer, which answers the shards that were finished in it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc as std_mpsc,
    },
};

use rocksdb::SstFileWriter;

use super::{
    engine::{create_file, engine_error},
    index_thread::LogFinish,
    keys::{FileId, LogKey},
    rows::{KIND_HEADER, KIND_TRAILER, LogHeader, Place, Trailer, encode_entry},
};
use crate::{ShardStoreError, checks::check_header};

/// A file that is being filled.
pub(super) struct OpenFile {
    writer: SstFileWriter<'static>,
    path: PathBuf,
    id: FileId,
    /// The key of the next entry.
    next: LogKey,
    bytes: u64,
    headers: Vec<u64>,
    finishes: Vec<LogFinish>,
}

impl OpenFile {
    /// Begins a file, whose first entry gets the key `first`.
    pub(super) fn create(staging: &Path, first: LogKey) -> Result<Self, ShardStoreError> {
        let path = staging.join(format!("{:016x}-{:016x}.sst", first.start, first.counter));
        let writer = create_file(&path).map_err(engine_error)?;
        let (headers, finishes) = (Vec::new(), Vec::new());
        Ok(Self { writer, path, id: FileId(first), next: first, bytes: 0, headers, finishes })
    }

    /// What its entries weigh.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The key of the next entry, which is the first that is free for the file after this one.
    pub(super) const fn next(&self) -> LogKey {
        self.next
    }

    /// Whether no shard was finished in it.
    pub(super) fn is_needless(&self) -> bool {
        self.finishes.is_empty()
    }

    /// Puts an entry under the next key.
    pub(super) fn append(&mut self, value: &[u8]) -> Result<Place, ShardStoreError> {
        let key = self.next;
        self.writer.put(key.to_bytes(), value).map_err(engine_error)?;
        let bytes = value.len() as u64;
        self.bytes += bytes;
        self.next.counter += 1;
        Ok(Place { file: self.id, key, bytes })
    }

    /// Puts a shard's header, which names all its units.
    pub(super) fn append_header(&mut self, header: LogHeader) -> Result<Place, ShardStoreError> {
        let layout = check_header(&header.header.to_header().map_err(engine_error)?)?;
        let units = header.runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
        if units != u64::from(layout.stripes()) {
            return Err(ShardStoreError::Invalid("not all units were written"));
        }
        let place = self.append(&encode_entry(KIND_HEADER, header).map_err(engine_error)?)?;
        self.headers.push(place.key.counter);
        Ok(place)
    }

    /// A shard whose header is here comes into being with the file.
    pub(super) fn finish(&mut self, finish: LogFinish) {
        self.finishes.push(finish);
    }

    /// Puts the last entry.
    pub(super) fn append_trailer(&mut self) -> Result<(), ShardStoreError> {
        let headers = std::mem::take(&mut self.headers);
        let trailer = encode_entry(KIND_TRAILER, Trailer { headers }).map_err(engine_error)?;
        self.append(&trailer).map(drop)
    }

    /// As it goes to the committer.
    pub(super) fn into_full(self) -> FullFile {
        let Self { writer, path, id, next, bytes, finishes, .. } = self;
        let last = LogKey { counter: next.counter.saturating_sub(1), ..next };
        FullFile { writer: Some(writer), path, id, last, bytes, finishes }
    }

    /// Gives it up. Those who wait for its shards see that nobody answers.
    pub(super) fn discard(self) {
        drop(self.writer);
        // What stays is removed by the next start.
        let _ = std::fs::remove_file(self.path);
    }
}

/// A file that goes to the committer.
pub(super) struct FullFile {
    /// None once it was synced.
    writer: Option<SstFileWriter<'static>>,
    pub path: PathBuf,
    pub id: FileId,
    pub last: LogKey,
    pub bytes: u64,
    pub finishes: Vec<LogFinish>,
}

impl FullFile {
    /// Ends the file on disk, synced, unless that was done before. One that cannot be synced is of no use to anybody.
    pub(super) fn sync(&mut self) -> Result<(), String> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.finish().map_err(|e| {
            let _ = std::fs::remove_file(&self.path);
            format!("finish of a log file: {e}")
        })
    }
}

/// The way to the committer.
#[derive(Clone)]
pub(super) struct CommitQueue {
    files: std_mpsc::SyncSender<FullFile>,
    /// Files that are not committed yet; the committer counts down.
    waiting: Arc<AtomicUsize>,
}

impl CommitQueue {
    /// The way, and the committer's end of it with the count of what waits.
    pub(super) fn new() -> (Self, std_mpsc::Receiver<FullFile>, Arc<AtomicUsize>) {
        // One file before the one in work.
        let (files, full_files) = std_mpsc::sync_channel(1);
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { files, waiting: Arc::clone(&waiting) }, full_files, waiting)
    }

    /// Whether the committer has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Hands a file over; waits while the committer has one in work and one before it.
    pub(super) fn push(&self, file: FullFile) {
        self.waiting.fetch_add(1, SeqCst);
        // A committer that is gone drops the file, and those who wait for its shards see that nobody answers.
        let _ = self.files.send(file);
    }
}
