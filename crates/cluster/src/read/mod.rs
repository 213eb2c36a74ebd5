//! Reading: manifest, segments, stripes, units; every unit is verified before its bytes go anywhere.

mod body;
mod object;
mod segment;

pub use body::ObjectBody;
pub(crate) use object::Hold;
pub use object::ObjectReader;
pub(crate) use segment::{SegmentReader, SegmentSource};
