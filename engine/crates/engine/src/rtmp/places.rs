//! How many connections without a publication there may be, in all and from one address.

use crate::http::connections::network_of;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

#[derive(Default)]
struct Inner {
    per_address: HashMap<IpAddr, usize>,
    /// By order of arrival.
    evictions: BTreeMap<u64, Arc<Notify>>,
    next_number: u64,
}

pub(super) struct Places {
    inner: Mutex<Inner>,
    max_per_address: usize,
    max_total: usize,
}

impl Places {
    pub(super) fn new(max_per_address: usize, max_total: usize) -> Arc<Places> {
        Arc::new(Places { inner: Mutex::default(), max_per_address, max_total })
    }

    /// A place for one connection, or None when its address has too many. When all places are taken the
    /// connection that has been waiting longest loses its own: a publisher needs it for less than a second.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut inner = self.lock();
        let count = inner.per_address.entry(address).or_default();
        if *count >= self.max_per_address {
            return None;
        }
        *count += 1;
        if inner.evictions.len() >= self.max_total
            && let Some((_, oldest)) = inner.evictions.pop_first()
        {
            oldest.notify_one();
        }
        let (number, evicted) = (inner.next_number, Arc::new(Notify::new()));
        inner.next_number += 1;
        inner.evictions.insert(number, evicted.clone());
        Some(Place { places: self.clone(), address, number, evicted })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Given back when dropped: at the end of the connection, or when it may publish.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    number: u64,
    evicted: Arc<Notify>,
}

impl Place {
    /// Resolves when the place was taken away.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        inner.evictions.remove(&self.number);
        if let Some(count) = inner.per_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inner.per_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn one_address_has_its_share_and_gets_it_back() {
        let places = Places::new(2, 10);
        let first = places.admit(address(1)).expect("first");
        let _second = places.admit(address(1)).expect("second");
        assert!(places.admit(address(1)).is_none());
        let _other = places.admit(address(2)).expect("another address");
        drop(first);
        assert!(places.admit(address(1)).is_some());
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let places = Places::new(2, 2);
        let first = places.admit(address(1)).expect("first");
        let second = places.admit(address(2)).expect("second");
        let _third = places.admit(address(3)).expect("there is always room for a newcomer");
        first.evicted().await;
        let _fourth = places.admit(address(4)).expect("and for another");
        second.evicted().await;
        drop((first, second));
        assert_eq!(places.lock().per_address.len(), 2);
    }
}
