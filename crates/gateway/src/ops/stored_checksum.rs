//! Checksums between the protocol's form and the row's.

use cairn_meta::ChecksumRow;
use cairn_s3::{Checksum, ChecksumAlgorithm, ChecksumType};

/// As a row keeps it.
pub(crate) fn to_row(checksum: &Checksum) -> ChecksumRow {
    ChecksumRow {
        algorithm: checksum.algorithm.as_str().to_owned(),
        value: checksum.to_string(),
        kind: checksum.checksum_type().as_str().to_owned(),
    }
}

/// As the protocol has it; none for what this program does not know.
pub(crate) fn from_row(row: Option<&ChecksumRow>) -> Option<Checksum> {
    let row = row?;
    Checksum::parse(ChecksumAlgorithm::by_name(&row.algorithm)?, &row.value).ok()
}

/// What an upload announced: algorithm and type, no value yet.
pub(crate) fn announced_row(algorithm: ChecksumAlgorithm, checksum_type: ChecksumType) -> ChecksumRow {
    ChecksumRow {
        algorithm: algorithm.as_str().to_owned(),
        value: String::new(),
        kind: checksum_type.as_str().to_owned(),
    }
}

/// What an upload announced.
pub(crate) fn announced(row: Option<&ChecksumRow>) -> Option<(ChecksumAlgorithm, ChecksumType)> {
    let row = row?;
    named(&row.algorithm, &row.kind)
}

/// Algorithm and type by their names.
pub(crate) fn named(algorithm: &str, kind: &str) -> Option<(ChecksumAlgorithm, ChecksumType)> {
    let algorithm = ChecksumAlgorithm::by_name(algorithm)?;
    let types = [ChecksumType::Composite, ChecksumType::FullObject];
    Some((algorithm, types.into_iter().find(|one| one.as_str() == kind)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let checksum = Checksum { algorithm: ChecksumAlgorithm::Crc32, digest: vec![1, 2, 3, 4], parts: Some(3) };
        let row = to_row(&checksum);
        assert_eq!((row.algorithm.as_str(), row.kind.as_str()), ("CRC32", "COMPOSITE"));
        assert_eq!(from_row(Some(&row)), Some(checksum));
        let row = announced_row(ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject);
        assert_eq!(announced(Some(&row)), Some((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject)));
        assert_eq!(from_row(Some(&row)), None, "it has no value yet");
    }
}
