//! Every row of the table of answers, and answers that are wrong in every way.

use super::*;

const NOW_MS: i64 = 784_111_777_000;

fn answer(status: u16, retry_after: Option<&'static str>, body: &'static str) -> Answer<'static> {
    Answer { status, retry_after, body: Some(body.as_bytes()), now_ms: NOW_MS }
}

fn keys(count: usize) -> Vec<String> {
    ["a", "b", "c"][..count].iter().map(|key| (*key).to_owned()).collect()
}

/// Outcomes in one letter each: C credited, D duplicate, T throttled (with ms), R rejected,
/// x in conflict, u unknown, n not sent.
fn brief(outcomes: &Outcomes) -> String {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Credited => "C".to_owned(),
        Outcome::AlreadyCredited => "D".to_owned(),
        Outcome::Throttled { retry_after: None } => "T".to_owned(),
        Outcome::Throttled { retry_after: Some(after) } => format!("T{}", after.as_millis()),
        Outcome::Rejected(reason) => format!("R({reason})"),
        Outcome::Unknown(reason) => format!("u({reason})"),
        Outcome::NotSent(reason) => format!("n({reason})"),
        Outcome::Conflict(reason) => format!("x({reason})"),
    };
    match outcomes {
        Outcomes::All(outcome) => format!("all {}", one(outcome)),
        Outcomes::Each(each) => each.iter().map(one).collect::<Vec<_>>().join(" "),
        Outcomes::Split(reason) => format!("split({reason})"),
    }
}

fn brief_pause(pause: Option<Pause>) -> Option<(u64, bool)> {
    pause.map(|pause| (pause.for_time.as_secs(), pause.is_configuration))
}

#[test]
fn every_status_means_what_the_table_says() {
    type Row = (u16, Option<&'static str>, &'static str, Option<(u64, bool)>);
    let table: [Row; 27] = [
        (400, None, "split(status 400)", None),
        (413, None, "split(status 413)", None),
        (422, None, "split(status 422)", None),
        (401, None, "all n(status 401)", Some((10, true))),
        (403, None, "all n(status 403)", Some((10, true))),
        (404, None, "all n(status 404)", Some((10, true))),
        (405, None, "all n(status 405)", Some((10, true))),
        (408, None, "all u(status 408)", None),
        (409, None, "all u(status 409)", None),
        (425, None, "all u(status 425)", None),
        (402, None, "all u(status 402)", None),
        (410, None, "all u(status 410)", None),
        (429, None, "all T", None),
        (429, Some("3"), "all T3000", None),
        (429, Some("99999999999999999999"), "all T3600000", None),
        (429, Some("never"), "all T", None),
        (500, Some("3"), "all u(status 500)", None),
        (502, None, "all u(status 502)", None),
        (503, None, "all u(status 503)", None),
        (503, Some("7"), "all u(status 503)", Some((7, false))),
        (503, Some("Sun, 06 Nov 1994 08:50:37 GMT"), "all u(status 503)", Some((60, false))),
        (503, Some("1e99"), "all u(status 503)", None),
        (504, None, "all u(status 504)", None),
        (599, None, "all u(status 599)", None),
        (301, None, "all u(status 301)", Some((10, true))),
        (307, None, "all u(status 307)", Some((10, true))),
        (204, None, "all u(answer not understood)", None),
    ];
    for (status, retry_after, expected, pause) in table {
        for is_single in [false, true] {
            let keys = keys(if is_single { 1 } else { 3 });
            let body = if status == 204 { "" } else { r#"{"items":[]}"# };
            let (outcomes, paused) = sent(&keys, is_single, &answer(status, retry_after, body));
            assert_eq!(brief(&outcomes), expected, "{status} {retry_after:?}");
            assert_eq!(brief_pause(paused), pause, "{status} {retry_after:?}");
        }
    }
}

#[test]
fn items_are_matched_by_key_and_nothing_is_guessed() {
    let item = |key: &str, result: &str| format!(r#"{{"idempotency_key":"{key}","result":"{result}"}}"#);
    let body = |items: &[String]| format!(r#"{{"items":[{}]}}"#, items.join(","));
    let (a, b, c) = (item("a", "credited"), item("b", "credited"), item("c", "credited"));
    let table = [
        ("all", body(&[a.clone(), b.clone(), c.clone()]), "all C"),
        ("another order", body(&[c.clone(), a.clone(), b.clone()]), "all C"),
        ("one missing", body(&[c.clone(), a.clone()]), "C u(no answer) C"),
        ("none", body(&[]), "all u(no answer)"),
        ("an unknown key", body(&[item("z", "credited"), a.clone()]), "C u(no answer) u(no answer)"),
        ("twice the same", body(&[a.clone(), a.clone(), b.clone(), c.clone()]), "all C"),
        (
            "twice, contradictory",
            body(&[a.clone(), item("a", "rejected"), b.clone(), c.clone()]),
            "u(contradictory answers) C C",
        ),
        (
            "three times, contradictory",
            body(&[a.clone(), item("a", "rejected"), a.clone(), b, c]),
            "u(contradictory answers) C C",
        ),
        ("without a key", body(&[r#"{"result":"credited"}"#.to_owned()]), "all u(no answer)"),
        (
            "all kinds",
            body(&[item("a", "duplicate"), item("b", "pending"), item("c", "done")]),
            "D u(pending) u(result not understood)",
        ),
        (
            "with details",
            body(&[
                r#"{"idempotency_key":"a","result":"rejected","reason":"closed","reference":"x"}"#.to_owned(),
                r#"{"idempotency_key":"b","result":"throttled","retry_after_ms":250}"#.to_owned(),
                r#"{"idempotency_key":"c","result":"throttled","retry_after_ms":9999999999999999999}"#
                    .to_owned(),
            ]),
            "R(closed) T250 T3600000",
        ),
        ("not JSON", "<html>".to_owned(), "all u(answer not understood)"),
        ("cut off", r#"{"items":[{"idempotency_key":"a","#.to_owned(), "all u(answer not understood)"),
        ("another shape", a, "all u(answer not understood)"),
        (
            "wrong type",
            r#"{"items":[{"idempotency_key":"a","result":1}]}"#.to_owned(),
            "all u(answer not understood)",
        ),
        ("more behind it", format!("{} {{}}", body(&[])), "all u(answer not understood)"),
    ];
    for (name, body, expected) in table {
        let answer = Answer { status: 200, retry_after: None, body: Some(body.as_bytes()), now_ms: NOW_MS };
        let (outcomes, pause) = sent(&keys(3), false, &answer);
        assert_eq!((brief(&outcomes).as_str(), pause), (expected, None), "{name}");
    }
    let too_long = Answer { status: 200, retry_after: None, body: None, now_ms: NOW_MS };
    assert_eq!(brief(&sent(&keys(3), false, &too_long).0), "all u(answer too long or cut off)");
}

#[test]
fn a_single_answer_is_one_result() {
    let table = [
        (r#"{"idempotency_key":"a","result":"credited"}"#, "all C"),
        (r#"{"result":"duplicate"}"#, "all D"),
        (r#"{"idempotency_key":"z","result":"credited"}"#, "all u(no answer)"),
        (r#"{"idempotency_key":"a","result":"rejected"}"#, "all R(rejected)"),
        (r#"{"items":[{"idempotency_key":"a","result":"credited"}]}"#, "all u(answer not understood)"),
        ("", "all u(answer not understood)"),
    ];
    for (body, expected) in table {
        assert_eq!(brief(&sent(&keys(1), true, &answer(200, None, body)).0), expected, "{body}");
    }
}

#[test]
fn queries_are_told_or_unknown() {
    type Row = (u16, Option<&'static str>, &'static str, Told, Option<(u64, bool)>);
    let unknown = |why: &'static str| Told::Unknown(why.into());
    let table: [Row; 13] = [
        (200, None, r#"{"result":"credited","reference":"x"}"#, Told::Credited, None),
        (200, None, r#"{"result":"rejected"}"#, Told::Rejected("rejected".into()), None),
        (200, None, r#"{"result":"rejected","reason":"closed"}"#, Told::Rejected("closed".into()), None),
        (200, None, r#"{"result":"pending"}"#, Told::Pending, None),
        (200, None, r#"{"result":"absent"}"#, Told::Absent, None),
        (200, None, r#"{"result":"gone"}"#, unknown("query result not understood"), None),
        (200, None, "absent", unknown("query answer not understood"), None),
        (404, None, r#"{"result":"absent"}"#, unknown("query status 404"), Some((10, true))),
        (401, None, "", unknown("query status 401"), Some((10, true))),
        (429, Some("2"), "", unknown("query status 429"), None),
        (503, Some("2"), "", unknown("query status 503"), Some((2, false))),
        (500, None, r#"{"result":"absent"}"#, unknown("query status 500"), None),
        (302, None, "", unknown("query status 302"), Some((10, true))),
    ];
    for (status, retry_after, body, told, pause) in table {
        let got = asked(&answer(status, retry_after, body));
        assert_eq!((got.0, brief_pause(got.1)), (told, pause), "{status} {body}");
    }
}
