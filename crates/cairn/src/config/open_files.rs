//! How many files, connections among them, this process may have open, and who gets how many. The usual limit of 1,024 is
//! there for programs of before; what the machine allows is a second limit, up to which each process may raise the first.
//! Some container engines set both to 1,024.

use anyhow::{Result, bail};
use cairn_gateway::GatewayOptions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The metadata's tables (320) and logs, listeners, the admin socket, certificates, what is read once.
const OF_ALL_ELSE: u64 = 448;
/// A disk's logs, locks and what it is writing.
const OF_A_DISK: u64 = 24;
/// Tables that a disk keeps open: with fewer it opens and closes them all the time, more are of no use.
const TABLES_MIN: u64 = 48;
const TABLES_MAX: u64 = 128;
/// With fewer connections the server is of little use.
const CONNECTIONS_MIN: u64 = 64;
/// Where the machine sets no limit of its own.
const ENOUGH: u64 = 1 << 20;

/// What the limit is shared out to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpenFiles {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Tables that each disk keeps open.
    pub(crate) tables: u32,
}

/// Raises the limit as far as it goes; answers with what it is now.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let highest = maximum.unwrap_or(ENOUGH);
    let current = current.unwrap_or(highest);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(highest), maximum });
    if raised.is_ok() { highest } else { current }
}

/// Shares the limit out: to each what it cannot do without, half of the rest to connections and what they leave to tables.
pub(crate) fn share(limit: u64, disks: usize) -> Result<OpenFiles> {
    let most = GatewayOptions::default().connections_max;
    let count = u64::try_from(disks).unwrap_or(u64::MAX).max(1);
    let least = count.saturating_mul(OF_A_DISK + TABLES_MIN).saturating_add(OF_ALL_ELSE + CONNECTIONS_MIN);
    let Some(rest) = limit.checked_sub(least) else {
        bail!(
            "this process may have {limit} files open, and {disks} disks need {least}: raise the hard limit (`ulimit -Hn`, \
             `LimitNOFILE=` of a unit, `ulimits` of a container), or take fewer disks"
        )
    };
    let connections = usize::try_from(CONNECTIONS_MIN + rest / 2).unwrap_or(most).min(most);
    let of_connections = u64::try_from(connections).unwrap_or(CONNECTIONS_MIN) - CONNECTIONS_MIN;
    let tables = (TABLES_MIN + (rest - of_connections) / count).min(TABLES_MAX);
    Ok(OpenFiles { connections, tables: u32::try_from(tables).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_what_the_limit_allows() {
        assert_eq!(share(20_000, 6).unwrap(), OpenFiles { connections: 1024, tables: 128 });
        assert_eq!(share(1024, 6).unwrap(), OpenFiles { connections: 104, tables: 54 });
        for (limit, disks) in [(1024, 6), (1024, 7), (2048, 6), (8192, 64)] {
            let OpenFiles { connections, tables } = share(limit, disks).unwrap();
            let all = OF_ALL_ELSE + disks as u64 * (OF_A_DISK + u64::from(tables)) + connections as u64;
            assert!(all <= limit, "{all} of {limit} for {disks} disks");
        }
        for (limit, disks, least) in [(1024, 64, 5120), (0, 1, 584)] {
            let refused = share(limit, disks).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("may have {limit} files open, and {disks} disks need {least}")),
                "{refused}"
            );
        }
        let raised = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(raised));
    }
}
