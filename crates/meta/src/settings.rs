//! What a bucket's owner chose for it.

use serde::{Deserialize, Serialize};

use crate::row::ProfileRow;

/// A bucket's settings; the default is a bucket as S3 knows it. Last in the bucket's row, so that it grows at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BucketSettings {
    /// The objects are a cache's: whoever misses one makes it again. The ranges of one presigned URL stay on one
    /// version, writes go on with fewer than `m+1` disks, `Last-Modified` may be the writer's.
    pub cache: bool,
    /// The profile of its objects; none = the server's.
    pub profile: Option<ProfileRow>,
    /// What its ETags are.
    pub etag: EtagKind,
}

/// What the ETag of an object is that came in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum EtagKind {
    /// The MD5 of its bytes, as clients expect it.
    #[default]
    Md5,
    /// A cheaper digest in the form of a multipart ETag, which no client takes for an MD5.
    Fast,
}

/// Which settings are to be changed; the others stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SettingsChange {
    /// Whether it is a cache.
    pub cache: Option<bool>,
    /// The profile of new objects.
    pub profile: Option<ProfileWish>,
    /// The ETag of new objects.
    pub etag: Option<EtagKind>,
}

/// A profile as a bucket's owner wishes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ProfileWish {
    /// The server's.
    Server,
    /// This one.
    Fixed(ProfileRow),
}

impl ProfileWish {
    /// As the settings keep it.
    #[must_use]
    pub const fn row(self) -> Option<ProfileRow> {
        match self {
            Self::Server => None,
            Self::Fixed(profile) => Some(profile),
        }
    }
}

impl SettingsChange {
    /// The settings after the change.
    #[must_use]
    pub fn on(self, settings: BucketSettings) -> BucketSettings {
        BucketSettings {
            cache: self.cache.unwrap_or(settings.cache),
            profile: self.profile.map_or(settings.profile, ProfileWish::row),
            etag: self.etag.unwrap_or(settings.etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let wide = ProfileRow { data: 8, parity: 4 };
        let settings = BucketSettings { cache: true, profile: Some(wide), etag: EtagKind::Fast };
        assert_eq!(SettingsChange::default().on(settings), settings);
        let change = SettingsChange { profile: Some(ProfileWish::Server), ..SettingsChange::default() };
        assert_eq!(change.on(settings), BucketSettings { profile: None, ..settings });
        let change = SettingsChange { cache: Some(false), etag: Some(EtagKind::Md5), profile: None };
        assert_eq!(change.on(settings), BucketSettings { cache: false, etag: EtagKind::Md5, ..settings });
    }
}
