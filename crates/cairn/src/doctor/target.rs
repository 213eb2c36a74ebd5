//! What is examined, and as whom.

use std::path::PathBuf;

use crate::{
    http_client::{Address, Roots},
    secrets::KeyPair,
};

/// The CA that a runner's jobs get, beside the system's store of their own image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HelperCa {
    /// Nobody asked for it.
    NotAsked,
    /// This file is mounted.
    File(PathBuf),
    /// Something is mounted that cannot be seen from here.
    Elsewhere(String),
    /// Nothing is mounted: the store alone counts.
    Nothing,
}

/// What is examined.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The server.
    pub(super) address: Address,
    /// Whom to trust.
    pub(super) roots: Roots,
    /// The key.
    pub(super) key: KeyPair,
    /// The region; none = the server is asked.
    pub(super) region: Option<String>,
    /// The bucket.
    pub(super) bucket: String,
    /// How all keys begin.
    pub(super) prefix: String,
    /// `/bucket/key`, or else `bucket.host`.
    pub(super) path_style: bool,
    /// The jobs' CA.
    pub(super) helper_ca: HelperCa,
}

impl Target {
    /// The server as requests name it.
    pub(super) fn request_address(&self) -> Address {
        if self.path_style {
            return self.address.clone();
        }
        Address { host: format!("{}.{}", self.bucket, self.address.host), ..self.address.clone() }
    }
}
