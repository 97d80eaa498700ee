//! Requests being served: bounded in all, and for one client below that, so that one client alone
//! cannot take all places.

use std::collections::BTreeMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Whom a request is counted for: the token's hash where tokens are configured, or the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKey {
    Token([u8; 32]),
    Address(IpAddr),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This client has all the places that one client may have.
    Client,
    /// All places are taken.
    All,
}

/// The places.
pub struct InFlight {
    all_max: usize,
    client_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Holds clients with requests in flight only.
    by_client: BTreeMap<ClientKey, usize>,
}

/// A place, given back when dropped.
pub struct Place<'a> {
    places: &'a InFlight,
    client: ClientKey,
}

impl InFlight {
    /// Places in all, and for one client.
    pub fn new(all_max: usize, client_max: usize) -> Self {
        Self { all_max, client_max, taken: Mutex::default() }
    }

    /// Takes a place if there is one.
    pub fn enter(&self, client: ClientKey) -> Result<Place<'_>, Refused> {
        let mut taken = self.taken.lock();
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.client_max {
            return Err(Refused::Client);
        }
        if taken.all >= self.all_max {
            return Err(Refused::All);
        }
        taken.all += 1;
        taken.by_client.insert(client, of_client + 1);
        Ok(Place { places: self, client })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        match taken.by_client.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by_client.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_and_for_all() {
        let client = |last: u8| ClientKey::Address(IpAddr::from([127, 0, 0, last]));
        let places = InFlight::new(3, 2);
        let first = places.enter(client(1)).ok();
        let _second = places.enter(client(1)).ok().unwrap();
        assert_eq!(places.enter(client(1)).err(), Some(Refused::Client));
        let other = places.enter(client(2)).ok();
        assert_eq!(places.enter(client(3)).err(), Some(Refused::All));
        assert_eq!(places.enter(client(1)).err(), Some(Refused::Client));
        drop(first);
        drop(other);
        assert_eq!(places.taken.lock().all, 1);
        assert_eq!(places.taken.lock().by_client, BTreeMap::from([(client(1), 1)]));
        let again = [1, 3].map(|last| places.enter(client(last)).ok().unwrap());
        assert_eq!(places.enter(ClientKey::Token([0; 32])).err(), Some(Refused::All));
        drop(again);
        assert_eq!(places.taken.lock().all, 1);
    }
}
