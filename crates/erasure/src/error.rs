//! What can be wrong with a profile, a length, or a set of units. Nothing here is worth a retry.

use thiserror::Error;

/// Why a call into this crate was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ErasureError {
    /// A profile outside of 1 to 16 data and 0 to 8 parity units.
    #[error("profile {data}+{parity} is not supported: 1 to 16 data and 0 to 8 parity units are")]
    UnsupportedProfile {
        /// Data units asked for.
        data: u8,
        /// Parity units asked for.
        parity: u8,
    },
    /// A text that is no profile.
    #[error("{text:?} is not a profile: expected data and parity units like 4+2")]
    ProfileSyntax {
        /// The text, cut short if it is long.
        text: String,
    },
    /// A segment longer than [`SEGMENT_BYTES_MAX`](crate::SEGMENT_BYTES_MAX).
    #[error("a segment of {segment_bytes} bytes is longer than {segment_bytes_max} bytes")]
    SegmentTooLong {
        /// Length asked for.
        segment_bytes: u64,
        /// The longest one.
        segment_bytes_max: u64,
    },
    /// A stripe that is empty or holds more than `k` full units.
    #[error("a stripe of {stripe_bytes} bytes is not within 1 to {stripe_bytes_max} bytes")]
    StripeLength {
        /// Length asked for.
        stripe_bytes: usize,
        /// The longest one of this profile.
        stripe_bytes_max: usize,
    },
    /// A list of units that does not have one place per slot.
    #[error("{found} units were given where {expected} belong")]
    UnitCount {
        /// Units the call needs.
        expected: usize,
        /// Units it got.
        found: usize,
    },
    /// A unit whose length is not that of its stripe: it is damaged or belongs elsewhere.
    #[error("the unit in slot {slot} has {found} bytes where {expected} belong")]
    UnitLength {
        /// Slot of the unit.
        slot: usize,
        /// Length of this stripe's units.
        expected: usize,
        /// Length of the unit given.
        found: usize,
    },
    /// More units are missing than the profile has parity for.
    #[error("{present} units are left where {needed} are needed")]
    TooFewUnits {
        /// Units that are there.
        present: usize,
        /// Units needed: the `k` of the profile.
        needed: usize,
    },
}
