//! Randomness comes in from outside, so that a simulation can replay it.

use std::sync::Mutex;

use cairn_proto::DiskId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Draws random ids and numbers.
pub trait IdSource: Send + Sync + 'static {
    /// 64 random bits: where a choice begins.
    fn number(&self) -> u64;

    /// The id of a disk that is being formatted.
    fn disk_id(&self) -> DiskId {
        DiskId(u128::from(self.number()) << 64 | u128::from(self.number()))
    }
}

/// Randomness of the operating system, or of a seed.
pub struct RandomIds(Mutex<StdRng>);

impl RandomIds {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_system() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }

    /// The same ids for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl IdSource for RandomIds {
    fn number(&self) -> u64 {
        self.0.lock().expect("no holder of this lock panics").random()
    }
}
