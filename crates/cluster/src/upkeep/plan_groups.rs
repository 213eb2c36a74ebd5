//! Which placement groups are to be made: a pure decision over the map and the disks that take writes now.
//!
//! Groups are made in whole cycles: in a cycle over `n` disks every disk stands once in every slot position, so load
//! and repair spread evenly however many groups there are.

use std::collections::BTreeSet;

use cairn_meta::{PgRow, ProfileRow};
use cairn_proto::DiskId;

use crate::want::Want;

/// Most groups that take segments; beyond it new ones are made only if not one is writable.
pub(crate) const GROUPS_MAX: usize = 4096;

/// Groups to be made by one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NewGroups {
    /// Their profile.
    pub(crate) profile: ProfileRow,
    /// The disks of each.
    pub(crate) groups: Vec<Vec<DiskId>>,
}

/// Plans the groups that are missing for what is wanted: at least `groups_min` are to be writable.
pub(crate) fn plan_groups<'a>(
    pgs: impl IntoIterator<Item = &'a PgRow>,
    usable: &BTreeSet<DiskId>,
    want: Want,
    groups_min: usize,
) -> Option<NewGroups> {
    let profile = want.fitting(usable.len())?;
    let disks: Vec<DiskId> = usable.iter().copied().collect();
    let standing: Vec<&PgRow> = pgs.into_iter().filter(|pg| !pg.retired).collect();
    let fitting: Vec<&PgRow> = standing
        .iter()
        .copied()
        .filter(|pg| pg.profile == profile && pg.slots.iter().all(|disk| usable.contains(disk)))
        .collect();
    let used: BTreeSet<DiskId> = fitting.iter().flat_map(|pg| pg.slots.iter().copied()).collect();
    // A disk in no group would stay empty for ever: a new disk gets a cycle of its own.
    let idle_disk = disks.iter().any(|disk| !used.contains(disk));
    if fitting.len() >= groups_min && !idle_disk {
        return None;
    }
    let standing = standing.len();
    if !fitting.is_empty() && standing >= GROUPS_MAX {
        return None;
    }
    let wanting = groups_min.saturating_sub(fitting.len()).max(1);
    let cycles = wanting.div_ceil(disks.len());
    let width = usize::from(profile.data) + usize::from(profile.parity);
    let first = standing / disks.len();
    let groups = (first..first + cycles).flat_map(|number| cycle(&disks, width, number)).collect();
    Some(NewGroups { profile, groups })
}

/// One cycle: as many groups as disks, every disk once in every slot position. Cycles of different numbers step
/// through the disks in different strides, so that a disk's neighbours change.
fn cycle(disks: &[DiskId], width: usize, number: usize) -> Vec<Vec<DiskId>> {
    let count = disks.len();
    let strides: Vec<usize> = (1..=count).filter(|stride| coprime(*stride, count)).collect();
    let stride = strides[number % strides.len()];
    (0..count).map(|start| (0..width).map(|slot| disks[(start + slot * stride) % count]).collect()).collect()
}

const fn coprime(mut a: usize, mut b: usize) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cairn_erasure::ErasureProfile;
    use cairn_proto::{Epoch, PgId};
    use proptest::prelude::*;

    use super::*;
    use crate::map::profile_row;
    use crate::options::ProfileChoice;

    const GROUPS_MIN: usize = 16;

    fn plan_of(pgs: &[PgRow], usable: &BTreeSet<DiskId>, expected: usize, choice: ProfileChoice) -> Option<NewGroups> {
        let wanted = profile_row(choice.for_disks(expected.max(usable.len()))?);
        plan_groups(pgs, usable, Want::new(wanted, false), GROUPS_MIN)
    }

    fn disks(ids: impl IntoIterator<Item = u128>) -> BTreeSet<DiskId> {
        ids.into_iter().map(DiskId).collect()
    }

    fn profile(data: u8, parity: u8) -> ProfileRow {
        ProfileRow { data, parity }
    }

    fn made(pgs: &mut Vec<PgRow>, plan: &Option<NewGroups>) {
        if let Some(new) = plan {
            for slots in &new.groups {
                let id = PgId(pgs.len() as u64);
                let row = PgRow { id, profile: new.profile, epoch: Epoch(1), slots: slots.clone(), retired: false };
                pgs.push(row);
            }
        }
    }

    #[test]
    fn profiles_follow_the_number_of_disks() {
        let cases = [(1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 3, 2), (6, 4, 2), (12, 4, 2)];
        for (count, data, parity) in cases {
            let plan = plan_of(&[], &disks(0..count), usize::try_from(count).unwrap(), ProfileChoice::Auto).unwrap();
            assert_eq!(plan.profile, profile(data, parity), "{count} disks");
            assert!(plan.groups.len() >= GROUPS_MIN);
        }
        assert!(plan_of(&[], &disks([]), 6, ProfileChoice::Auto).is_none());
    }

    #[test]
    fn disks_away_keep_the_parity() {
        let mut pgs = Vec::new();
        made(&mut pgs, &plan_of(&[], &disks(0..6), 6, ProfileChoice::Auto));
        let one_away = plan_of(&pgs, &disks(0..5), 6, ProfileChoice::Auto);
        assert_eq!(one_away.unwrap().profile, profile(3, 2));
        let two_away = plan_of(&pgs, &disks(1..5), 6, ProfileChoice::Auto);
        assert_eq!(two_away.unwrap().profile, profile(2, 2));
        assert_eq!(plan_of(&pgs, &disks(1..4), 6, ProfileChoice::Auto).unwrap().profile, profile(1, 2));
        assert!(plan_of(&pgs, &disks(1..3), 6, ProfileChoice::Auto).is_none(), "fewer than m+1 disks: no group");
    }

    #[test]
    fn what_stands_is_used_again() {
        let mut pgs = Vec::new();
        for _ in 0..3 {
            for usable in [disks(0..6), disks(0..5), disks(0..4), disks(0..6)] {
                let plan = plan_of(&pgs, &usable, 6, ProfileChoice::Auto);
                made(&mut pgs, &plan);
            }
        }
        assert_eq!(pgs.len(), 18 + 20 + 16, "each set of disks got its groups once");
        let seventh = plan_of(&pgs, &disks(0..7), 7, ProfileChoice::Auto);
        assert!(
            seventh.as_ref().unwrap().groups.iter().any(|slots| slots.contains(&DiskId(6))),
            "a new disk is not left idle"
        );
        made(&mut pgs, &seventh);
        assert!(plan_of(&pgs, &disks(0..7), 7, ProfileChoice::Auto).is_none());
    }

    #[test]
    fn a_fixed_profile_narrows_and_comes_back() {
        let fixed = ProfileChoice::Fixed(ErasureProfile::new(8, 4).unwrap());
        assert_eq!(plan_of(&[], &disks(0..14), 14, fixed).unwrap().profile, profile(8, 4));
        assert_eq!(plan_of(&[], &disks(0..10), 14, fixed).unwrap().profile, profile(6, 4));
        assert!(plan_of(&[], &disks(0..4), 14, fixed).is_none());
    }

    #[test]
    fn each_profile_has_groups_of_its_own_and_a_cache_goes_on_with_less_parity() {
        let mut pgs = Vec::new();
        let all = disks(0..6);
        let (server, class) = (Want::new(profile(4, 2), false), Want::new(profile(5, 1), false));
        let plan = |pgs: &[PgRow], usable: &BTreeSet<DiskId>, want| plan_groups(pgs, usable, want, GROUPS_MIN);
        let of_server = plan(&pgs, &all, server);
        made(&mut pgs, &of_server);
        let of_class = plan(&pgs, &all, class);
        assert_eq!(of_class.as_ref().unwrap().profile, profile(5, 1));
        made(&mut pgs, &of_class);
        assert!(plan(&pgs, &all, server).is_none() && plan(&pgs, &all, class).is_none());
        let cache = Want::new(profile(4, 2), true);
        assert!(plan(&pgs, &all, cache).is_none(), "with all disks a cache uses what others use");
        for (left, parity) in [(2, 1), (1, 0)] {
            let usable = disks(0..left);
            assert!(plan(&pgs, &usable, server).is_none());
            assert_eq!(plan(&pgs, &usable, cache).unwrap().profile, profile(1, parity));
        }
    }

    proptest! {
        #[test]
        fn spread_is_even_and_disks_are_distinct(
            count in 1_usize..24, away in 0_usize..6, seed in any::<u64>(), parity in 0_u8..5, data in 1_u8..11, auto in any::<bool>(),
        ) {
            let all: Vec<u128> = (0..count as u128).map(|n| n * 7 + u128::from(seed % 13)).collect();
            let usable = disks(all.iter().copied().skip(away.min(count)));
            let choice = if auto { ProfileChoice::Auto } else { ProfileChoice::Fixed(ErasureProfile::new(data, parity).unwrap()) };
            let wanted = profile_row(choice.for_disks(count).unwrap());
            let plan = plan_of(&[], &usable, count, choice);
            if usable.len() <= usize::from(wanted.parity) {
                prop_assert!(plan.is_none());
                return Ok(());
            }
            let new = plan.unwrap();
            prop_assert_eq!(new.profile.parity, wanted.parity);
            let width = usize::from(new.profile.data + new.profile.parity);
            prop_assert_eq!(usize::from(new.profile.data), usize::from(wanted.data).min(usable.len() - usize::from(wanted.parity)));
            prop_assert!(new.groups.len() >= GROUPS_MIN && new.groups.len() < GROUPS_MIN + usable.len());
            let mut at: BTreeMap<(usize, DiskId), usize> = BTreeMap::new();
            for slots in &new.groups {
                prop_assert_eq!(slots.len(), width);
                prop_assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), width);
                for (slot, disk) in slots.iter().enumerate() {
                    *at.entry((slot, *disk)).or_default() += 1;
                }
            }
            prop_assert_eq!(at.len(), width * usable.len());
            prop_assert!(at.values().all(|times| *times == new.groups.len() / usable.len()));
        }
    }
}
