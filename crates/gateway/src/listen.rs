//! Sockets that take connections. What `--check` tries and what the server takes are made here alike.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that wait to be accepted; the kernel has a bound of its own.
const BACKLOG: i32 = 1024;

/// Listens on one of several addresses. `[::]` takes IPv4 too, unless an IPv4 address of `all` has the same port: the
/// kernel gives a port to one of two sockets that both take IPv4, whatever `net.ipv6.bindv6only` says of others.
///
/// # Errors
/// The address is not to be had.
pub fn listen_on(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // A server that starts again finds connections of the one before still waiting for their end.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        let beside = all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
        sockopt::set_ipv6_v6only(&socket, beside)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    const BOTH: [fn(u16) -> SocketAddr; 2] =
        [|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)), |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port))];

    fn port_of(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    /// Whether a client gets through to it. The kernel answers for the listener, which does not wait.
    fn reached(listener: &TcpListener, from: SocketAddr) -> bool {
        TcpStream::connect(from).is_ok() && listener.accept().is_ok()
    }

    #[test]
    fn ipv6_alone_takes_both_families() {
        let all = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))];
        let listener = listen_on(all[0], &all).unwrap();
        for from in BOTH {
            assert!(reached(&listener, from(port_of(&listener))));
        }
        let taken = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port_of(&listener)));
        assert_eq!(listen_on(taken, &[taken]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_families_share_a_port_in_either_order() {
        for v4_first in [true, false] {
            let all = |port| {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                if v4_first { [v4, v6] } else { [v6, v4] }
            };
            let first = listen_on(all(0)[0], &all(0)).unwrap();
            let all = all(port_of(&first));
            let second = listen_on(all[1], &all).unwrap();
            let (v4, v6) = if v4_first { (&first, &second) } else { (&second, &first) };
            for (listener, from) in [v4, v6].into_iter().zip(BOTH) {
                assert!(reached(listener, from(port_of(&first))), "{all:?}");
            }
        }
    }
}
