//! What a certificate of our own is good for: every name and address by which clients may reach this machine.
//!
//! They are found anew at each look, since an address may come when the server runs already.

use std::{cell::Cell, collections::HashSet, fs, io, net::IpAddr, path::Path};

use super::interfaces;
use crate::options::GatewayOptions;

/// Addresses of interfaces in a certificate, which every handshake carries: a machine of many containers has hundreds.
const INTERFACE_ADDRESSES_MAX: usize = 64;

/// Finds the names of a leaf.
pub(super) struct LeafNames {
    /// As configured: names and addresses, and the domains of virtual-hosted buckets.
    given: Vec<String>,
    /// Addresses that are listened on.
    listen: Vec<IpAddr>,
    interfaces: Box<dyn Fn() -> io::Result<Vec<IpAddr>> + Send>,
    /// Whether it was told that the interfaces' addresses are missing: they are asked for twice a minute.
    is_failure_told: Cell<bool>,
}

impl LeafNames {
    /// For a gateway with these options, whose certificate shall have these names too.
    pub(super) fn new(options: &GatewayOptions, names: &[String]) -> Self {
        let domains = options.domains.iter().flat_map(|domain| [domain.clone(), format!("*.{domain}")]);
        Self {
            given: names.iter().cloned().chain(domains).collect(),
            listen: options.listen.iter().map(std::net::SocketAddr::ip).collect(),
            interfaces: Box::new(interfaces::addresses),
            is_failure_told: Cell::new(false),
        }
    }

    /// All names, each once, in the form certificates have them. Without the interfaces' addresses if the system does
    /// not tell them.
    pub(super) fn all(&self) -> Vec<String> {
        let interfaces = (self.interfaces)().unwrap_or_else(|error| {
            if !self.is_failure_told.replace(true) {
                tracing::warn!(%error, "this machine's addresses cannot be read: its certificate does not name them");
            }
            Vec::new()
        });
        // Loopback has its names already; others of it (127.0.0.2) are listed where they are listened on.
        let interfaces = interfaces.into_iter().filter(|address| is_reachable(*address) && !address.is_loopback());
        let listen = self.listen.iter().copied().filter(|address| !address.is_unspecified());
        let addresses = listen.chain(interfaces.take(INTERFACE_ADDRESSES_MAX)).map(|address| address.to_string());
        let fixed = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let given = self.given.iter().map(|name| canonical(name));
        let mut seen = HashSet::new();
        let all = fixed.into_iter().chain(host_name(Path::new("/proc/sys/kernel/hostname"))).chain(given);
        all.chain(addresses).filter(|name| !name.is_empty() && seen.insert(name.clone())).collect()
    }
}

/// Whether an address can be named to a client: not one that needs a zone, nor one that is nobody's.
fn is_reachable(address: IpAddr) -> bool {
    let needs_zone = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    !needs_zone && !address.is_unspecified() && !address.is_multicast()
}

/// An address without brackets and in its one form; a name as it is.
fn canonical(name: &str) -> String {
    let bare = name.trim_matches(['[', ']']);
    bare.parse::<IpAddr>().map_or_else(|_| bare.to_owned(), |address| address.to_string())
}

fn host_name(file: &Path) -> Option<String> {
    let host = fs::read_to_string(file).unwrap_or_default();
    let host = host.trim();
    let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    (is_name && host != "(none)").then(|| host.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Names of a machine whose addresses the test sets.
    pub(in crate::tls) fn of_machine(options: &GatewayOptions, addresses: &Arc<Mutex<Vec<IpAddr>>>) -> LeafNames {
        let addresses = Arc::clone(addresses);
        let interfaces = Box::new(move || Ok(addresses.lock().unwrap().clone()));
        LeafNames { interfaces, ..LeafNames::new(options, &[]) }
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn all_by_which_the_machine_may_be_reached() {
        let listen = ["10.0.0.5:9000", "127.0.0.2:9000", "0.0.0.0:9001", "[::]:9001"];
        let options = GatewayOptions {
            listen: listen.map(|address| address.parse().unwrap()).to_vec(),
            domains: vec!["s3.lan".to_owned()],
            ..GatewayOptions::default()
        };
        let given = ["cache.lan", "[fd00::1]", "fd00:0::1", "10.0.0.5"].map(str::to_owned);
        let found = ["127.0.0.1", "10.0.0.5", "192.168.1.7", "127.0.0.3", "::1", "fe80::1", "fd00::2", "224.0.0.1"];
        let interfaces = Box::new(move || Ok(addresses(&found)));
        let names = LeafNames { interfaces, ..LeafNames::new(&options, &given) }.all();
        let host = host_name(Path::new("/proc/sys/kernel/hostname"));
        let fixed = ["localhost", "127.0.0.1", "::1"];
        let further = ["cache.lan", "fd00::1", "10.0.0.5", "s3.lan", "*.s3.lan", "127.0.0.2", "192.168.1.7", "fd00::2"];
        let wanted: Vec<&str> = fixed.into_iter().chain(host.as_deref()).chain(further).collect();
        assert_eq!(names, wanted);
    }

    #[test]
    fn a_system_that_tells_no_addresses_is_no_failure() {
        let options = GatewayOptions { listen: vec!["10.0.0.5:9000".parse().unwrap()], ..GatewayOptions::default() };
        let interfaces = Box::new(|| Err(io::ErrorKind::PermissionDenied.into()));
        let names = LeafNames { interfaces, ..LeafNames::new(&options, &[]) }.all();
        assert!(names.contains(&"10.0.0.5".to_owned()), "{names:?}");
    }

    #[test]
    fn a_machine_of_many_addresses_names_the_first() {
        let options = GatewayOptions::default();
        let many = (0..=255).map(|number| IpAddr::from([10, 1, 0, number])).collect();
        let names = of_machine(&options, &Arc::new(Mutex::new(many))).all();
        assert!(names.contains(&"10.1.0.63".to_owned()) && !names.contains(&"10.1.0.64".to_owned()), "{names:?}");
    }

    #[test]
    fn a_host_without_a_name_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, name) in [("nas-1.lan\n", Some("nas-1.lan")), ("(none)\n", None), ("", None), ("a b\n", None)] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(host_name(file.path()).as_deref(), name, "{text:?}");
        }
    }
}
