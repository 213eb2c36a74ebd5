//! Writers, and what makes the retry of a command harmless.

use cairn_proto::{CommandNumber, Index, NodeId, Record, Sequence, WriterId};

use super::context::{Applied, Context, Stop};
use crate::command::{Origin, Outcome, Refusal, Reply};
use crate::keys::{self, Counter};
use crate::query::{WriterState, writer_state};
use crate::row::WriterRow;
use crate::rows::{RowsError, StoredWriter, collect};

/// Most old results one command removes: more than it adds.
const RESULTS_REMOVED_MAX: usize = 64;
/// Most rows that the sweep behind a writer's command removes.
const SWEEP_ROWS_MAX: usize = 400;
/// Most earlier writers of a node that one opening looks at.
const EARLIER_WRITERS_MAX: usize = 8;

/// Whether the command may run: its stored outcome if it ran before, a refusal if its writer may not commit any more.
pub(super) fn admit(context: &mut Context<'_, '_>, origin: Origin) -> Result<Option<Outcome>, RowsError> {
    let key = keys::writer(origin.writer);
    let Some(mut writer) = context.load::<StoredWriter>(&key)? else {
        // A writer whose row went is closed and its results are gone: the command may have run.
        let known = matches!(writer_state(context.rows, origin.writer)?, WriterState::Closed);
        return Ok(Some(Err(if known { Refusal::CommandTooOld } else { Refusal::WriterClosed })));
    };
    if origin.number.0 < writer.value.row.answered_below {
        return Ok(Some(Err(Refusal::CommandTooOld)));
    }
    if let Some(outcome) = context.load::<Outcome>(&keys::result(origin.writer, origin.number))? {
        return Ok(Some(outcome.value));
    }
    if writer.value.row.closed {
        return Ok(Some(Err(Refusal::WriterClosed)));
    }
    if origin.lowest_unanswered > origin.number {
        return Ok(Some(Err(Refusal::Invalid("the command says itself that it was answered".to_owned()))));
    }
    if origin.lowest_unanswered.0 > writer.value.row.answered_below {
        writer.value.row.answered_below = origin.lowest_unanswered.0;
    }
    forget_results(context, &mut writer, RESULTS_REMOVED_MAX)?;
    context.store(key, &writer)?;
    Ok(None)
}

/// Keeps the outcome for a retry.
pub(super) fn remember(context: &mut Context<'_, '_>, origin: Origin, outcome: &Outcome) -> Result<(), RowsError> {
    context.put(keys::result(origin.writer, origin.number), outcome)
}

/// Removes results that the writer has seen, a bounded number; tells how many.
fn forget_results(
    context: &mut Context<'_, '_>,
    writer: &mut Record<StoredWriter>,
    rows_max: usize,
) -> Result<usize, RowsError> {
    let row = &writer.value.row;
    if writer.value.results_from >= row.answered_below {
        return Ok(0);
    }
    let from = keys::result(row.id, CommandNumber(writer.value.results_from));
    let end = keys::result(row.id, CommandNumber(row.answered_below));
    let old = collect(context.rows, &from, &end, rows_max, |key, _| keys::read_result(key).map(Some))?;
    for number in &old {
        context.rows.delete(keys::result(row.id, *number));
    }
    writer.value.results_from = match old.last() {
        Some(last) if old.len() == rows_max => last.0 + 1,
        _ => row.answered_below,
    };
    Ok(old.len())
}

/// `OpenWriter`: a new writer; the node's earlier ones are closed.
pub(super) fn open(context: &mut Context<'_, '_>, node: NodeId) -> Applied<Reply> {
    let range = keys::node_writers(node);
    let earlier = collect(context.rows, &range.from, &range.end, usize::MAX, |key, _| {
        keys::read_node_writer(key).map(|(_, writer)| Some(writer))
    })?;
    // Only the newest can be open. Its results stay for one more life: its process may be alive and ask again.
    if let Some((newest, long_closed)) = earlier.split_last() {
        close_row(context, *newest)?;
        for writer in long_closed.iter().take(EARLIER_WRITERS_MAX) {
            forget_writer(context, node, *writer)?;
        }
    }
    sweep_spent(context)?;
    let id = WriterId(context.count_up(Counter::LastWriter)?);
    let row = WriterRow {
        id,
        node,
        closed: false,
        watermark: Sequence(0),
        answered_below: 0,
        opened: Index(context.index.0),
    };
    context.put(keys::writer(id), StoredWriter { row, results_from: 0 })?;
    context.put(keys::node_writer(node, id), ())?;
    Ok(Reply::Writer(id))
}

/// `CloseWriter`.
pub(super) fn close(context: &mut Context<'_, '_>, writer: WriterId) -> Applied<Reply> {
    match writer_state(context.rows, writer)? {
        WriterState::Unknown => return Err(Refusal::Unknown("writer".to_owned()).into()),
        WriterState::Closed => {}
        WriterState::Open(_) => {
            close_row(context, writer)?;
            sweep_spent(context)?;
        }
    }
    Ok(Reply::Done)
}

/// Closes a writer's row. Its results stay for retries that are still on their way.
fn close_row(context: &mut Context<'_, '_>, writer: WriterId) -> Result<(), RowsError> {
    let key = keys::writer(writer);
    let mut record: Record<StoredWriter> = context.expect(&key)?;
    record.value.row.closed = true;
    context.store(key, &record)
}

/// Removes the results and then the row of a writer that was closed by an earlier command. From then on its id is
/// closed because it is not over the counter, and its commands are too old: nobody can tell whether they ran.
fn forget_writer(context: &mut Context<'_, '_>, node: NodeId, writer: WriterId) -> Result<(), RowsError> {
    let key = keys::writer(writer);
    let mut record: Record<StoredWriter> = context.expect(&key)?;
    record.value.row.answered_below = u64::MAX;
    let removed = forget_results(context, &mut record, SWEEP_ROWS_MAX / EARLIER_WRITERS_MAX)?;
    if removed < SWEEP_ROWS_MAX / EARLIER_WRITERS_MAX {
        context.rows.delete(key);
        context.rows.delete(keys::node_writer(node, writer));
        return Ok(());
    }
    context.store(key, &record)
}

/// `RaiseWatermark`: it only rises.
pub(super) fn raise_watermark(context: &mut Context<'_, '_>, writer: WriterId, sequence: Sequence) -> Applied<Reply> {
    match writer_state(context.rows, writer)? {
        WriterState::Unknown => return Err(Refusal::Unknown("writer".to_owned()).into()),
        WriterState::Closed => return Err(Stop::Refused(Refusal::WriterClosed)),
        WriterState::Open(_) => {}
    }
    let key = keys::writer(writer);
    let mut record: Record<StoredWriter> = context.expect(&key)?;
    if sequence > record.value.row.watermark {
        record.value.row.watermark = sequence;
        context.store(key, &record)?;
    }
    sweep_spent(context)?;
    Ok(Reply::Done)
}

/// Removes the marks of spent segments that their writers cannot name any more.
fn sweep_spent(context: &mut Context<'_, '_>) -> Result<(), RowsError> {
    let all = keys::all_spent();
    let mut from = all.from;
    let mut left = SWEEP_ROWS_MAX;
    // Each turn is another writer; those that are open are few.
    for _ in 0..64 {
        let first = collect(context.rows, &from, &all.end, 1, |key, _| keys::read_spent(key).map(Some))?;
        let Some(first) = first.first() else { return Ok(()) };
        let below = match writer_state(context.rows, first.writer)? {
            WriterState::Open(row) => Some(row.watermark),
            WriterState::Closed | WriterState::Unknown => None,
        };
        let range = keys::spent_of_writer(*first, below);
        let rows = collect(context.rows, &range.from, &range.end, left, |key, _| Ok(Some(key.to_vec())))?;
        left -= rows.len();
        for key in rows {
            context.rows.delete(key);
        }
        if left == 0 {
            return Ok(());
        }
        from = keys::spent_of_writer(*first, None).end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;
    use crate::command::Command;

    #[test]
    fn opening_closes_the_nodes_earlier_writer_and_ids_are_never_reused() {
        let mut world = World::default();
        let first = world.open_writer(NodeId(1));
        let other = world.open_writer(NodeId(2));
        let second = world.open_writer(NodeId(1));
        assert!(first < other && other < second);
        assert!(matches!(writer_state(&world.rows, first).unwrap(), WriterState::Closed));
        assert!(matches!(writer_state(&world.rows, other).unwrap(), WriterState::Open(_)));
        world.done(Command::CloseWriter { writer: second });
        assert!(world.open_writer(NodeId(1)) > second);
        let next = WriterId(99);
        assert_eq!(world.run(Command::CloseWriter { writer: next }), Err(Refusal::Unknown("writer".to_owned())));
    }

    #[test]
    fn a_retry_returns_the_first_outcome_even_of_a_closed_writer() {
        let mut world = World::default();
        let writer = world.open_writer(NodeId(1));
        let origin =
            |number, lowest| Origin { writer, number: CommandNumber(number), lowest_unanswered: CommandNumber(lowest) };
        let make = |name: &str| Command::CreateBucket { name: name.to_owned() };
        let first = world.run_as(origin(1, 1), make("a"));
        assert_eq!(world.run_as(origin(1, 1), make("a")), first);
        assert_eq!(world.run_as(origin(2, 1), make("a")), Err(Refusal::BucketExists));
        world.done(Command::DeleteBucket { name: "a".to_owned() });
        assert_eq!(world.run_as(origin(2, 1), make("a")), Err(Refusal::BucketExists));
        world.run_as(origin(3, 2), make("b")).unwrap();
        assert_eq!(world.run_as(origin(1, 1), make("a")), Err(Refusal::CommandTooOld));
        world.done(Command::CloseWriter { writer });
        assert_eq!(world.run_as(origin(2, 1), make("a")), Err(Refusal::BucketExists));
        assert_eq!(world.run_as(origin(4, 2), make("c")), Err(Refusal::WriterClosed));
        let never = Origin { writer: WriterId(50), ..origin(1, 1) };
        assert_eq!(world.run_as(never, make("c")), Err(Refusal::WriterClosed));
    }

    #[test]
    fn results_go_when_they_were_seen_and_writers_when_they_are_long_closed() {
        let mut world = World::default();
        let writer = world.open_writer(NodeId(1));
        let results = |world: &World| {
            let range = keys::results(writer);
            collect(&world.rows, &range.from, &range.end, usize::MAX, |key, _| keys::read_result(key).map(Some))
                .unwrap()
        };
        for number in 1..=200 {
            let origin = Origin { writer, number: CommandNumber(number), lowest_unanswered: CommandNumber(1) };
            world.run_as(origin, Command::Nothing).unwrap();
        }
        for number in 201..=204 {
            let origin = Origin { writer, number: CommandNumber(number), lowest_unanswered: CommandNumber(200) };
            world.run_as(origin, Command::Nothing).unwrap();
        }
        assert_eq!(results(&world), (200..=204).map(CommandNumber).collect::<Vec<_>>());
        world.open_writer(NodeId(1));
        assert_eq!(results(&world).len(), 5);
        world.open_writer(NodeId(1));
        assert!(results(&world).is_empty());
        assert!(world.rows.iter().all(|(key, _)| key != keys::writer(writer)));
        let origin = Origin { writer, number: CommandNumber(202), lowest_unanswered: CommandNumber(1) };
        assert_eq!(world.run_as(origin, Command::Nothing), Err(Refusal::CommandTooOld));
    }

    #[test]
    fn the_watermark_only_rises() {
        let mut world = World::default();
        let writer = world.open_writer(NodeId(1));
        for (sequence, stands) in [(5, 5), (3, 5), (9, 9)] {
            world.done(Command::RaiseWatermark { writer, sequence: Sequence(sequence) });
            let WriterState::Open(row) = writer_state(&world.rows, writer).unwrap() else { panic!("closed") };
            assert_eq!(row.watermark, Sequence(stands));
        }
    }
}
