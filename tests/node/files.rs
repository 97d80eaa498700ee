//! A folder with a topology, a campaign and room for data. It goes when the test ends well.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Lanes that credit at once, and `stuck`, whose 1/s keeps whatever stands behind many orders
/// pending for longer than any test takes.
pub const TOPOLOGY: &str = "\
version: 1
name: test
partitions: 2
log:
  segments: {segment_size: 16MiB, sync: {max_delay: 1ms, max_bytes: 1MiB}}
downstreams:
  bank:
    embedded: {}
  partner:
    simulated: {profile: steady, seed: 7}
pools:
  payment: {rate: 200000/s, rank: [cash, coupon], floor: 5%}
lanes:
  cash:   {reward_types: [cash, cash.video], downstream: bank, rate: 100000/s}
  coupon: {reward_types: [coupon.film], downstream: partner, rate: 100000/s}
  stuck:  {reward_types: [gold], downstream: bank, rate: 1/s}
";

/// Two activities need two files; this one has a scene for each lane.
pub const CAMPAIGN: &str = "\
version: 1
activity: spring
reward_types:
  cash:        {asset: CNY/2, max_minor: 20000}
  cash.video:  {asset: CNY/2, max_minor: 5000}
  coupon.film: {asset: COUPON/0, max_minor: 2}
  gold:        {asset: GOLD/2, max_minor: 1000000}
scenes:
  rain:  {reward_type: cash, text: \"新年红包雨\"}
  video: {reward_type: cash.video, text: \"Red packet for your video\"}
  film:  {reward_type: coupon.film, text: \"Film ticket\", reconcile: false}
  mine:  {reward_type: gold, text: \"Gold coins\"}
";

/// The files of one test.
pub struct Files {
    folder: Option<TempDir>,
    root: PathBuf,
}

impl Files {
    /// The usual topology and campaign.
    pub fn new() -> Self {
        Self::with(TOPOLOGY, CAMPAIGN)
    }

    /// A topology and a campaign.
    pub fn with(topology: &str, campaign: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { root: folder.path().to_owned(), folder: Some(folder) };
        files.write("topology.yaml", topology);
        files.write("campaigns/spring.yaml", campaign);
        files
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.root.join(name).into_os_string().into_string().unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take()
            && std::thread::panicking()
        {
            eprintln!("the files are kept in {}", folder.keep().display());
        }
    }
}
