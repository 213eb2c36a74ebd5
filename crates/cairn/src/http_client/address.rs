//! Where a server is: scheme, host and port.

use std::fmt;

/// The origin of a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// Name or IP address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Address {
    /// Reads `https://host:port`; the scheme's port where none is named.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let form = || format!("`{url}` must be http:// or https:// and HOST or HOST:PORT");
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(form()),
        };
        Self::of_authority(tls, rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(form)
    }

    /// Reads `host` or `host:port`.
    pub(crate) fn of_authority(tls: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port? {
            "" if authority.ends_with(':') => return None,
            "" => Self::usual_port(tls),
            port => port.parse().ok().filter(|port| *port > 0)?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        (!host.is_empty() && host.bytes().all(plain)).then(|| Self { tls, host: host.to_owned(), port })
    }

    const fn usual_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }

    /// The `Host` header: the scheme's own port is not named, as clients do it and sign it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::usual_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_named_as_clients_sign_them() {
        for (url, host, port, authority) in [
            ("https://cache.lan", "cache.lan", 443, "cache.lan"),
            ("https://cache.lan:443/", "cache.lan", 443, "cache.lan"),
            ("https://cache.lan:9000", "cache.lan", 9000, "cache.lan:9000"),
            ("http://10.0.0.5", "10.0.0.5", 80, "10.0.0.5"),
            ("https://[fd00::1]", "fd00::1", 443, "[fd00::1]"),
            ("https://[fd00::1]:9000", "fd00::1", 9000, "[fd00::1]:9000"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.host.as_str(), address.port, address.authority().as_str()), (host, port, authority));
        }
        for bad in [
            "cache.lan:9000",
            "ftp://x",
            "https://",
            "https://x:",
            "https://x:0",
            "https://x:70000",
            "https://x/y",
            "https://a b",
            "https://[x]:1",
            "https://u@h",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
