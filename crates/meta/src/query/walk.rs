//! Walking rows in order of key with a delimiter: common prefixes are seeked over, never walked.

use cairn_proto::BucketId;

use crate::keys::Named;
use crate::rows::{RowsError, RowsRead};

/// Whether a row (key and value) is wanted.
pub(super) type Keep<'a> = dyn Fn(&[u8], &[u8]) -> Result<bool, RowsError> + 'a;

/// What is walked.
pub(super) struct Scope<'a> {
    pub(super) kind: Named,
    pub(super) bucket: BucketId,
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
}

/// What comes next.
pub(super) enum Found<'a> {
    /// A row that lies in no common prefix.
    Row { key: String, value: &'a [u8] },
    /// All keys that begin so.
    Prefix(String),
}

/// How to go on.
pub(super) enum Step {
    Next,
    /// Over the other rows of the same key.
    PastKey,
    Stop,
}

impl Scope<'_> {
    /// The common prefix that a key lies in.
    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix)?;
        let at = rest.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// Where a walk after this key begins: behind its rows, or behind the common prefix it lies in.
    pub(super) fn behind(&self, after: &str) -> Vec<u8> {
        match self.common_prefix(after) {
            Some(prefix) => self.kind.beginning(self.bucket, prefix).end,
            None => self.kind.of_key(self.bucket, after).end,
        }
    }

    /// Whether the key itself would be a line, not a common prefix.
    pub(super) fn is_line(&self, key: &str) -> bool {
        self.common_prefix(key).is_none()
    }

    /// Walks from `from` (or the scope's beginning) on; rows that `keep` does not want are not there.
    pub(super) fn walk(
        &self,
        rows: &dyn RowsRead,
        from: Vec<u8>,
        keep: &Keep<'_>,
        visit: &mut dyn FnMut(Found<'_>) -> Result<Step, RowsError>,
    ) -> Result<(), RowsError> {
        let range = self.kind.beginning(self.bucket, self.prefix);
        let mut next = Some(range.from.max(from));
        while let Some(from) = next.take() {
            let mut failed = None;
            rows.scan(&from, &range.end, &mut |row, value| match self.step(row, value, keep, visit) {
                Ok((goes_on, seek)) => {
                    next = seek;
                    goes_on
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// One row: whether the scan goes on, and if not, where another begins.
    fn step(
        &self,
        row: &[u8],
        value: &[u8],
        keep: &Keep<'_>,
        visit: &mut dyn FnMut(Found<'_>) -> Result<Step, RowsError>,
    ) -> Result<(bool, Option<Vec<u8>>), RowsError> {
        if !keep(row, value)? {
            return Ok((true, None));
        }
        let key = Named::read_key(row)?;
        let (found, behind) = match self.common_prefix(&key) {
            Some(prefix) => (Found::Prefix(prefix.to_owned()), Some(self.kind.beginning(self.bucket, prefix).end)),
            None => (Found::Row { key, value }, None),
        };
        Ok(match visit(found)? {
            Step::Stop => (false, None),
            Step::PastKey => (false, Some(self.kind.of_key(self.bucket, &Named::read_key(row)?).end)),
            Step::Next => (behind.is_none(), behind),
        })
    }
}
