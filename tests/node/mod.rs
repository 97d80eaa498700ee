//! A server under test: its files, its process, and requests to it.

mod award;
mod files;
mod http;
mod process;
mod wait;

pub use award::{award, lines, with};
pub use files::{CAMPAIGN, Files, TOPOLOGY};
pub use http::{Answer, Client};
pub use process::{Call, Ended, Process, run};
pub use wait::{Dice, elapsed, pause, until, until_for};

/// A running `hongbao up` and a client of it.
pub struct Server {
    pub process: Process,
    pub api: Client,
}

impl Server {
    /// Starts a server on a port of the system's choice and waits until it is ready.
    pub fn start(files: &Files) -> Self {
        let server = Self::spawn(files, &[]);
        server.until_ready();
        server
    }

    /// Starts a server with further arguments and waits until it listens.
    pub fn spawn(files: &Files, arguments: &[&str]) -> Self {
        let mut process = Process::up(files, "127.0.0.1:0", arguments);
        let address = process.until_says("http://", "/v1");
        Self { process, api: Client::new(&format!("http://{address}")) }
    }

    /// Waits until reads reflect everything acknowledged before.
    pub fn until_ready(&self) {
        until("the server is ready", || (self.api.try_get("/readyz").ok()?.status == 200).then_some(()));
    }

    /// Waits until the views hold everything that was sent.
    pub fn until_folded(&self) {
        // An order number without parts may be in any partition: 404 once all of them are folded.
        until("everything is folded", || (self.api.get("/v1/awards/none").status == 404).then_some(()));
    }

    /// Waits until nothing waits in the named lanes.
    pub fn until_credited(&self, lanes: &[&str]) {
        self.until_folded();
        let what = format!("{lanes:?} run and nothing waits in them");
        until(&what, || {
            let answer = self.api.get("/v1/lanes").json();
            let open = |lane: &serde_json::Value| {
                lanes.contains(&lane["lane"].as_str().unwrap())
                    && (lane["backlog"] != 0 || lane["state"] != "running")
            };
            (!answer.as_array().unwrap().iter().any(open)).then_some(())
        });
    }

    /// SIGTERM; it must drain and end with 0.
    pub fn stop(mut self) {
        self.process.terminate();
        assert_eq!(self.process.ended().code, 0, "a drained server ends with 0");
    }
}
