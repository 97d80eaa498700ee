//! A run of the node under the recorder, and the promises that it made on the way.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::Images;
use super::trace::{Event, Trace};
use crate::finding::{found, told};
use crate::process::End;
use crate::rig::{DEADLINE, Mall, Pendants, Rig};
use crate::story::{log_of, unknown_outcomes};
use crate::traffic::{COUPON, PENDANT, Traffic};
use crate::wait::{Dice, pause};

const BATCHES: u64 = 40;
const BATCH_ITEMS: u64 = 12;

/// A recorded run.
pub struct Recording {
    pub rig: Rig,
    pub mall: Mall,
    pub trace: Trace,
    /// Order numbers of each acknowledged request, in order.
    acknowledged: Vec<Vec<String>>,
    /// What every run counts, by name.
    pub counts: Vec<(&'static str, u64)>,
}

/// What was promised up to some event.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Requests whose answer left.
    pub answered: usize,
    /// Orders that left for the downstream.
    pub sent: Vec<String>,
    /// What a socket is used for, by its number.
    sockets: BTreeMap<u64, Use>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Serves,
    Asks,
}

impl Recording {
    /// Runs a node from nothing to a graceful stop, or to a kill.
    ///
    /// # Errors
    /// The harness cannot go on.
    pub fn make(images: &Images, home: &Path, dice: &mut Dice) -> io::Result<Self> {
        std::fs::create_dir_all(home)?;
        let mut mall = Mall::start(&images.program, home, "flaky", dice.below(u64::MAX))?;
        let (folder, pendants) = (home.join("recorded"), Pendants::Outside);
        let rig = Rig::new(&images.program, folder, 1, mall.address, mall.keys, pendants)?;
        let (root, record) = (rig.path("data"), rig.path("trace"));
        let preload = images.preload.to_string_lossy();
        let variables = [
            ("LD_PRELOAD", &*preload),
            ("HONGBAO_TRACE_ROOT", root.as_str()),
            ("HONGBAO_TRACE", record.as_str()),
        ];
        let mut process = rig.start(&variables)?;
        let failed = |what: &str, tells: String| found(format!("{what}; {tells}"));
        let Some(mut api) = rig.connect(&mut process)? else {
            return Err(failed("the recorded node does not start", process.tells()));
        };
        let mut traffic = Traffic::new("i".to_owned(), dice.below(u64::MAX));
        let mut acknowledged: Vec<Vec<String>> = Vec::new();
        for _ in 0..BATCHES {
            let batch = traffic.batch(1 + dice.below(BATCH_ITEMS));
            mall.may_get(traffic.open().filter(|order| [COUPON, PENDANT].contains(&order.reward_type)));
            acknowledged.push(traffic.open().map(|order| order.order_no.clone()).collect());
            let answer = api.post("/v1/awards", &batch);
            let answer = answer.map_err(|error| told(&error, &process.tells()))?;
            match answer.status {
                200 | 202 => traffic.acknowledge(),
                status => return Err(failed(&format!("answered with {status}"), process.tells())),
            }
            pause(Duration::from_millis(dice.below(12)));
        }
        if dice.below(2) == 0 {
            rig.settled(&mut api)?;
            process.signal(Signal::TERM);
            if process.ends_within(DEADLINE)? != Some(End::Code(0)) {
                return Err(failed("the recorded node does not stop", process.tells()));
            }
        } else {
            process.kill()?;
        }
        let trace = Trace::read(record.as_ref())?;
        std::fs::remove_file(record)?;
        let counts = vec![
            ("awards", traffic.acknowledged().len() as u64),
            ("duplicates", traffic.repeats),
            ("unknown_outcomes", unknown_outcomes(&log_of(&rig.data())?)?),
        ];
        Ok(Self { rig, mall, trace, acknowledged, counts })
    }

    /// Orders whose acknowledgement had left.
    pub fn acknowledged(&self, promises: &Promises) -> impl Iterator<Item = &String> {
        self.acknowledged.iter().take(promises.answered).flatten()
    }
}

impl Promises {
    /// Takes in an event.
    pub fn take(&mut self, event: &Event, trace: &Trace) {
        let Event::Send { socket, part, data } = event else { return };
        let bytes = trace.data(data);
        let is_answer = *part == 0 && bytes.starts_with(b"HTTP/1.1 ");
        if is_answer {
            self.sockets.insert(*socket, Use::Serves);
            self.answered += usize::from(bytes.starts_with(b"HTTP/1.1 20"));
        } else if *part == 0 && (bytes.starts_with(b"POST ") || bytes.starts_with(b"GET ")) {
            self.sockets.insert(*socket, Use::Asks);
        }
        if self.sockets.get(socket) == Some(&Use::Asks) {
            let text = String::from_utf8_lossy(bytes);
            let numbers = text.split("\"order_no\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
            self.sent.extend(numbers.map(|(order_no, _)| order_no.to_owned()));
        }
    }
}
