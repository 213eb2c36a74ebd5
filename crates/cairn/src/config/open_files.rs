//! How many files, connections among them, this process may have open. The usual limit of 1,024 is there for programs of
//! before; what the machine allows is a second limit, up to which each process may raise the first.

use anyhow::{Result, bail};
use cairn_gateway::GatewayOptions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A disk's tables (128), logs, locks and what it is writing.
const OF_A_DISK: u64 = 160;
/// The metadata's tables (320) and logs, listeners, the admin socket, certificates, what is read once.
const OF_ALL_ELSE: u64 = 448;
/// With fewer connections the server is of little use.
const CONNECTIONS_MIN: u64 = 64;
/// Where the machine sets no limit of its own.
const ENOUGH: u64 = 1 << 20;

/// Raises the limit as far as it goes; answers with what it is now.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let highest = maximum.unwrap_or(ENOUGH);
    let current = current.unwrap_or(highest);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(highest), maximum });
    if raised.is_ok() { highest } else { current }
}

/// Connections that the server takes at once: what disks and metadata leave of the limit, up to the usual number.
pub(crate) fn connections(limit: u64, disks: usize) -> Result<usize> {
    let disks = u64::try_from(disks).unwrap_or(u64::MAX);
    let own = disks.saturating_mul(OF_A_DISK).saturating_add(OF_ALL_ELSE);
    let most = GatewayOptions::default().connections_max;
    match limit.checked_sub(own) {
        Some(left) if left >= CONNECTIONS_MIN => Ok(usize::try_from(left).unwrap_or(most).min(most)),
        _ => bail!(
            "this process may have {limit} files open, and {disks} disks need {}: raise the hard limit (`ulimit -Hn`, \
             `LimitNOFILE=` of a unit, `ulimits` of a container), or take fewer disks",
            own + CONNECTIONS_MIN
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_disks_leave() {
        assert_eq!(connections(20_000, 6).unwrap(), 1024);
        assert_eq!(connections(6 * 160 + 448 + 100, 6).unwrap(), 100);
        for (limit, disks) in [(1024, 6), (1024, 64), (0, 1)] {
            let refused = connections(limit, disks).unwrap_err().to_string();
            assert!(refused.contains(&format!("may have {limit} files open, and {disks} disks need")), "{refused}");
        }
        assert!(connections(1024, 3).is_ok());
        assert!(raise_limit() >= raise_limit());
    }
}
