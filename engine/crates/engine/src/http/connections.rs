//! How many connections the http front holds, in all and from one address (hardening matrix H22).

use crate::Counters;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// Three for each of a thousand viewers, and room for the pages. Needs as many file descriptors.
pub const MAX_CONNECTIONS: usize = 4096;
/// Generous, because a school or a reverse proxy is one address; still three addresses cannot fill the server.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 1024;

pub struct Connections {
    by_address: Mutex<HashMap<IpAddr, usize>>,
    max_total: usize,
    max_per_address: usize,
    counters: Arc<Counters>,
}

impl Connections {
    pub fn new(max_total: usize, max_per_address: usize, counters: Arc<Counters>) -> Arc<Connections> {
        Arc::new(Connections { by_address: Mutex::default(), max_total, max_per_address, counters })
    }

    /// A place for one connection, or None when there is none left; given back when dropped. `for_many`: the address stands for many
    /// clients, and only the total bounds it.
    pub fn admit(self: &Arc<Self>, address: IpAddr, for_many: bool) -> Option<ConnectionPlace> {
        let address = network_of(address);
        let mut by_address = self.lock();
        let total: usize = self.counters.http_connections.get() as usize;
        let count = by_address.get(&address).copied().unwrap_or(0);
        if total >= self.max_total || (count >= self.max_per_address && !for_many) {
            self.counters.http_connections_refused.increment();
            return None;
        }
        by_address.insert(address, count + 1);
        self.counters.http_connections.increment();
        self.counters.http_connections_accepted.increment();
        Some(ConnectionPlace { connections: self.clone(), address })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub struct ConnectionPlace {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut by_address = self.connections.lock();
        self.connections.counters.http_connections.decrement();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 one IPv6 customer has.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let connections = Connections::new(3, 2, Arc::default());
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = connections.admit(address("192.0.2.1"), false).expect("first");
        let _second = connections.admit(address("::ffff:192.0.2.1"), false).expect("the same address, mapped");
        assert!(connections.admit(address("192.0.2.1"), false).is_none());
        let _other = connections.admit(address("2001:db8::1"), false).expect("another address");
        assert!(connections.admit(address("192.0.2.9"), false).is_none(), "the total is reached");
        drop(first);
        let proxy = connections.admit(address("192.0.2.1"), true);
        assert!(proxy.is_some(), "a proxy is bounded by the total only");
        drop(proxy);
        assert!(connections.admit(address("192.0.2.1"), false).is_some());
        assert_eq!(connections.counters.http_connections_refused.get(), 2);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let address = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    }
}
