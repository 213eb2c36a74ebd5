//! How the commands of one log entry are written.

use cairn_proto::{Record, RecordError, decode_record, encode_record};

use crate::command::Envelope;

/// The version byte of an entry.
const ENTRY_VERSION: u8 = 1;

/// Writes the commands of an entry.
///
/// # Errors
/// Only for values that cannot be written; commands have none.
pub fn encode_entry(envelopes: &[Envelope]) -> Result<Vec<u8>, RecordError> {
    encode_record(ENTRY_VERSION, &Record::new(envelopes))
}

/// Reads the commands of an entry.
///
/// # Errors
/// For an entry of another version, or bytes that are none.
pub fn decode_entry(bytes: &[u8]) -> Result<Vec<Envelope>, RecordError> {
    let record: Record<Vec<Envelope>> = decode_record(ENTRY_VERSION, bytes)?;
    // An entry is this program's own or its leader's: a tail would hold commands' fields that this member must obey.
    if record.tail.is_empty() { Ok(record.value) } else { Err(RecordError::Damaged(None)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    #[test]
    fn entries_are_read_back_and_damage_is_an_error() {
        let command = Command::CreateBucket { name: "a".to_owned() };
        let envelopes = vec![Envelope { origin: None, now_ms: 7, command }];
        let bytes = encode_entry(&envelopes).unwrap();
        assert_eq!(decode_entry(&bytes).unwrap(), envelopes);
        assert!(decode_entry(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode_entry(&[2, 0]).is_err());
        assert!(decode_entry(&[1, 0, 0]).is_err());
    }
}
