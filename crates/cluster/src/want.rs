//! What profile bytes shall be coded with: what the server, the bucket's owner and the request say, and what the
//! disks that take writes now carry of it. Pure.

use cairn_meta::ProfileRow;

/// A profile that is wished for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Want {
    /// Data slots with all disks there.
    data: u8,
    /// Parity slots.
    parity: u8,
    /// Whether parity may shrink too while disks are away: a cache's objects can be made again.
    parity_may_shrink: bool,
}

impl Want {
    pub(crate) const fn new(profile: ProfileRow, parity_may_shrink: bool) -> Self {
        Self { data: profile.data, parity: profile.parity, parity_may_shrink }
    }

    /// The profile with all disks there.
    pub(crate) const fn profile(self) -> ProfileRow {
        ProfileRow { data: self.data, parity: self.parity }
    }

    /// The profile that so many disks carry: the wanted one, or a narrower one of the same `m`. With fewer than `m+1`
    /// disks none, since redundancy does not shrink because disks are away, but for a cache: it goes down to 1+0.
    pub(crate) fn fitting(self, usable: usize) -> Option<ProfileRow> {
        let usable = u8::try_from(usable.min(255)).ok()?;
        let parity = if self.parity_may_shrink { self.parity.min(usable.checked_sub(1)?) } else { self.parity };
        let data = self.data.min(usable.checked_sub(parity)?);
        (data > 0).then_some(ProfileRow { data, parity })
    }

    /// Whether a group of this profile may take the bytes: narrower in data, and in parity where that may be.
    pub(crate) const fn takes(self, profile: ProfileRow) -> bool {
        let parity_is_enough =
            profile.parity == self.parity || (self.parity_may_shrink && profile.parity < self.parity);
        profile.data <= self.data && parity_is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn profile(data: u8, parity: u8) -> ProfileRow {
        ProfileRow { data, parity }
    }

    #[test]
    fn data_shrinks_with_the_disks_and_parity_for_a_cache_alone() {
        let (ordinary, cache) = (Want::new(profile(4, 2), false), Want::new(profile(4, 2), true));
        let cases = [
            (0, None, None),
            (1, None, Some(profile(1, 0))),
            (2, None, Some(profile(1, 1))),
            (3, Some(profile(1, 2)), Some(profile(1, 2))),
            (5, Some(profile(3, 2)), Some(profile(3, 2))),
            (6, Some(profile(4, 2)), Some(profile(4, 2))),
            (300, Some(profile(4, 2)), Some(profile(4, 2))),
        ];
        for (usable, of_ordinary, of_cache) in cases {
            assert_eq!((ordinary.fitting(usable), cache.fitting(usable)), (of_ordinary, of_cache), "{usable} disks");
            for fitting in [of_ordinary, of_cache].into_iter().flatten() {
                assert!(cache.takes(fitting));
                assert_eq!(ordinary.takes(fitting), fitting.parity == 2);
            }
        }
        assert!(!cache.takes(profile(5, 1)) && !cache.takes(profile(4, 3)));
    }
}
