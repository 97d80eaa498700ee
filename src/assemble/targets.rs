//! Who each lane was sending to, kept in the data folder. Orders whose outcome is unresolved belong
//! to the downstream that they were sent to: asking or paying another one would pay twice (I10).

use std::collections::BTreeMap;

use hongbao_topology::{DownstreamKind, Topology};
use parking_lot::Mutex;

use super::data_dir::{DataDir, Folder};

const FILE: &str = "lanes.json";

/// The downstream of each lane, now and by the last start that sent anything.
pub struct Targets {
    folder: Folder,
    now: BTreeMap<String, String>,
    /// By lane and partition.
    sent_to: Mutex<BTreeMap<String, String>>,
}

impl Targets {
    /// Reads what the last start left.
    pub fn open(data: &DataDir, topology: &Topology) -> anyhow::Result<Self> {
        let folder = data.folder().clone();
        let sent_to = folder.read(FILE, |json| serde_json::from_slice(json))?.unwrap_or_default();
        let named = |lane: &hongbao_topology::Lane| {
            let kind =
                topology.downstream(lane.downstream()).map(|found| described(found.name(), found.kind()));
            Some((lane.name().to_owned(), kind?))
        };
        let now = topology.lanes().iter().filter_map(named).collect();
        Ok(Self { folder, now, sent_to: Mutex::new(sent_to) })
    }

    /// Makes sure that a lane may send in a partition, before it does. `unresolved` says whether
    /// orders of it have an outcome that is not known.
    pub fn admit(&self, lane: &str, partition: u16, unresolved: bool) -> Result<(), String> {
        let Some(now) = self.now.get(lane) else { return Ok(()) };
        let mut sent_to = self.sent_to.lock();
        let key = format!("{lane}/{partition}");
        match sent_to.get(&key) {
            Some(before) if before == now => return Ok(()),
            Some(before) if unresolved => {
                return Err(format!(
                    "orders of lane {lane} are unresolved at {before}, and the lane now sends to {now}: put the \
                     old downstream back until none is unknown"
                ));
            }
            _ => {}
        }
        sent_to.insert(key, now.clone());
        let json = serde_json::to_vec_pretty(&*sent_to).map_err(|error| error.to_string())?;
        self.folder.write(FILE, &json).map_err(|error| format!("{error:#}"))
    }
}

/// What tells one downstream from another: its name, its kind, where it is and how long it remembers.
fn described(name: &str, kind: &DownstreamKind) -> String {
    match kind {
        DownstreamKind::Embedded => format!("{name} (embedded)"),
        DownstreamKind::Http(http) => {
            // An address may hold a secret; whether it is the same one is all that matters.
            let address = blake3::hash(http.url().as_bytes()).to_hex();
            format!("{name} (http {}, key_life {} s)", &address[..12], http.key_life().as_secs())
        }
        DownstreamKind::Simulated(simulated) => format!("{name} (simulated {})", simulated.profile()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(data: &DataDir, downstream: &str) -> Targets {
        let now = BTreeMap::from([("coupon".to_owned(), downstream.to_owned())]);
        let folder = data.folder().clone();
        let sent_to = folder.read(FILE, |json| serde_json::from_slice(json)).unwrap().unwrap_or_default();
        Targets { folder, now, sent_to: Mutex::new(sent_to) }
    }

    #[test]
    fn unresolved_orders_stay_with_their_downstream() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(&folder.path().join("data"), "test", 1).unwrap();
        assert_eq!(targets(&data, "mall").admit("coupon", 0, false), Ok(()));
        assert_eq!(targets(&data, "mall").admit("coupon", 0, true), Ok(()));
        let refused = targets(&data, "partner").admit("coupon", 0, true).unwrap_err();
        assert!(refused.contains("unresolved at mall"), "{refused}");
        // The refusal changed nothing; without unresolved orders the lane may move, and stays moved.
        assert_eq!(targets(&data, "mall").admit("coupon", 0, true), Ok(()));
        assert_eq!(targets(&data, "partner").admit("coupon", 0, false), Ok(()));
        assert_eq!(targets(&data, "partner").admit("coupon", 0, true), Ok(()));
        assert!(targets(&data, "mall").admit("coupon", 0, true).is_err());
    }
}
