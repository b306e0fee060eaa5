//! A port for a server that cannot choose one itself and tell us.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};

/// A loopback address on which nothing listens, and that the system will give to nobody else for a
/// minute: a connection that was closed on it keeps its port from being chosen, but not from being
/// bound by a server that reuses addresses, as servers do.
pub(super) fn free() -> Result<SocketAddr> {
    let taken = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let client = TcpStream::connect(address)?;
        let (served, _) = listener.accept()?;
        // Who closes first waits.
        drop(served);
        drop(client);
        Ok::<_, std::io::Error>(address)
    };
    taken().context("cannot find a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let address = free().unwrap();
        TcpListener::bind(address).unwrap();
    }
}
