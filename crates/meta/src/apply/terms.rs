//! Where the terms of the group's log began.
//!
//! By it a position that a disk was told can be found in this log, or found missing: if a later term began at or under its
//! index, this log went on without the entry. Kafka keeps the same list for the same question (KIP-101, leader epochs).

use cairn_proto::{Index, Record};

use crate::cluster_rows::TERMS_SINCE;
use crate::keys;
use crate::query::Query;
use crate::rows::{Change, RowsError, RowsRead, collect, encode};

/// Terms that are kept. A start of the only voter begins one.
const TERMS_MAX: usize = 1_000;
/// Old terms that one beginning removes at most.
const REMOVED_MAX: usize = 64;

/// What the first entry of a term changes, of whatever kind it is.
pub(crate) fn begin_term(rows: &dyn RowsRead, term: u64, first: Index) -> Result<Vec<Change>, RowsError> {
    if Query::new(rows).version()? < TERMS_SINCE {
        return Ok(Vec::new());
    }
    let range = keys::terms();
    let kept = collect(rows, &range.from, &range.end, TERMS_MAX + REMOVED_MAX, |key, _| Ok(Some(key.to_vec())))?;
    let too_many = (kept.len() + 1).saturating_sub(TERMS_MAX);
    let key = keys::term(term);
    let row = encode(&key, &Record::new(first))?;
    Ok(kept.into_iter().take(too_many).map(|key| (key, None)).chain([(key, Some(row))]).collect())
}

#[cfg(test)]
mod tests {
    use cairn_proto::NodeId;

    use super::*;
    use crate::apply::testing::World;
    use crate::cluster_rows::CLUSTER_VERSION;
    use crate::command::Command;
    use crate::rows::MemoryRows;

    fn rows() -> MemoryRows {
        let mut world = World::ready().0;
        let known = vec![(NodeId(1), CLUSTER_VERSION)];
        world.done(Command::RaiseVersion { version: CLUSTER_VERSION, known });
        world.rows
    }

    fn begin(rows: &mut MemoryRows, term: u64, first: u64) -> usize {
        let changes = begin_term(rows, term, Index(first)).unwrap();
        let count = changes.len();
        rows.write(changes);
        count
    }

    #[test]
    fn a_position_is_found_or_found_missing() {
        let mut rows = rows();
        let holds = |rows: &MemoryRows, term, index| Query::new(rows).began_by(term, Index(index)).unwrap();
        assert_eq!(holds(&rows, 1, 5), None);
        assert_eq!((begin(&mut rows, 2, 11), begin(&mut rows, 4, 20)), (1, 1));
        assert_eq!((holds(&rows, 1, 10), holds(&rows, 1, 11)), (None, Some((2, Index(11)))));
        assert_eq!((holds(&rows, 2, 19), holds(&rows, 2, 20)), (None, Some((4, Index(20)))));
        assert_eq!((holds(&rows, 3, 19), holds(&rows, 3, 20)), (None, Some((4, Index(20)))));
        assert_eq!((holds(&rows, 4, 99), holds(&rows, 9, 99)), (None, None));
    }

    #[test]
    fn the_oldest_terms_go() {
        let mut rows = rows();
        for term in 1..=1_000 {
            assert_eq!(begin(&mut rows, term, term * 10), 1);
        }
        assert_eq!(begin(&mut rows, 1_001, 10_010), 2);
        assert_eq!(begin(&mut rows, 1_002, 10_020), 2);
        let first = Query::new(&rows).began_by(0, Index(u64::MAX)).unwrap();
        assert_eq!(first, Some((3, Index(30))));
    }

    #[test]
    fn no_row_is_written_before_its_cluster_version() {
        let mut rows = MemoryRows::default();
        assert_eq!(begin(&mut rows, 2, 11), 0);
    }
}
