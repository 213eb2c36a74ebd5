//! What the configuration declares is made so, and stays so: buckets, access keys, and what Kubernetes or files get of
//! them. Every round does the same from the beginning and changes nothing that is right already.
//!
//! ```text
//! configuration ──▶ keeper (start, SIGHUP, changed file, every ten minutes)
//!                     ├──▶ store         buckets and keys in the metadata
//!                     └──▶ publications  Secrets, ConfigMap, files
//! ```

mod credentials_file;
mod keeper;
mod pace;
mod plan;
mod publish;
mod store;

pub(super) use keeper::{Keeper, KeeperParts};
pub(super) use publish::check_key_destination;
