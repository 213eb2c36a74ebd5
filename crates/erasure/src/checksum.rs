//! The checksum of a unit: CRC-64/NVME, by carry-less multiplication where the CPU has it (the crate asks at run time).

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64/NVME over `parts` as if they were one.
pub fn unit_checksum(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, from the published parameters: reflected polynomial, all ones in and out.
    fn bitwise(bytes: &[u8]) -> u64 {
        let mut state = u64::MAX;
        for &byte in bytes {
            state ^= u64::from(byte);
            for _ in 0..8 {
                state = (state >> 1) ^ if state & 1 == 0 { 0 } else { 0x9A6C_9329_AC4B_C9B5 };
            }
        }
        !state
    }

    #[test]
    fn published_check_value() {
        assert_eq!(unit_checksum(&[b"123456789"]), 0xAE8B_1486_0A79_9888);
        assert_eq!(unit_checksum(&[]), 0);
    }

    proptest! {
        #[test]
        fn equals_bitwise_for_any_split(bytes in prop::collection::vec(any::<u8>(), 0..3000), cuts in prop::array::uniform2(0..3000usize)) {
            let first = cuts[0].min(cuts[1]).min(bytes.len());
            let second = cuts[0].max(cuts[1]).min(bytes.len());
            let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            prop_assert_eq!(unit_checksum(&parts), bitwise(&bytes));
        }
    }
}
