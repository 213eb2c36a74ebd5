//! What can be set about the engine, with the defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_erasure::{ErasureProfile, SEGMENT_BYTES_MAX};
use cairn_meta::{EXTENTS_MAX, INLINE_BYTES_MAX};
use cairn_proto::NodeId;

use crate::disks::DiskFolder;

/// The profile of new groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProfileChoice {
    /// By the number of disks: 1+0, 1+1, 2+1, 2+2, 3+2, and 4+2 from six on.
    Auto,
    /// Always this one, narrower ones of the same parity while disks are away.
    Fixed(ErasureProfile),
}

impl ProfileChoice {
    /// The profile for a node of so many disks; none without a disk.
    #[must_use]
    pub fn for_disks(self, disks: usize) -> Option<ErasureProfile> {
        let (data, parity) = match (self, disks) {
            (_, 0) => return None,
            (Self::Fixed(profile), _) => return Some(profile),
            (Self::Auto, 1) => (1, 0),
            (Self::Auto, 2) => (1, 1),
            (Self::Auto, 3) => (2, 1),
            (Self::Auto, 4) => (2, 2),
            (Self::Auto, 5) => (3, 2),
            (Self::Auto, _) => (4, 2),
        };
        ErasureProfile::new(data, parity).ok()
    }
}

/// What can be set about the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// This node.
    pub node: NodeId,
    /// The cluster: a disk of another one is refused.
    pub cluster_id: u128,
    /// The folders that are this node's disks.
    pub folders: Vec<DiskFolder>,
    /// The profile of new groups.
    pub profile: ProfileChoice,
    /// Fewest writable groups to keep of the profile in use.
    pub groups_min: usize,
    /// A disk that is later than this behind the `k+1` first leaves its slot missing.
    pub answer_within: Duration,
    /// A request that still waits for a disk after this gives the disk up, however few others there are.
    pub give_up_after: Duration,
    /// A unit that takes longer than this to read is decoded from others, however slow the disk is known to be.
    pub read_within: Duration,
    /// A unit is not late before this, however fast the disk is known to be.
    pub read_within_min: Duration,
    /// A disk that failed a request gets no new segments for so long.
    pub failure_pause: Duration,
    /// A disk that takes longer to open (its index is rebuilt) comes into service when it is open: nothing waits for it.
    pub open_within: Duration,
    /// A read that is older holds its garbage by name instead of by index.
    pub pin_by_index_within: Duration,
    /// A version that ranges of a presigned URL saw is held until none came for so long.
    pub url_quiet_max: Duration,
    /// Profiles of storage classes, by the class's name.
    pub storage_classes: BTreeMap<String, ErasureProfile>,
    /// Every shard is read about once in so many days.
    pub scrub_days: u32,
    /// How often a snapshot of the metadata is written into segments; none = only when asked.
    pub snapshot_every: Option<Duration>,
    /// How often upkeep looks for work when nothing wakes it.
    pub upkeep_interval: Duration,
    /// Whether upkeep runs by itself; tests switch it off to call its steps one by one.
    pub upkeep: bool,
    /// At shutdown running writes get so long.
    pub shutdown_within: Duration,
    /// Largest object that travels in its row; at most [`INLINE_BYTES_MAX`].
    pub inline_bytes_max: usize,
    /// Longest segment; at most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// Most segments of one row; at most [`EXTENTS_MAX`]. Larger objects become an upload by themselves.
    pub extents_max: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            cluster_id: 0,
            folders: Vec::new(),
            profile: ProfileChoice::Auto,
            groups_min: 16,
            answer_within: Duration::from_secs(2),
            give_up_after: Duration::from_secs(30),
            read_within: Duration::from_millis(500),
            read_within_min: Duration::from_millis(20),
            failure_pause: Duration::from_secs(5),
            open_within: Duration::from_secs(60),
            pin_by_index_within: Duration::from_secs(30),
            url_quiet_max: Duration::from_secs(30),
            storage_classes: BTreeMap::new(),
            scrub_days: 30,
            snapshot_every: None,
            upkeep_interval: Duration::from_secs(1),
            upkeep: true,
            shutdown_within: Duration::from_secs(20),
            inline_bytes_max: INLINE_BYTES_MAX,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            extents_max: EXTENTS_MAX,
        }
    }
}
