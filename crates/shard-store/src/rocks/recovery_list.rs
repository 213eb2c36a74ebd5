//! The record that recovery begins with when the metadata is lost: a file in the disk's folder, beside the instances, so
//! that it outlives a rebuilt index.
//!
//! The content, then its checksum.

use std::{fs, io, path::Path};

use bytes::Bytes;

use super::folder::{MARKER, replace_file};

pub(super) const LIST: &str = "CAIRN-RECOVERY";
pub(super) const LIST_NEW: &str = "CAIRN-RECOVERY.new";
/// Far more than three snapshots of a large store need.
const LIST_BYTES_MAX: u64 = 64 << 20;
const CHECKSUM_BYTES: usize = 8;

/// Replaces the record; durable on return. A folder that is no disk any more gets none.
pub(super) fn write(folder: &Path, list: &[u8]) -> io::Result<()> {
    if list.len() as u64 > LIST_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the recovery list is too long"));
    }
    fs::metadata(folder.join(MARKER))?;
    let content = [list, &cairn_erasure::unit_checksum(&[list]).to_be_bytes()].concat();
    replace_file(folder, LIST_NEW, LIST, &content)
}

/// Reads the record. `Ok(None)` where there is none.
pub(super) fn read(folder: &Path) -> io::Result<Option<Bytes>> {
    let path = folder.join(LIST);
    match fs::metadata(&path) {
        Ok(file) if file.len() <= LIST_BYTES_MAX + CHECKSUM_BYTES as u64 => {}
        Ok(_) => return Err(damaged()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let content = Bytes::from(fs::read(&path)?);
    let split = content.len().checked_sub(CHECKSUM_BYTES).ok_or_else(damaged)?;
    let list = content.slice(..split);
    if content[split..] != cairn_erasure::unit_checksum(&[&list]).to_be_bytes() {
        return Err(damaged());
    }
    Ok(Some(list))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{LIST} is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), b"one").is_err(), "no disk lies there");
        fs::write(folder.path().join(MARKER), "").unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        for list in [&b"one"[..], b"", b"another"] {
            write(folder.path(), list).unwrap();
            assert_eq!(read(folder.path()).unwrap().unwrap(), list);
        }
        let whole = fs::read(folder.path().join(LIST)).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(folder.path().join(LIST), changed).unwrap();
            assert!(read(folder.path()).is_err(), "changed at {at}");
            fs::write(folder.path().join(LIST), &whole[..at]).unwrap();
            assert!(read(folder.path()).is_err(), "cut at {at}");
        }
    }
}
