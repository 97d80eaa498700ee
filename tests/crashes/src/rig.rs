//! What a node under test stands in: a folder with topology and data, the address that it serves,
//! and a downstream outside that is never killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::finding::{caused, found};
use crate::http::Connection;
use crate::process::{End, Patience, Process, free_address, too_slow};
use crate::topology::{CAMPAIGN, Keys, NAME, Shape, topology};
use crate::traffic::Order;
use crate::wait::pause;

/// Small segments and frequent commits: a few hundred awards roll, seal, commit and merge.
pub const SQUEEZE: &str =
    "segment_bytes=131072,read_bytes=16384,commit_interval_ms=10,ledger_commit_postings=20";

/// For what should take a moment, however slow the machine is.
pub const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who gives pendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pendants {
    /// A simulation within the process, whose book survives a kill, but no loss of power.
    Within,
    /// The downstream outside.
    Outside,
}

/// A simulated downstream in a process of its own.
pub struct Mall {
    process: Process,
    /// Its book on disk.
    book: PathBuf,
    /// Keys of all orders that may come, of whatever data folder: some come late. Some bytes for each.
    expected: BTreeSet<KeyDigest>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it knows of idempotency keys.
    pub keys: Keys,
}

/// A record of a book: digests of key and payload, time, checksum.
const BOOK_RECORD_BYTES: usize = 48;

/// Digest of an idempotency key, as books hold it.
pub type KeyDigest = [u8; 16];

/// How often an order took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// How often; more than once is money given twice.
    pub count: u64,
    /// When it did first, in milliseconds since the Unix epoch.
    pub first_ms: i64,
}

/// The digest of an order's key.
#[must_use]
pub fn key_digest(order_no: &str) -> KeyDigest {
    let hash = blake3::hash(format!("{NAME}/{order_no}").as_bytes());
    let mut digest = KeyDigest::default();
    let len = digest.len();
    digest.copy_from_slice(&hash.as_bytes()[..len]);
    digest
}

/// What really happened there.
#[derive(Clone, Copy, Debug, Default)]
pub struct MallBook {
    /// Effects in all.
    pub effects: u64,
    /// Effects of a key that had taken effect before (I10).
    pub double_effects: u64,
    /// Items whose key came before with another payload (I13).
    pub mismatches: u64,
}

impl Mall {
    /// Starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(program: &Path, folder: &Path, profile: &str, seed: u64) -> io::Result<Self> {
        let address = free_address()?;
        let (listen, seed) = (address.to_string(), seed.to_string());
        let path = folder.join(format!("{profile}.book"));
        let book = path.to_string_lossy();
        let arguments =
            ["downstream", "--listen", &listen, "--profile", profile, "--seed", &seed, "--book", &book];
        let process = Process::start(program, &arguments, &[], &folder.join("mall.log"))?;
        let keys = Keys::of_profile(profile);
        let mut mall = Self { process, book: path, expected: BTreeSet::new(), address, keys };
        until("the downstream answers", || {
            if mall.process.ended()?.is_some() {
                return Err(found(format!("the downstream: {}", mall.process.tells())));
            }
            Ok(Connection::open(address).and_then(|mut mall| mall.get("/book")).ok().map(drop))
        })?;
        Ok(mall)
    }

    /// Its book.
    ///
    /// # Errors
    /// It does not answer.
    pub fn book(&self) -> io::Result<MallBook> {
        // Under load a connection may be refused; asking again changes nothing.
        let ask = || Connection::open(self.address).and_then(|mut mall| mall.get("/book"));
        let book = until("the downstream shows its book", || Ok(ask().ok()))?.json();
        let count =
            |field: &str| book[field].as_u64().ok_or_else(|| caused(io::ErrorKind::InvalidData.into()));
        Ok(MallBook {
            effects: count("effects")?,
            double_effects: count("double_effects")?,
            mismatches: count("payload_mismatches")?,
        })
    }

    /// Its effects by the digest of their key, read from its book.
    ///
    /// # Errors
    /// The book cannot be read.
    pub fn effects(&self) -> io::Result<BTreeMap<KeyDigest, Effects>> {
        let bytes = fs::read(&self.book)?;
        let mut effects = BTreeMap::<KeyDigest, Effects>::new();
        for record in bytes.chunks_exact(BOOK_RECORD_BYTES) {
            let (Some(key), Some(at)) = (record.first_chunk(), record[32..].first_chunk()) else { continue };
            let first = || Effects { count: 0, first_ms: i64::from_le_bytes(*at) };
            effects.entry(*key).or_insert_with(first).count += 1;
        }
        Ok(effects)
    }

    /// These orders may come from now on, whatever becomes of their acknowledgement.
    pub fn may_get<'o>(&mut self, orders: impl Iterator<Item = &'o Order>) {
        self.expected.extend(orders.map(|order| key_digest(&order.order_no)));
    }

    /// What of its effects should not be, told (I10, I13). Orders are named where `names` knows their keys.
    #[must_use]
    pub fn wrong(
        &self,
        effects: &BTreeMap<KeyDigest, Effects>,
        names: &BTreeMap<KeyDigest, String>,
    ) -> Vec<String> {
        wrong_effects(effects, &self.expected, names)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Whether it never stopped.
    ///
    /// # Errors
    /// Of the system.
    pub fn runs(&mut self) -> io::Result<bool> {
        Ok(self.process.ended()?.is_none())
    }
}

/// An order that comes under another key than its own is paid twice, and no count of double effects shows
/// it: no effect may be under a key that is not expected (I13), and none may be a second one (I10). The first
/// of each is told, with how many more there are.
fn wrong_effects(
    effects: &BTreeMap<KeyDigest, Effects>,
    expected: &BTreeSet<KeyDigest>,
    names: &BTreeMap<KeyDigest, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut strange = effects.iter().filter(|(key, _)| !expected.contains(*key));
    if let Some((key, known)) = strange.next() {
        let (digest, more) = (u128::from_be_bytes(*key), strange.count());
        wrong.push(format!(
            "I13: a key is of no order that was sent: its digest is {digest:032x}, {known:?}; {more} more"
        ));
    }
    let mut double = effects.iter().filter(|(_, known)| known.count > 1);
    if let Some((key, known)) = double.next() {
        let (digest, more) = (u128::from_be_bytes(*key), double.count());
        let name = names.get(key).map_or("an order of another time", String::as_str);
        wrong.push(format!(
            "I10: {name} took effect {} times, its key has digest {digest:032x}; {more} more",
            known.count
        ));
    }
    wrong
}

/// The place of one node.
pub struct Rig {
    program: PathBuf,
    /// Its folder, with topology, campaigns, data and what its processes said.
    pub folder: PathBuf,
    /// Where the node listens.
    pub address: SocketAddr,
}

impl Rig {
    /// A fresh folder for a node that sends coupons to the downstream at this address, and is told what that
    /// one knows of keys.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(
        program: &Path,
        folder: PathBuf,
        partitions: u16,
        mall: SocketAddr,
        keys: Keys,
        pendants: Pendants,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder.join("campaigns"))?;
        let partner = (pendants == Pendants::Within).then_some("steady");
        let mall = format!("http://{mall}");
        let shape = Shape { partitions, mall: &mall, timeout_ms: 200, batch_items: 50, keys, partner };
        fs::write(folder.join("topology.yaml"), topology(&shape))?;
        fs::write(folder.join("campaigns/spring.yaml"), CAMPAIGN)?;
        Ok(Self { program: program.to_owned(), folder, address: free_address()? })
    }

    /// The same for a copy of the folder, at the same address: one node at a time.
    #[must_use]
    pub fn moved_to(&self, folder: PathBuf) -> Self {
        Self { program: self.program.clone(), folder, address: self.address }
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the node with further variables.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, variables: &[(&str, &str)]) -> io::Result<Process> {
        let (config, data, listen) =
            (self.path("topology.yaml"), self.path("data"), self.address.to_string());
        let arguments =
            ["up", "--config", &config, "--data-dir", &data, "--listen", &listen, "--workers", "1"];
        let mut all = vec![("HONGBAO_SQUEEZE", SQUEEZE), ("RUST_LOG", "warn")];
        all.extend(variables);
        Process::start(&self.program, &arguments, &all, &self.folder.join("node.log"))
    }

    /// Connects to a node that was started; none once it has ended.
    ///
    /// # Errors
    /// Of the system, or when it does not come up.
    pub fn connect(&self, process: &mut Process) -> io::Result<Option<Connection>> {
        until("the node listens", || {
            if let Ok(connection) = Connection::open(self.address) {
                return Ok(Some(Some(connection)));
            }
            Ok(process.ended()?.map(|_| None))
        })
    }

    /// `hongbao check` on the data folder: its exit code and what it printed.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn check(&self) -> io::Result<(End, String)> {
        let (config, data) = (self.path("topology.yaml"), self.path("data"));
        let says = self.folder.join("check.log");
        let arguments = ["check", "--config", &config, "--data-dir", &data];
        let mut process = Process::start(&self.program, &arguments, &[], &says)?;
        let end = process.ends_within(DEADLINE)?.unwrap_or(End::Code(-1));
        Ok((end, process.says()))
    }

    /// Waits until every order of every lane has ended, and returns the lanes.
    ///
    /// # Errors
    /// The node does not answer, a part of it has halted, or some orders do not end.
    pub fn settled(&self, api: &mut Connection) -> io::Result<Vec<Value>> {
        until("everything is folded", || {
            Self::goes_on(api)?;
            Ok((api.get("/v1/awards/none")?.status == 404).then_some(()))
        })?;
        until("all orders end", || {
            let lanes = Self::are_settled(api)?;
            if lanes.is_none() {
                Self::goes_on(api)?;
            }
            Ok(lanes)
        })
    }

    /// Fails once a part of the node has halted: nothing will change by waiting.
    fn goes_on(api: &mut Connection) -> io::Result<()> {
        let standing = api.get("/readyz")?.body;
        if standing.starts_with(b"halted") {
            return Err(found(String::from_utf8_lossy(&standing).trim()));
        }
        Ok(())
    }

    /// The lanes, if every order of each has ended.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn are_settled(api: &mut Connection) -> io::Result<Option<Vec<Value>>> {
        let lanes = api.get("/v1/lanes")?.json();
        let lanes = lanes.as_array().cloned().unwrap_or_default();
        let is_done = |lane: &Value| lane["backlog"] == 0 && lane["unknown"] == 0;
        Ok((!lanes.is_empty() && lanes.iter().all(is_done)).then_some(lanes))
    }
}

/// Looks again and again until there is something.
///
/// # Errors
/// Those of the look, and a time-out.
pub fn until<T>(what: &str, mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let mut patience = Patience::of(DEADLINE);
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if patience.is_over() {
            return Err(too_slow(format!("not in time: {what}")));
        }
        pause(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_under_foreign_keys_and_second_ones_are_told() {
        let keys = |numbers: &[&str]| numbers.iter().map(|number| key_digest(number)).collect();
        let told = |sent: &[&str], counts: &[(&str, u64)]| {
            let effect =
                |(number, count): &(&str, u64)| (key_digest(number), Effects { count: *count, first_ms: 7 });
            let effects = counts.iter().map(effect).collect();
            let names = BTreeMap::from([(key_digest("a"), "a".to_owned())]);
            wrong_effects(&effects, &keys(sent), &names).join("\n")
        };
        assert_eq!(told(&["a", "b"], &[]), "");
        assert_eq!(told(&["a", "b"], &[("a", 1), ("b", 1)]), "");
        let foreign = told(&["a", "b"], &[("a", 1), ("a again", 1), ("b", 1)]);
        assert!(foreign.starts_with("I13: ") && foreign.ends_with("; 0 more"), "{foreign}");
        let both = told(&[], &[("a", 1), ("b", 1)]);
        assert!(both.starts_with("I13: ") && both.ends_with("; 1 more"), "{both}");
        let twice = told(&["a", "b"], &[("a", 2), ("b", 1)]);
        assert!(twice.starts_with("I10: a took effect 2 times") && twice.ends_with("; 0 more"), "{twice}");
        assert!(told(&["b"], &[("b", 3)]).starts_with("I10: an order of another time took effect 3 times"));
    }
}
