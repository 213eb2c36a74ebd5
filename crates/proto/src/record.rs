//! How rows, log entries and headers are written: a version byte, the fields, and a tail for fields of a later release.
//!
//! A record of a known version whose body is longer than we know keeps the rest as its tail and writes it back: an
//! older program does not lose what a newer one added.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// A value together with the bytes that a newer program put behind it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record<T> {
    /// The fields this program knows.
    pub value: T,
    /// Fields it does not know, kept as they are.
    pub tail: Vec<u8>,
}

impl<T> Record<T> {
    /// A record of this program's own making.
    pub const fn new(value: T) -> Self {
        Self { value, tail: Vec::new() }
    }
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("record of version {found}, this program knows {known}: a newer cairn wrote it")]
    Version {
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// Not a record at all.
    #[error("damaged record")]
    Damaged(#[source] Option<postcard::Error>),
}

/// Writes a record under a version byte.
///
/// # Errors
/// Only for values that postcard cannot write (a sequence of unknown length); our rows have none.
pub fn encode_record<T: Serialize>(version: u8, record: &Record<T>) -> Result<Vec<u8>, RecordError> {
    let mut bytes = postcard::to_extend(&record.value, vec![version]).map_err(|e| RecordError::Damaged(Some(e)))?;
    bytes.extend_from_slice(&record.tail);
    Ok(bytes)
}

/// Reads a record of the given version.
///
/// # Errors
/// [`RecordError::Version`] for a record of another version, [`RecordError::Damaged`] for bytes that are none.
pub fn decode_record<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<Record<T>, RecordError> {
    let (value, tail) = split_record(version, bytes)?;
    Ok(Record { value, tail: tail.to_vec() })
}

/// Reads the first fields of a record, as many as `T` has, and nothing of what stands behind them.
///
/// # Errors
/// As [`decode_record`].
pub fn decode_front<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, RecordError> {
    Ok(split_record(version, bytes)?.0)
}

fn split_record<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<(T, &'a [u8]), RecordError> {
    let (&found, body) = bytes.split_first().ok_or(RecordError::Damaged(None))?;
    if found != version {
        return Err(RecordError::Version { found, known: version });
    }
    postcard::take_from_bytes(body).map_err(|e| RecordError::Damaged(Some(e)))
}

/// Reads a field that a later release appended, for `#[serde(deserialize_with)]`: a record that ends before it, as an
/// older program wrote it, has the default. Damage is an error still.
///
/// # Errors
/// As the field's own.
pub fn appended<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    match T::deserialize(deserializer) {
        // Serde hands errors on by their trait, which knows their text alone.
        Err(error) if error.to_string() == postcard::Error::DeserializeUnexpectedEnd.to_string() => Ok(T::default()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Grown {
        name: String,
        #[serde(deserialize_with = "appended")]
        colour: Option<bool>,
    }

    #[test]
    fn a_field_that_an_older_program_did_not_know_has_its_default() {
        let older = encode_record(1, &Record::new("name".to_owned())).unwrap();
        let read: Record<Grown> = decode_record(1, &older).unwrap();
        assert_eq!(read, Record::new(Grown { name: "name".to_owned(), colour: None }));
        let newer = Record::new(Grown { name: "name".to_owned(), colour: Some(true) });
        assert_eq!(decode_record::<Grown>(1, &encode_record(1, &newer).unwrap()).unwrap(), newer);
        let cut_before = &older[..older.len() - 1];
        assert!(matches!(decode_record::<Grown>(1, cut_before), Err(RecordError::Damaged(_))));
        let damaged = [&older[..], &[9]].concat();
        assert!(matches!(decode_record::<Grown>(1, &damaged), Err(RecordError::Damaged(_))));
    }

    #[test]
    fn unknown_fields_survive() {
        let newer = encode_record(1, &Record::new((7_u32, "name".to_owned(), 9_u64))).unwrap();
        let older: Record<(u32, String)> = decode_record(1, &newer).unwrap();
        assert_eq!(older.value, (7, "name".to_owned()));
        assert_eq!(encode_record(1, &older).unwrap(), newer);
        assert_eq!(decode_front::<(u32, &str)>(1, &newer).unwrap(), (7, "name"));
    }

    #[test]
    fn another_version_is_refused() {
        let bytes = encode_record(2, &Record::new(1_u8)).unwrap();
        assert!(matches!(decode_record::<u8>(1, &bytes), Err(RecordError::Version { found: 2, known: 1 })));
        assert!(matches!(decode_record::<u8>(1, &[]), Err(RecordError::Damaged(_))));
    }
}
