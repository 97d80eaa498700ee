//! `POST /v1/awards`: what is queued, what is decided, and how it is told (R2, R5, I1, I2, I3).

use serde_json::{Value, json};

use crate::node::{Answer, Client, Files, Server, award, lines, with};

/// Every refusal, in the order in which they apply, with the place that is named.
const REFUSALS: [(&str, &str); 8] = [
    ("malformed_order_no", "/order_no"),
    ("order_no_act_id_mismatch", "/act_id"),
    ("order_no_scene_mismatch", "/scene_id"),
    ("unknown_activity", "/activity_id"),
    ("unknown_scene", "/scene_id"),
    ("reward_type_mismatch", "/reward_type"),
    ("amount_not_positive", "/amount_minor"),
    ("amount_above_cap", "/amount_minor"),
];

fn refusal(answer: &Answer, context: &str) -> String {
    assert_eq!(answer.status, 422, "{context}: {}", answer.text());
    let code = answer.problem();
    let place = REFUSALS.iter().find(|(known, _)| *known == code).map(|(_, pointer)| *pointer);
    let expected = vec![(place.unwrap_or("not a refusal").to_owned(), code.clone())];
    assert_eq!(answer.faults(), expected, "{context}");
    code
}

/// Status, the word of the verdict, and whether it is marked as a replay.
fn decided(api: &Client, award: &Value) -> (u16, String, bool) {
    let answer = api.decide(award);
    let replayed = answer.header("idempotent-replayed") == "true";
    let body = answer.json();
    let word = if answer.status == 200 {
        assert_eq!(body["order_no"], award["order_no"]);
        body["status"].as_str().unwrap().to_owned()
    } else {
        answer.problem()
    };
    (answer.status, word, replayed)
}

fn counts(api: &Client) -> Value {
    api.get("/v1/counts").json()
}

#[test]
fn single_awards_get_their_verdict() {
    let files = Files::new();
    let server = Server::start(&files);
    let first = award("u1_rain_1_cash_1");
    let cases: [(&str, Value, (u16, &str, bool)); 8] = [
        ("the first", first.clone(), (200, "accepted", false)),
        ("the same again", first.clone(), (200, "duplicate", true)),
        (
            "the same with another time, app and ext",
            with(&first, json!({"event_time": "2027-02-05T12:00:01Z", "app": "tv", "ext": {"a": "b"}})),
            (200, "duplicate", true),
        ),
        ("another amount", with(&first, json!({"amount_minor": 101})), (409, "order_conflict", false)),
        ("another reward id", with(&first, json!({"reward_id": "r"})), (409, "order_conflict", false)),
        ("the first after a conflict", first.clone(), (200, "duplicate", true)),
        (
            "a bad amount for a known number",
            with(&first, json!({"amount_minor": 20_001})),
            (422, "amount_above_cap", false),
        ),
        ("another stage", award("u1_rain_1_cash_2"), (200, "accepted", false)),
    ];
    for (name, award, (status, word, replayed)) in cases {
        let found = decided(&server.api, &award);
        assert_eq!(found, (status, word.to_owned(), replayed), "{name}");
    }
    let expected = json!({"read": 8, "accepted": 2, "duplicate": 3, "conflict": 2, "rejected": 1,
        "parked": 0, "undecodable": 0});
    assert_eq!(counts(&server.api), expected);
    server.stop();
}

/// An award that is wrong in every way is put right one thing after the other: each refusal shows
/// up in its turn, and a refused number is not used up (R2).
#[test]
fn refusals_come_in_their_order_and_use_nothing_up() {
    let files = Files::new();
    let server = Server::start(&files);
    let order_no = "u1_rain_1_cash_1";
    let wrong = json!({
        "order_no": "u1_rain_1_cash_", "act_id": "u2", "activity_id": "autumn", "scene_id": "snow",
        "reward_type": "coupon.film", "amount_minor": 0, "event_time": "2027-02-05T20:00:00Z",
    });
    // With what is put right before the refusal of this place is met.
    let steps: [(Value, usize); 9] = [
        (json!({}), 0),
        (json!({"order_no": order_no}), 1),
        (json!({"act_id": "u1"}), 2),
        (json!({"scene_id": "rain"}), 3),
        (json!({"order_no": "u1_snow_1_cash_1", "scene_id": "snow", "activity_id": "spring"}), 4),
        (json!({"order_no": order_no, "scene_id": "rain"}), 5),
        (json!({"reward_type": "cash"}), 6),
        (json!({"amount_minor": 20_001}), 7),
        (json!({"amount_minor": i64::MIN}), 6),
    ];
    let mut award = wrong;
    for (fields, place) in steps {
        award = with(&award, fields);
        for round in ["at first", "again"] {
            let context = format!("{award} {round}");
            assert_eq!(refusal(&server.api.decide(&award), &context), REFUSALS[place].0, "{context}");
        }
    }
    award = with(&award, json!({"amount_minor": 20_000}));
    assert_eq!(decided(&server.api, &award), (200, "accepted".to_owned(), false));
    let counted = counts(&server.api);
    assert_eq!((&counted["rejected"], &counted["accepted"]), (&json!(18), &json!(1)), "{counted}");
    server.stop();
}

#[test]
fn order_numbers_and_amounts_have_their_bounds() {
    let files = Files::new();
    let server = Server::start(&files);
    let long = |bytes: usize| {
        let rest = "_rain_1_cash_1";
        format!("{}{rest}", "u".repeat(bytes - rest.len()))
    };
    let numbered = |order_no: &str| award(order_no);
    let paid = |stage: u32, amount_minor: i64| {
        with(&award(&format!("m_rain_1_cash_{stage}")), json!({"amount_minor": amount_minor}))
    };
    let cases: [(&str, Value, &str); 17] = [
        ("128 bytes", numbered(&long(128)), "accepted"),
        ("129 bytes", numbered(&long(129)), "malformed_order_no"),
        ("`_` in the person", numbered("a_b__c_rain_1_cash_1"), "accepted"),
        ("all characters", numbered("aZ0.:-_rain_r:1_t.2_s-3"), "accepted"),
        ("a space", numbered("a b_rain_1_cash_1"), "malformed_order_no"),
        ("not ASCII", numbered("张_rain_1_cash_1"), "malformed_order_no"),
        ("a slash", numbered("a/b_rain_1_cash_1"), "malformed_order_no"),
        ("four parts", with(&numbered("rain_1_cash_1"), json!({"act_id": "rain"})), "malformed_order_no"),
        ("nothing", with(&numbered("u_rain_1_cash_1"), json!({"order_no": ""})), "malformed_order_no"),
        ("an empty person", numbered("_rain_1_cash_1"), "malformed_order_no"),
        ("an empty middle", numbered("u_rain__cash_1"), "malformed_order_no"),
        ("a type that is not the award's", numbered("u_rain_1_pendant_1"), "accepted"),
        ("1", paid(1, 1), "accepted"),
        ("the cap", paid(2, 20_000), "accepted"),
        ("above the cap", paid(3, 20_001), "amount_above_cap"),
        ("the largest number", paid(4, i64::MAX), "amount_above_cap"),
        ("-1", paid(5, -1), "amount_not_positive"),
    ];
    for (name, award, word) in cases {
        assert_eq!(decided(&server.api, &award).1, word, "{name}: {award}");
    }
    server.stop();
}

/// Items of all verdicts and partitions, with what each should become.
fn mixture() -> Vec<(Value, &'static str, Option<&'static str>)> {
    let first = award("u1_rain_1_cash_1");
    let mut items = vec![
        (first.clone(), "accepted", None),
        (first.clone(), "duplicate", None),
        (with(&first, json!({"amount_minor": 7})), "conflict", Some("order_conflict")),
        (with(&first, json!({"act_id": "u2"})), "rejected", Some("order_no_act_id_mismatch")),
    ];
    for user in 2..40 {
        items.push((award(&format!("u{user}_film_1_coupon_1")), "accepted", None));
    }
    items.push((award("u1_snow_1_cash_1"), "rejected", Some("unknown_scene")));
    items
}

fn forms(awards: &[Value]) -> [(&'static str, Vec<u8>); 3] {
    let array = Value::Array(awards.to_vec()).to_string().into_bytes();
    let spaced = [b"\n  \r\n".to_vec(), lines(awards), b"\n\n".to_vec()].concat();
    [
        ("application/json", array),
        ("application/x-ndjson", lines(awards)),
        ("Application/X-NDJSON; charset=utf-8", spaced),
    ]
}

#[test]
fn many_awards_are_answered_in_input_order() {
    let mixture = mixture();
    let awards: Vec<Value> = mixture.iter().map(|(award, _, _)| award.clone()).collect();
    for (index, (media, body)) in forms(&awards).into_iter().enumerate() {
        let files = Files::new();
        let server = Server::start(&files);
        let wait = index != 2;
        let answer = server.api.try_publish(media, body, wait).unwrap();
        assert_eq!(answer.status, if wait { 200 } else { 202 }, "{media}: {}", answer.text());
        let body = answer.json();
        let items = body["items"].as_array().unwrap();
        assert_eq!(items.len(), awards.len(), "{media}");
        let mut sums = json!({"queued": 0, "accepted": 0, "duplicate": 0, "conflict": 0, "rejected": 0});
        let mut places = std::collections::BTreeSet::new();
        for (item, (award, status, code)) in items.iter().zip(&mixture) {
            let (status, code) = if wait { (*status, *code) } else { ("queued", None) };
            assert_eq!(item["order_no"], award["order_no"], "{media}");
            assert_eq!((item["status"].as_str(), item["code"].as_str()), (Some(status), code), "{item}");
            sums[status] = json!(sums[status].as_u64().unwrap() + 1);
            assert!(places.insert(item["position"].as_str().unwrap().to_owned()), "{item}");
        }
        assert_eq!(body["counts"], sums, "{media}");
        // Partitions are mixed, and within each the input's order is kept.
        let partitions = places.iter().map(|place| place.split('@').next().unwrap());
        let partitions: std::collections::BTreeSet<&str> = partitions.collect();
        assert_eq!(partitions.into_iter().collect::<Vec<_>>(), ["awards/0", "awards/1"]);
        let mut last = std::collections::BTreeMap::new();
        for item in items {
            let (partition, offset) = item["position"].as_str().unwrap().split_once('@').unwrap();
            let offset: u64 = offset.parse().unwrap();
            assert!(last.insert(partition, offset).is_none_or(|before| before < offset), "{items:?}");
        }
        server.stop();
    }
}

/// One award in an array is answered as many are, and one by itself is not.
#[test]
fn what_is_queued_stands_where_the_answer_says() {
    let files = Files::new();
    let server = Server::start(&files);
    let (one, other) = (award("u1_rain_1_cash_1"), award("u1_rain_1_cash_2"));
    let answer = server.api.queue(&one);
    assert_eq!((answer.status, answer.header("content-type")), (202, "application/json"));
    let single = answer.json();
    let many = server.api.queue(&json!([other])).json();
    assert_eq!(many["counts"]["queued"], 1, "{many}");
    for (award, answer) in [(&one, &single), (&other, &many["items"][0])] {
        let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["order_no", "position", "status"], "{answer}");
        assert_eq!((&answer["order_no"], &answer["status"]), (&award["order_no"], &json!("queued")));
        let position = answer["position"].as_str().unwrap();
        let (partition, offset) = position.strip_prefix("awards/").unwrap().split_once('@').unwrap();
        // It is durable, so it is there (I25).
        let path = format!("/v1/topics/awards/records?partition={partition}&from=offset:{offset}&limit=1");
        let records = server.api.get(&path).json();
        let record = &records["records"][0]["record"];
        assert_eq!((&record["order_no"], &record["record_kind"]), (&award["order_no"], &json!("award")));
    }
    server.stop();
}

/// RFC 7240: preferences may be listed, and what is not understood is left alone.
#[test]
fn preferences_are_read_as_http_has_them() {
    let files = Files::new();
    let server = Server::start(&files);
    let cases = [
        (&["wait=20"][..], true),
        (&["respond-async, wait=20"], true),
        (&["respond-async", "Wait=\"20\""], true),
        (&["wait = 20 ; foo"], true),
        (&["return=minimal"], false),
        (&["wait=soon"], false),
        (&["wait"], false),
        (&["wait=-1"], false),
    ];
    for (index, (preferences, waits)) in cases.into_iter().enumerate() {
        let award = award(&format!("u1_rain_1_cash_{index}"));
        let mut request = server.api.request(reqwest::Method::POST, "/v1/awards");
        request = request.header("content-type", "application/json").body(award.to_string());
        for preference in preferences {
            request = request.header("prefer", *preference);
        }
        let answer = server.api.send(request).unwrap();
        let expected = if waits { (200, json!("accepted")) } else { (202, json!("queued")) };
        assert_eq!((answer.status, answer.json()["status"].clone()), expected, "{preferences:?}");
    }
    server.stop();
}
