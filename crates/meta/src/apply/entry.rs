//! How the commands of one log entry are written.

use cairn_proto::{Record, RecordError, decode_record, encode_record};

use crate::cluster_rows::{CLUSTER_VERSION, FIRST_VERSION};
use crate::command::{Command, Envelope};

/// The version byte of an entry: the cluster version that brought the newest kind in it, so that an older program says
/// that a newer one wrote it, and not that it is damaged.
fn entry_version(envelopes: &[Envelope]) -> u8 {
    let newest = envelopes.iter().map(|envelope| match &envelope.command {
        // Written under the version before; the kind came with version 2.
        Command::RaiseVersion { .. } => 2,
        command => command.since(),
    });
    newest.max().and_then(|newest| u8::try_from(newest).ok()).unwrap_or(1)
}

/// Writes the commands of an entry.
///
/// # Errors
/// Only for values that cannot be written; commands have none.
pub fn encode_entry(envelopes: &[Envelope]) -> Result<Vec<u8>, RecordError> {
    encode_record(entry_version(envelopes), &Record::new(envelopes))
}

/// Reads the commands of an entry.
///
/// # Errors
/// For an entry of another version, or bytes that are none.
pub fn decode_entry(bytes: &[u8]) -> Result<Vec<Envelope>, RecordError> {
    let found = bytes.first().map_or(FIRST_VERSION, |version| u32::from(*version));
    let known = u8::try_from(found.clamp(FIRST_VERSION, CLUSTER_VERSION)).unwrap_or(1);
    let record: Record<Vec<Envelope>> = decode_record(known, bytes)?;
    // An entry is this program's own or its leader's: a tail would hold commands' fields that this member must obey.
    if record.tail.is_empty() { Ok(record.value) } else { Err(RecordError::Damaged(None)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_and_damage_is_an_error() {
        let command = Command::CreateBucket { name: "a".to_owned() };
        let envelopes = vec![Envelope { origin: None, now_ms: 7, command }];
        let bytes = encode_entry(&envelopes).unwrap();
        assert_eq!(decode_entry(&bytes).unwrap(), envelopes);
        assert!(decode_entry(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode_entry(&[0, 0]).is_err());
        assert!(decode_entry(&[1, 0, 0]).is_err());
        let newer = u8::try_from(CLUSTER_VERSION + 1).unwrap();
        assert!(decode_entry(&[newer, 0]).unwrap_err().to_string().contains("a newer cairn wrote it"));
        let newer_kind = Envelope { origin: None, now_ms: 7, command: Command::DropForgotten {} };
        let bytes = encode_entry(std::slice::from_ref(&newer_kind)).unwrap();
        assert_eq!((bytes[0], decode_entry(&bytes).unwrap()), (2, vec![newer_kind]));
    }
}
