//! What is the same for all requests of a connection, read once.

use crate::config::Direction;
use crate::host::Host;
use crate::property;

/// How many connections a worker remembers. Two connections that fall into one slot push each other
/// out, which costs three readings and is no error.
const SLOTS: usize = 512;
/// The bits of a connection's number that say its slot.
const SLOT_BITS: u64 = SLOTS as u64 - 1;

/// The connections that had a request lately. Envoy numbers all connections of a process and uses no
/// number twice.
#[derive(Debug)]
pub(crate) struct Connections {
    /// By the lower bits of the connection's number; made with the first one.
    slots: Vec<Connection>,
    /// For a request whose connection has no number.
    nameless: Connection,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    id: Option<i64>,
    /// Of the listener; one that does not say is taken for an inbound one. Where nothing else
    /// differs, Envoy lets the listeners of both directions share a root, but not a connection.
    pub(crate) direction: Direction,
    /// Such as `HTTP/2`; empty if unknown.
    pub(crate) protocol: Vec<u8>,
    peer: Vec<u8>,
    cluster_name: Vec<u8>,
}

impl Connection {
    const UNKNOWN: Self = Self {
        id: None,
        direction: Direction::Inbound,
        protocol: Vec::new(),
        peer: Vec::new(),
        cluster_name: Vec::new(),
    };

    fn read(&mut self, host: &mut impl Host, id: Option<i64>) {
        self.id = id;
        self.direction = property::direction(host, None);
        let protocol = property::bytes(host, property::REQUEST_PROTOCOL);
        keep(&mut self.protocol, &protocol.unwrap_or_default());
        self.peer.clear();
        self.cluster_name.clear();
    }

    /// The other end's address and port; empty if unknown.
    pub(crate) fn peer(&mut self, host: &mut impl Host) -> Vec<u8> {
        if self.peer.is_empty() {
            let peer = property::bytes(host, property::SOURCE_ADDRESS).unwrap_or_default();
            // Envoy may take a caller's address from a header, which has no port: it holds for this
            // request alone.
            if peer.ends_with(b":0") || self.id.is_none() {
                return peer;
            }
            keep(&mut self.peer, &peer);
        }
        self.peer.clone()
    }

    /// The cluster that the current request went to; empty if it went to none.
    pub(crate) fn cluster_name(&mut self, host: &mut impl Host) -> Vec<u8> {
        if self.cluster_name.is_empty() {
            let name = property::bytes(host, property::CLUSTER_NAME).unwrap_or_default();
            // Routes choose a cluster for each request, but Istio gives a port of a sidecar one
            // cluster for all that comes in, and this name.
            if !name.starts_with(b"inbound|") || self.id.is_none() {
                return name;
            }
            keep(&mut self.cluster_name, &name);
        }
        self.cluster_name.clone()
    }
}

/// Puts `text` where the last one was: what lives long stays in one place, and leaves no holes among
/// what does not.
fn keep(place: &mut Vec<u8>, text: &[u8]) {
    place.clear();
    place.extend_from_slice(text);
}

impl Connections {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            nameless: Connection::UNKNOWN,
        }
    }

    /// The connection of the current stream.
    pub(crate) fn current(&mut self, host: &mut impl Host) -> &mut Connection {
        let id = property::number(host, property::CONNECTION_ID);
        if self.slots.is_empty() {
            self.slots = vec![Connection::UNKNOWN; SLOTS];
        }
        let slot = id.and_then(|id| usize::try_from(id.cast_unsigned() & SLOT_BITS).ok());
        let connection = match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(connection) => connection,
            None => &mut self.nameless,
        };
        if connection.id != id || id.is_none() {
            connection.read(host, id);
        }
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    fn host(id: i64, protocol: &str, peer: &str) -> FakeHost {
        let mut host = FakeHost::default();
        host.set_number("connection_id", id);
        host.set_number("xds.listener_direction", 2);
        let texts = [("request.protocol", protocol), ("source.address", peer)];
        for (path, text) in texts {
            host.properties.insert(path.to_owned(), text.into());
        }
        host
    }

    /// What is known of the current connection, and how many readings that took.
    fn seen(connections: &mut Connections, host: &mut FakeHost) -> (String, String, usize) {
        let before = host.n_calls;
        let connection = connections.current(host);
        assert_eq!(connection.direction, Direction::Outbound);
        let peer = String::from_utf8(connection.peer(host)).unwrap();
        let protocol = String::from_utf8(connection.protocol.clone()).unwrap();
        (protocol, peer, host.n_calls - before)
    }

    #[track_caller]
    fn check(seen: (String, String, usize), protocol: &str, peer: &str, n_calls: usize) {
        assert_eq!(seen, (protocol.to_owned(), peer.to_owned(), n_calls));
    }

    #[test]
    fn a_connection_is_read_once_and_another_one_in_its_slot_again() {
        let connections = &mut Connections::new();
        let mut one = host(7, "HTTP/2", "10.0.0.1:4000");
        check(seen(connections, &mut one), "HTTP/2", "10.0.0.1:4000", 4);
        check(seen(connections, &mut one), "HTTP/2", "10.0.0.1:4000", 1);
        let mut other = host(7 + SLOTS as i64, "HTTP/1.1", "10.0.0.2:5000");
        check(
            seen(connections, &mut other),
            "HTTP/1.1",
            "10.0.0.2:5000",
            4,
        );
        check(seen(connections, &mut one), "HTTP/2", "10.0.0.1:4000", 4);
    }

    #[test]
    fn an_address_from_a_header_holds_for_its_request_alone() {
        let connections = &mut Connections::new();
        let mut host = host(7, "HTTP/2", "192.0.2.1:0");
        check(seen(connections, &mut host), "HTTP/2", "192.0.2.1:0", 4);
        host.properties
            .insert("source.address".to_owned(), "192.0.2.9:0".into());
        check(seen(connections, &mut host), "HTTP/2", "192.0.2.9:0", 2);
    }

    #[test]
    fn a_cluster_is_the_connections_only_where_istio_says_so() {
        let connections = &mut Connections::new();
        let host = &mut host(7, "HTTP/2", "10.0.0.1:4000");
        let mut seen = |name: &str| {
            host.properties
                .insert("xds.cluster_name".to_owned(), name.into());
            let name = connections.current(host).cluster_name(host);
            String::from_utf8(name).unwrap()
        };
        assert_eq!(seen("outbound|80||a"), "outbound|80||a");
        assert_eq!(seen("inbound-vip|80|http|b"), "inbound-vip|80|http|b");
        assert_eq!(seen("inbound|8080||"), "inbound|8080||");
        assert_eq!(seen("inbound|9090||"), "inbound|8080||");
    }

    #[test]
    fn without_a_number_nothing_is_remembered() {
        let connections = &mut Connections::new();
        let mut one = host(0, "HTTP/2", "10.0.0.1:4000");
        one.properties.remove("connection_id");
        check(seen(connections, &mut one), "HTTP/2", "10.0.0.1:4000", 4);
        let mut other = host(0, "HTTP/1.1", "10.0.0.2:5000");
        other.properties.remove("connection_id");
        check(
            seen(connections, &mut other),
            "HTTP/1.1",
            "10.0.0.2:5000",
            4,
        );
    }
}
