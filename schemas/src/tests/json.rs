//! Awards as JSON: what is read, what is told, and where.

use proptest::prelude::*;

use super::*;
use crate::award_json::{Form, JsonProblem, ParseError, Parsed, parse_award, parse_many, to_json};
use crate::limits::JSON_PROBLEMS_MAX;

const AWARD: &str = r#"{"order_no":"a_s_r_t_1","act_id":"a","activity_id":"act","scene_id":"s","reward_type":"cash","amount_minor":5,"event_time":"2027-02-06T20:00:00+08:00"}"#;

/// [`AWARD`] with a part of it replaced.
fn with(part: &str, by: &str) -> String {
    assert!(AWARD.contains(part), "{part}");
    AWARD.replacen(part, by, 1)
}

/// [`AWARD`] with members at its end.
fn and(more: &str) -> String {
    with("+08:00\"}", &format!("+08:00\",{more}}}"))
}

fn shown(problems: &[JsonProblem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{} {}", problem.pointer, problem.code)).collect()
}

fn problems(body: impl AsRef<[u8]>, form: Form) -> Vec<String> {
    match parse_many(body.as_ref(), form, 1000) {
        Ok(_) => vec![],
        Err(ParseError::Problems(problems)) => shown(&problems),
        Err(ParseError::TooManyItems { items_max }) => vec![format!("more than {items_max}")],
    }
}

fn expected_award() -> AwardBuf {
    AwardBuf {
        order_no: "a_s_r_t_1".to_owned(),
        act_id: "a".to_owned(),
        activity_id: "act".to_owned(),
        scene_id: "s".to_owned(),
        reward_type: "cash".to_owned(),
        reward_id: String::new(),
        amount_minor: 5,
        event_time_ms: 1_801_915_200_000,
        app: String::new(),
        ext: ExtBuf::new(),
    }
}

#[test]
fn reads() {
    let base = expected_award;
    let ext = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<ExtBuf>();
    for (json, expected) in [
        (AWARD.to_owned(), base()),
        (format!(" \r\n{AWARD}\t"), base()),
        (and(r#""reward_id":"","app":"","ext":{}"#), base()),
        (and(r#""app":"抖音""#), AwardBuf { app: "抖音".to_owned(), ..base() }),
        (and(r#""\u0061pp":"\ud83e\udde7\n""#), AwardBuf { app: "🧧\n".to_owned(), ..base() }),
        (and(r#""ext":{"b":"2","a":""}"#), AwardBuf { ext: ext(&[("a", ""), ("b", "2")]), ..base() }),
        (with(":5", ":9223372036854775807"), AwardBuf { amount_minor: i64::MAX, ..base() }),
        (with(":5", ":-9223372036854775808"), AwardBuf { amount_minor: i64::MIN, ..base() }),
        (with(":5", ":0"), AwardBuf { amount_minor: 0, ..base() }),
        (with("a_s_r_t_1", "nonsense"), AwardBuf { order_no: "nonsense".to_owned(), ..base() }),
        (with("20:00:00+08:00", "12:00:00.0009Z"), base()),
    ] {
        assert_eq!(parse_award(json.as_bytes()).as_ref(), Ok(&expected), "{json}");
        assert_eq!(parse_many(json.as_bytes(), Form::Json, 1), Ok(Parsed::One(expected)), "{json}");
    }
}

#[test]
fn tells_what_is_wrong() {
    let missing = |name: &str| {
        let start = AWARD.find(&format!("\"{name}\"")).unwrap();
        let end = AWARD[start..].find(',').map_or(AWARD.len() - 1, |len| start + len + 1);
        [&AWARD[..start], &AWARD[end..]].concat().replace(",}", "}")
    };
    for (json, expected) in [
        (missing("order_no"), "/order_no missing_field"),
        (missing("act_id"), "/act_id missing_field"),
        (missing("activity_id"), "/activity_id missing_field"),
        (missing("scene_id"), "/scene_id missing_field"),
        (missing("reward_type"), "/reward_type missing_field"),
        (missing("amount_minor"), "/amount_minor missing_field"),
        (missing("event_time"), "/event_time missing_field"),
        (and(r#""colour":{"a":[1]}"#), "/colour unknown_field"),
        (and(r#""Order_no":"x""#), "/Order_no unknown_field"),
        (and(r#""a/b~c":1"#), "/a~1b~0c unknown_field"),
        (and(r#""":1"#), "/ unknown_field"),
        (and(r#""act_id":"a""#), "/act_id duplicate_key"),
        (and(r#""\u0061ct_id":"a""#), "/act_id duplicate_key"),
        (and(r#""ext":{},"ext":{}"#), "/ext duplicate_key"),
        (and(r#""ext":{"a":"1","b":"","a":"1"}"#), "/ext/a duplicate_key"),
        (and(r#""ext":{"a/b":1}"#), "/ext/a~1b wrong_type"),
        (and(r#""ext":{"a":{"b":"c"}}"#), "/ext/a wrong_type"),
        (and(r#""ext":[]"#), "/ext wrong_type"),
        (and(r#""ext":null"#), "/ext wrong_type"),
        (and(r#""ext":"{}""#), "/ext wrong_type"),
        (and(r#""app":null"#), "/app wrong_type"),
        (and(r#""app":1"#), "/app wrong_type"),
        (with("\"a\"", "1"), "/act_id wrong_type"),
        (with(":5", ":\"5\""), "/amount_minor wrong_type"),
        (with(":5", ":null"), "/amount_minor wrong_type"),
        (with(":5", ":[5]"), "/amount_minor wrong_type"),
        (with(":5", ":true"), "/amount_minor wrong_type"),
        (with(":5", ":5.0"), "/amount_minor not_an_integer"),
        (with(":5", ":0.5"), "/amount_minor not_an_integer"),
        (with(":5", ":5e2"), "/amount_minor not_an_integer"),
        (with(":5", ":9223372036854775808"), "/amount_minor number_out_of_range"),
        (with(":5", ":18446744073709551616"), "/amount_minor number_out_of_range"),
        (with(":5", ":-9223372036854775809"), "/amount_minor number_out_of_range"),
        (with(":5", ":1e400"), "/amount_minor number_out_of_range"),
        (with("+08:00", ""), "/event_time time_without_offset"),
        (with("2027-02-06T20:00:00+08:00", "2027-02-06"), "/event_time time_without_offset"),
        (with("2027-02-06T20:00:00+08:00", "soon"), "/event_time invalid_time"),
        (with("\"2027-02-06T20:00:00+08:00\"", "1801915200000"), "/event_time wrong_type"),
        ("[]".to_owned(), " wrong_type"),
        ("7".to_owned(), " wrong_type"),
        ("null".to_owned(), " wrong_type"),
        ("\"text\"".to_owned(), " wrong_type"),
        (String::new(), " invalid_json"),
        ("{".to_owned(), " invalid_json"),
        (format!("{AWARD}{AWARD}"), " invalid_json"),
        (format!("{AWARD},"), " invalid_json"),
        (format!("\u{feff}{AWARD}"), " invalid_json"),
        (with("\"a\"", "\"\\ud800\""), "/act_id invalid_json"),
        (with("\"a\"", "\"\n\""), "/act_id invalid_json"),
        (with("\"a\"", "'a'"), "/act_id invalid_json"),
        (with(":5", ":05"), "/amount_minor invalid_json"),
        (with(":5", ":NaN"), "/amount_minor invalid_json"),
        (and(&format!("\"ext\":{}", "[".repeat(100_000))), "/ext invalid_json"),
        (and(&format!("\"app\":\"{}\"", "x".repeat(1 << 20))), " too_large"),
    ] {
        let told = parse_award(json.as_bytes()).map_err(|problem| shown(&[problem])[0].clone());
        assert_eq!(told, Err(expected.to_owned()), "{json:.300}");
    }
    let not_utf8 = [AWARD.as_bytes(), &[0xFF]].concat();
    assert_eq!(parse_award(&not_utf8).map_err(|problem| problem.code), Err("invalid_utf8"));
}

#[test]
fn tells_everything_at_once() {
    let body = format!(
        r#"[{AWARD},{},{{"amount_minor":1.5,"amount_minor":2,"ext":{{"a":1,"b":2}}}},null,{}]"#,
        and(r#""x":1,"y":2"#),
        with(":5", ":null"),
    );
    assert_eq!(
        problems(&body, Form::Json),
        [
            "/1/x unknown_field",
            "/1/y unknown_field",
            "/2/amount_minor not_an_integer",
            "/2/amount_minor duplicate_key",
            "/2/ext/a wrong_type",
            "/2/ext/b wrong_type",
            "/2/order_no missing_field",
            "/2/act_id missing_field",
            "/2/activity_id missing_field",
            "/2/scene_id missing_field",
            "/2/reward_type missing_field",
            "/2/event_time missing_field",
            "/3 wrong_type",
            "/4/amount_minor wrong_type",
        ]
    );
}

#[test]
fn what_is_not_json_ends_an_array_but_not_lines() {
    let broken = with(":5", ":5x");
    for (body, expected) in [
        (format!("[{AWARD},{broken},1]"), vec!["/1 invalid_json"]),
        (format!("[{AWARD},{AWARD}"), vec!["/2 invalid_json"]),
        (format!("[{AWARD},]"), vec!["/1 invalid_json"]),
        (format!("[{AWARD}] x"), vec![" invalid_json"]),
        ("\"text\"".to_owned(), vec![" wrong_type"]),
        ("5".to_owned(), vec![" wrong_type"]),
        (String::new(), vec![" invalid_json"]),
        (format!("[{AWARD}]\n[{AWARD}]"), vec![" invalid_json"]),
    ] {
        assert_eq!(problems(&body, Form::Json), expected, "{body}");
    }
    let lines = [AWARD, &broken, "", "1", "\t\r", AWARD, "[]", &with("\"a\"", "\"\x01\"")].join("\n");
    assert_eq!(
        problems(&lines, Form::Ndjson),
        ["/1 invalid_json", "/2 wrong_type", "/4 wrong_type", "/5/act_id invalid_json"]
    );
    let not_utf8 = [AWARD.as_bytes(), b"\n\"\xFF\"\n", AWARD.as_bytes()].concat();
    assert_eq!(problems(not_utf8, Form::Ndjson), ["/1 invalid_utf8"]);
}

#[test]
fn many() {
    let awards = || vec![expected_award(), expected_award()];
    for (form, body, expected) in [
        (Form::Json, "[]".to_owned(), vec![]),
        (Form::Json, format!("[{AWARD},\n{AWARD}]\n"), awards()),
        (Form::Ndjson, String::new(), vec![]),
        (Form::Ndjson, "\n \n".to_owned(), vec![]),
        (Form::Ndjson, format!("{AWARD}\n{AWARD}"), awards()),
        (Form::Ndjson, format!("\n{AWARD}\r\n\r\n{AWARD}\r\n"), awards()),
        (Form::Ndjson, AWARD.to_owned(), vec![expected_award()]),
    ] {
        assert_eq!(parse_many(body.as_bytes(), form, 2), Ok(Parsed::Many(expected)), "{body}");
    }
}

#[test]
fn limits_hold() {
    let array = |items: usize, item: &str| format!("[{}]", vec![item; items].join(","));
    let lines = |items: usize, item: &str| vec![item; items].join("\n");
    for item in [AWARD, "null"] {
        for (items, too_many) in [(3, false), (4, true), (5, true)] {
            for (form, body) in [(Form::Json, array(items, item)), (Form::Ndjson, lines(items, item))] {
                let refused =
                    parse_many(body.as_bytes(), form, 3) == Err(ParseError::TooManyItems { items_max: 3 });
                assert_eq!(refused, too_many, "{form:?} of {items}");
            }
        }
    }
    let unknown: Vec<String> = (0..1000).map(|index| format!("\"f{index}\":0")).collect();
    let pairs: Vec<String> = (0..1000).map(|index| format!("\"k{index}\":0")).collect();
    for (form, body) in [
        (Form::Json, array(500, "null")),
        (Form::Ndjson, lines(500, "null")),
        (Form::Ndjson, lines(500, "{")),
        (Form::Json, array(50, "{}")),
        (Form::Json, and(&unknown.join(","))),
        (Form::Json, and(&format!("\"ext\":{{{}}}", pairs.join(",")))),
    ] {
        assert_eq!(problems(&body, form).len(), JSON_PROBLEMS_MAX, "{body:.200}");
    }
    let long_name = and(&format!("\"{}\":0", "x".repeat(100_000)));
    let problem = parse_award(long_name.as_bytes()).unwrap_err();
    assert!(problem.pointer.len() < 200 && problem.message.len() < 200, "{problem}");
}

#[test]
fn writes_in_the_order_of_the_schema() {
    assert_eq!(to_json(&expected_award().as_award()), with("20:00:00+08:00", "12:00:00.000Z"));
    let mut twice = Vec::new();
    for text in ["k", "1", "k", "2"] {
        crate::wire::put_str(&mut twice, text);
    }
    let mut record = encoded(|out| expected_award().as_award().encode(out));
    record.splice(record.len() - 1.., [&[4], twice.as_slice(), &[0]].concat());
    let json = to_json(&Award::decode(&record).unwrap());
    assert!(json.ends_with(r#","ext":{"k":"2"}}"#), "{json}");
}

proptest! {
    #[test]
    fn reads_what_it_writes(mut award in any_award()) {
        award.event_time_ms %= 60_000_000_000_000;
        let json = to_json(&award.as_award());
        prop_assert_eq!(parse_award(json.as_bytes()), Ok(award));
    }

    #[test]
    fn any_text_is_safe(text in "[\\[\\]{}\",:0-9a-z\\\\. ]{0,64}", place in any::<proptest::sample::Index>()) {
        let mut body = format!("[{AWARD},{AWARD}]");
        let at = place.index(body.len());
        body.insert_str(at, &text);
        for form in [Form::Json, Form::Ndjson] {
            if let Err(ParseError::Problems(problems)) = parse_many(body.as_bytes(), form, 10) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
