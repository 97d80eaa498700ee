//! What downstreams answer, and the simulated one at the other end of the wire.

use std::time::Duration;

use hongbao_sinks::downstream::{Outcome, Outcomes, Told};
use hongbao_sinks::http::answer::{Answer, asked, sent};
use hongbao_sinks::simulated::wire::Action;
use hongbao_sinks::simulated::{Book, Profile, Simulation};

use crate::meter::{Bound, bounded};

/// An item of a few bytes is a struct of texts.
const ITEMS: Bound = Bound { factor: 128, base: 64 << 10 };
/// A key that the book has never seen takes an entry for ever: it is the book of a test.
const BOOK: Bound = Bound { factor: 256, base: 256 << 10 };
const NOW_MS: i64 = 784_111_777_000;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Two bytes of status, one of flags, one of how many keys; `Retry-After` up to a line feed; body.
pub(crate) fn answer(bytes: &[u8]) {
    let Some(([high, low, flags, count], rest)) = bytes.split_first_chunk::<4>() else { return };
    let status = u16::from_be_bytes([*high, *low]) % 1000;
    let line = rest.iter().position(|byte| *byte == b'\n');
    let (header, body) = line.map_or((&[][..], rest), |at| (&rest[..at], &rest[at + 1..]));
    let retry_after = std::str::from_utf8(header).ok().filter(|text| !text.is_empty());
    let is_single = flags & 1 != 0;
    let keys: Vec<String> = (0..if is_single { 1 } else { count % 4 }).map(|n| format!("n/k{n}")).collect();
    let body = (flags & 2 == 0).then_some(body);
    let answer = Answer { status, retry_after, body, now_ms: NOW_MS };
    let (outcomes, pause) = bounded(ITEMS, bytes.len(), || sent(&keys, is_single, &answer));
    let each = match &outcomes {
        Outcomes::All(one) => vec![one.clone(); keys.len()],
        Outcomes::Each(each) => {
            assert!(each.len() == keys.len(), "violation: {} answers", each.len());
            each.clone()
        }
        Outcomes::Split(_) => Vec::new(),
    };
    let said = body.unwrap_or_default();
    let says = |word: &str| said.contains(&b'\\') || said.windows(word.len()).any(|at| at == word.as_bytes());
    for outcome in &each {
        let done = matches!(outcome, Outcome::Credited | Outcome::AlreadyCredited);
        let told = (200..300).contains(&status) && (says("credited") || says("duplicate"));
        assert!(!done || told, "violation: {outcome:?} of status {status} (I10)");
        let refused = matches!(outcome, Outcome::Rejected(_));
        assert!(!refused || ((200..300).contains(&status) && says("rejected")), "violation: {outcome:?}");
        if let Outcome::Throttled { retry_after: Some(time) } = outcome {
            assert!(*time <= RETRY_AFTER_MAX, "violation: {time:?}");
        }
        // Only these statuses may say that nothing was done.
        let not_sent = matches!(outcome, Outcome::NotSent(_));
        assert!(!not_sent || [401, 403, 404, 405].contains(&status), "violation: {status} not sent");
    }
    let (told, asked_pause) = bounded(ITEMS, bytes.len(), || asked(&answer));
    let clear = !matches!(told, Told::Unknown(_));
    assert!(!clear || (200..300).contains(&status), "violation: {told:?} of status {status}");
    for pause in [pause, asked_pause].into_iter().flatten() {
        assert!(pause.for_time <= RETRY_AFTER_MAX, "violation: {:?}", pause.for_time);
    }
}

/// First byte: which profile. A header key up to a line feed, then the body of a grant.
pub(crate) fn wire(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let line = rest.iter().position(|byte| *byte == b'\n');
    let (header, body) = line.map_or((&[][..], rest), |at| (&rest[..at], &rest[at + 1..]));
    let header = std::str::from_utf8(header).ok().filter(|text| !text.is_empty());
    let profile =
        Profile::NAMES.get(usize::from(*which) % Profile::NAMES.len()).and_then(|name| Profile::named(name));
    let Some(profile) = profile else { return };
    let (answers, counts) = bounded(BOOK, bytes.len(), || {
        let mut simulation = Simulation::new(profile, 1, Book::new(), 0);
        let answers = [0, 1_000].map(|now_ms| simulation.grant_http(body, header, now_ms));
        simulation.query_http(header.unwrap_or_default(), 2_000);
        (answers, simulation.counts())
    });
    assert!(counts.double_effects <= counts.effects, "violation: {counts:?}");
    for answer in &answers {
        let Action::Answer { status, body, .. } = &answer.action else { continue };
        assert!([200, 400, 413, 429, 500, 503].contains(status), "violation: status {status}");
        assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok(), "violation: not JSON");
        // What the one end writes the other understands.
        if let (200, Some(key)) = (*status, header) {
            let read = Answer { status: 200, retry_after: None, body: Some(body), now_ms: 0 };
            let (outcomes, _) = sent(&[key.to_owned()], true, &read);
            let Outcomes::All(Outcome::Unknown(why)) = outcomes else { continue };
            assert!(!why.contains("result not understood"), "violation: {why}");
        }
    }
}
