//! The addresses of this machine's network interfaces.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The list that the system gives out, freed when dropped.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it came from `getifaddrs` and is freed once; no address of an entry outlives this.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// All of them in the system's order, which begins with the oldest interfaces: loopback's, private and public ones.
pub(super) fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the call writes one pointer.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(first);
    let mut found = Vec::new();
    let mut next = list.0;
    // SAFETY: each entry points to the next one or is the last, and all live as long as the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the address of an entry is null or as long as its family says.
        found.extend(unsafe { ip_of(entry.ifa_addr) });
    }
    Ok(found)
}

/// The IP address in a socket address; none in those of other families.
///
/// # Safety
/// It is null or points to an address as long as its family says.
unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: every socket address begins with its family, and one of these families is as long as the type read. The
    // reads ask for no alignment.
    unsafe {
        match i32::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let address = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let address = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs};

    use super::*;

    /// What the kernel says in its own tables: local routes, and addresses of IPv6.
    fn of_the_kernel() -> HashSet<IpAddr> {
        let routes = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        let lines: Vec<&str> = routes.lines().collect();
        let local = lines.windows(2).filter(|pair| pair[1].trim_start().starts_with("/32 host LOCAL"));
        let v4 = local.filter_map(|pair| pair[0].trim_start_matches([' ', '|', '-']).parse().ok());
        let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let v6 = table.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
        v4.chain(v6.map(|bits| Ipv6Addr::from(bits).into())).collect()
    }

    #[test]
    fn they_are_those_the_kernel_has() {
        let (found, kernel) = (addresses().unwrap(), of_the_kernel());
        let found: HashSet<IpAddr> = found.into_iter().collect();
        assert!(!kernel.is_empty(), "a machine has loopback at least");
        assert!(kernel.is_subset(&found), "{kernel:?} in {found:?}");
    }
}
