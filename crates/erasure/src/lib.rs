//! Erasure coding without I/O: stripe geometry, Reed-Solomon over GF(2^8), and unit checksums.
//!
//! A segment falls into stripes, a stripe into `k` data units and `m` parity units of one length. The geometry
//! follows from the segment's length and its profile alone, so nobody has to store it:
//!
//! ```text
//! segment   |---- stripe 0 ----|---- stripe 1 ----|- stripe 2 -|
//! slot 0    unit 256 KiB       unit 256 KiB       unit, shorter   = shard 0
//! slot 1    unit 256 KiB       unit 256 KiB       unit, shorter   = shard 1
//! ...
//! ```
//!
//! The bytes of parity units are a disk format: every path through [`Codec`], on any CPU, yields the same ones.

mod checksum;
mod codec;
mod error;
mod field;
mod kernel;
mod layout;
mod matrix;
#[cfg(test)]
mod oracle;
mod profile;
mod stripe;

pub use checksum::unit_checksum;
pub use codec::Codec;
pub use error::ErasureError;
pub use kernel::Kernel;
pub use layout::StripeLayout;
pub use profile::ErasureProfile;
pub use stripe::StripeBuffer;

/// The longest unit: the bytes of one stripe on one disk.
pub const UNIT_BYTES_MAX: u32 = 256 * 1024;

/// The longest segment: the bytes that are coded into one placement group under one id.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
