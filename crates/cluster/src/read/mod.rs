//! Reading: manifest, segments, stripes, units; every unit is verified before its bytes go anywhere.

mod body;
mod latency;
mod object;
mod segment;
mod url_versions;

pub use body::ObjectBody;
pub(crate) use body::{BATCH_BYTES, BATCHES_MAX};
pub(crate) use latency::{Latency, Timing};
pub(crate) use object::Hold;
pub use object::ObjectReader;
pub(crate) use segment::{SegmentReader, SegmentSource};
pub(crate) use url_versions::UrlVersions;
pub use url_versions::{UrlId, UrlRange};
