//! The certificate that an authority of our own issued last, and when another one is due.

use std::collections::HashSet;

use rustls::ServerConfig;

use super::{TlsError, authority::Authority, names::LeafNames, server_config};

/// A leaf in use.
pub(super) struct OwnLeaf {
    authority: Authority,
    names: LeafNames,
    /// What it is good for.
    issued: HashSet<String>,
    /// When it has to be issued again, milliseconds since 1970.
    renew_at_ms: u64,
}

impl OwnLeaf {
    /// Issues the first one.
    pub(super) fn first(authority: Authority, names: LeafNames, now_ms: u64) -> Result<(Self, ServerConfig), TlsError> {
        let mut leaf = Self { authority, names, issued: HashSet::new(), renew_at_ms: 0 };
        let config = leaf.issue(leaf.names.all(), now_ms)?;
        Ok((leaf, config))
    }

    /// Issues another one if this is near its end or lacks a name. One with a name too many is as good.
    pub(super) fn renew(&mut self, now_ms: u64) -> Result<Option<ServerConfig>, TlsError> {
        let names = self.names.all();
        if now_ms < self.renew_at_ms && names.iter().all(|name| self.issued.contains(name)) {
            return Ok(None);
        }
        self.issue(names, now_ms).map(Some)
    }

    fn issue(&mut self, names: Vec<String>, now_ms: u64) -> Result<ServerConfig, TlsError> {
        let leaf = self.authority.issue(names.clone(), now_ms)?;
        let config = server_config(leaf.chain, leaf.key)?;
        (self.renew_at_ms, self.issued) = (leaf.renew_at_ms, names.into_iter().collect());
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{GatewayOptions, tls::names::tests::of_machine};

    const NOW_MS: u64 = 1_790_000_000_000;
    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn another_leaf_is_issued_for_a_new_address_and_at_the_end_alone() {
        crate::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let machine = Arc::new(Mutex::new(vec![address(5), address(6)]));
        let names = of_machine(&GatewayOptions::default(), &machine);
        let authority = Authority::open(folder.path(), NOW_MS).unwrap();
        let ca = std::fs::read(folder.path().join("ca.crt")).unwrap();
        let (mut leaf, _) = OwnLeaf::first(authority, names, NOW_MS).unwrap();
        let mut is_renewed = |addresses: &[IpAddr], now_ms| {
            *machine.lock().unwrap() = addresses.to_vec();
            leaf.renew(now_ms).unwrap().is_some()
        };
        assert!(!is_renewed(&[address(6), address(5)], NOW_MS), "nothing changed");
        assert!(!is_renewed(&[address(5)], NOW_MS), "an address went away");
        assert!(!is_renewed(&[address(5), address(6)], NOW_MS), "it is back, and named still");
        assert!(is_renewed(&[address(5), address(7)], NOW_MS), "an address came");
        assert!(!is_renewed(&[address(5), address(7)], NOW_MS + 300 * DAY_MS));
        assert!(is_renewed(&[address(5), address(7)], NOW_MS + 350 * DAY_MS), "it is near its end");
        assert_eq!(std::fs::read(folder.path().join("ca.crt")).unwrap(), ca, "clients trust the authority they know");
    }
}
