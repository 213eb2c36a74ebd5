//! The gateway's metrics, and the page Prometheus reads.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use cairn_cluster::EngineStatus;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Bounds of durations in seconds.
const SECONDS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    operation: &'static str,
    status: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DiskLabel {
    disk: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InstanceLabel {
    disk: String,
    instance: String,
}

type Number = Gauge<i64>;

/// The instances of the disks' storage engine.
#[derive(Default)]
struct Instances {
    memtable_bytes: Family<InstanceLabel, Number>,
    files: Family<InstanceLabel, Number>,
    pending_compaction_bytes: Family<InstanceLabel, Number>,
    block_cache_bytes: Family<InstanceLabel, Number>,
    background_errors: Family<InstanceLabel, Number>,
}

impl Instances {
    fn families(&self) -> [(&'static str, &'static str, &Family<InstanceLabel, Number>); 5] {
        [
            ("disk_memtable_bytes", "Bytes of memtables", &self.memtable_bytes),
            ("disk_files", "Tables of the storage engine", &self.files),
            ("disk_pending_compaction_bytes", "Bytes compaction has to rewrite", &self.pending_compaction_bytes),
            ("disk_block_cache_bytes", "Block cache, shared by a disk's instances", &self.block_cache_bytes),
            (
                "disk_background_errors",
                "Failed flushes and compactions since the disk was opened",
                &self.background_errors,
            ),
        ]
    }

    fn update(&self, status: &EngineStatus) {
        for (_, _, family) in self.families() {
            family.clear();
        }
        for disk in &status.disks {
            for of in &disk.instances {
                let label = InstanceLabel { disk: disk.folder.display().to_string(), instance: of.name.clone() };
                let set = |family: &Family<InstanceLabel, Number>, value| {
                    family.get_or_create(&label).set(number(value));
                };
                set(&self.memtable_bytes, of.memtable_bytes);
                set(&self.files, of.files);
                set(&self.pending_compaction_bytes, of.pending_compaction_bytes);
                set(&self.block_cache_bytes, of.block_cache_bytes);
                set(&self.background_errors, of.background_errors);
            }
        }
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// All metrics of the gateway.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    durations: Family<Of, Histogram, fn() -> Histogram>,
    bytes_in: Counter,
    bytes_out: Counter,
    /// Requests being served.
    pub(crate) in_flight: Number,
    /// Certificate files that could not be used.
    pub(crate) tls_reload_errors: Counter,
    writable: Number,
    disk_writable: Family<DiskLabel, Number>,
    disk_bytes_total: Family<DiskLabel, Number>,
    disk_bytes_free: Family<DiskLabel, Number>,
    instances: Instances,
    meta_bytes_total: Number,
    meta_bytes_free: Number,
    missing_shards: Number,
    garbage_rows: Number,
    garbage_bytes: Gauge<u64, AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let new_histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("cairn"),
            requests: Family::default(),
            durations: Family::new_with_constructor(new_histogram),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            in_flight: Gauge::default(),
            tls_reload_errors: Counter::default(),
            writable: Gauge::default(),
            disk_writable: Family::default(),
            disk_bytes_total: Family::default(),
            disk_bytes_free: Family::default(),
            instances: Instances::default(),
            meta_bytes_total: Gauge::default(),
            meta_bytes_free: Gauge::default(),
            missing_shards: Gauge::default(),
            garbage_rows: Gauge::default(),
            garbage_bytes: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("s3_requests", "Requests by operation and status", self.requests.clone());
        registry.register("s3_request_seconds", "Time to the last byte", self.durations.clone());
        registry.register("s3_bytes_received", "Bytes of objects received", self.bytes_in.clone());
        registry.register("s3_bytes_sent", "Bytes of answers sent", self.bytes_out.clone());
        registry.register("s3_requests_in_flight", "Requests being served", self.in_flight.clone());
        registry.register("tls_reload_errors", "Certificates that could not be used", self.tls_reload_errors.clone());
        registry.register("writable", "1 if new objects can be written", self.writable.clone());
        registry.register("disk_writable", "1 if the disk takes new segments", self.disk_writable.clone());
        registry.register("disk_total_bytes", "Size of the disk's file system", self.disk_bytes_total.clone());
        registry.register("disk_free_bytes", "Free bytes of the disk", self.disk_bytes_free.clone());
        registry.register("meta_total_bytes", "Size of the metadata's file system", self.meta_bytes_total.clone());
        registry.register("meta_free_bytes", "Free bytes of the metadata's file system", self.meta_bytes_free.clone());
        for (name, help, family) in self.instances.families() {
            registry.register(name, help, family.clone());
        }
        registry.register("missing_shards", "Shards that repair has to write", self.missing_shards.clone());
        registry.register("garbage_rows", "Deleted versions that wait for the reaper", self.garbage_rows.clone());
        registry.register("garbage_bytes", "Their bytes", self.garbage_bytes.clone());
    }

    /// Counts a request that is over.
    pub(crate) fn observe(&self, operation: &'static str, status: u16, took: Duration, bytes_in: u64, bytes_out: u64) {
        self.requests.get_or_create(&Outcome { operation, status: u32::from(status) }).inc();
        self.durations.get_or_create(&Of { operation }).observe(took.as_secs_f64());
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
    }

    /// Takes over what the engine says of itself.
    pub(crate) fn update(&self, status: &EngineStatus) {
        self.instances.update(status);
        self.writable.set(i64::from(status.writable));
        self.missing_shards.set(number(status.missing_shards));
        self.garbage_rows.set(number(status.garbage.rows));
        self.garbage_bytes.set(status.garbage.bytes);
        self.meta_bytes_total.set(number(status.meta.bytes_total));
        self.meta_bytes_free.set(number(status.meta.bytes_free));
        // Disks that left must not stay with their last values.
        self.disk_writable.clear();
        self.disk_bytes_total.clear();
        self.disk_bytes_free.clear();
        for disk in &status.disks {
            let label = DiskLabel { disk: disk.folder.display().to_string() };
            self.disk_writable.get_or_create(&label).set(i64::from(disk.writable));
            self.disk_bytes_total.get_or_create(&label).set(number(disk.bytes_total));
            self.disk_bytes_free.get_or_create(&label).set(number(disk.bytes_free));
        }
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_and_status() {
        let metrics = Metrics::new();
        metrics.observe("GetObject", 200, Duration::from_millis(5), 0, 77);
        metrics.observe("GetObject", 200, Duration::from_millis(5), 0, 3);
        let page = metrics.page();
        assert!(page.contains("cairn_s3_requests_total{operation=\"GetObject\",status=\"200\"} 2"), "{page}");
        assert!(page.contains("cairn_s3_bytes_sent_total 80"), "{page}");
        assert!(page.contains("# TYPE cairn_meta_free_bytes gauge"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }
}
