//! All rows of one moment as bytes, piece by piece: per row the lengths of key and value, then both.

use cairn_proto::Index;

use crate::error::MetaError;
use crate::raft::read_index::View;
use crate::rows::Change;

/// Behind every key.
const END: [u8; 1] = [0xff];

/// The rows of one view, from the first to the last.
pub struct MetaExport {
    view: View,
    from: Vec<u8>,
    ended: bool,
}

impl MetaExport {
    pub(crate) const fn new(view: View) -> Self {
        Self { view, from: Vec::new(), ended: false }
    }

    /// The index at which the rows stand.
    #[must_use]
    pub const fn index(&self) -> Index {
        Index(self.view.index)
    }

    /// The next rows, some `bytes_max` bytes of them; none behind the last. Reads from the disk.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where rows cannot be read.
    pub fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, MetaError> {
        if self.ended {
            return Ok(None);
        }
        let (mut piece, mut last) = (Vec::new(), None);
        let mut too_long = false;
        self.view.rows.scan(&self.from, &END, &mut |key, value| {
            let lengths = u32::try_from(key.len()).ok().zip(u32::try_from(value.len()).ok());
            let Some((key_bytes, value_bytes)) = lengths else {
                too_long = true;
                return false;
            };
            piece.extend_from_slice(&key_bytes.to_be_bytes());
            piece.extend_from_slice(&value_bytes.to_be_bytes());
            piece.extend_from_slice(key);
            piece.extend_from_slice(value);
            last = Some(key.to_vec());
            piece.len() < bytes_max
        })?;
        if too_long {
            return Err(MetaError::Damaged { what: "a row is longer than 4 GiB".to_owned() });
        }
        let Some(mut last) = last else {
            self.ended = true;
            return Ok(None);
        };
        // The first key behind it.
        last.push(0);
        self.from = last;
        Ok(Some(piece))
    }
}

/// The rows of a piece, each as a change that puts it.
pub(super) fn rows_of(mut piece: &[u8]) -> Result<Vec<Change>, MetaError> {
    let cut = || MetaError::Damaged { what: "the snapshot's rows are cut off".to_owned() };
    let mut rows = Vec::new();
    while !piece.is_empty() {
        let mut length = || -> Result<usize, MetaError> {
            let (head, rest) = piece.split_first_chunk::<4>().ok_or_else(cut)?;
            piece = rest;
            usize::try_from(u32::from_be_bytes(*head)).map_err(|_| cut())
        };
        let (key_bytes, value_bytes) = (length()?, length()?);
        let (key, rest) = piece.split_at_checked(key_bytes).ok_or_else(cut)?;
        let (value, rest) = rest.split_at_checked(value_bytes).ok_or_else(cut)?;
        piece = rest;
        rows.push((key.to_vec(), Some(value.to_vec())));
    }
    Ok(rows)
}
