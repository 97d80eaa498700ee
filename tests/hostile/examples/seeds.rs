//! Writes the seeds of the corpora: `cargo run --release -p hongbao-hostile --example seeds`.
//! Inputs that are there already stay.
#![expect(clippy::unwrap_used, reason = "a tool for developers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::Value;
use apache_avro::{Schema, Writer};
use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::{Envelope, Frame, OwnedFrame, RecordBuf};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::{Applied, Store};
use hongbao_hostile::pack_rows;
use hongbao_processors::intake::{Intake, IntakeBoard, IntakeSpec};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::record::RecordKind;
use hongbao_segments::{SegmentLog, SegmentOptions};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn read(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let text = String::from_utf8(read(&format!("schemas/golden/v1/{name}.hex"))).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn records() {
    for kind in RecordKind::ALL {
        let record = golden(kind.name());
        match kind {
            RecordKind::Award => seed("award", kind.name(), &record),
            RecordKind::Control | RecordKind::Order | RecordKind::DeadLetter => (),
            _ => seed("journal", kind.name(), &record),
        }
        seed("record", kind.name(), &record);
    }
    let award = golden("award");
    seed("award", "without_ext", &[&award[..award.len() - 28], &[0]].concat());
    seed("award", "bare", &[&award[..10], &[0; 10]].concat());
    let mut by_rust = award;
    by_rust[2..10].copy_from_slice(&0x723d_1e06_47b6_0b62_u64.to_le_bytes());
    seed("award", "fingerprint_by_rust", &by_rust);
    for (name, text) in [
        ("usual", "u_1001_rain-1_r3_cash_1"),
        ("short", "a_s_r_t_1"),
        ("parts", "___s_r_t_1"),
        ("empty", ""),
        ("chars", "A.b:c-9_rain-1_2027.01:01_cash.video_0"),
        ("foreign", "红_s_r_t_1"),
    ] {
        seed("order_no", name, text.as_bytes());
    }
}

fn writers() {
    let award = golden("award");
    let body = &award[10..];
    let more = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0][..], body].concat();
    seed("writer_schema", "same_fields", &[&[1], body].concat());
    seed("writer_schema", "more_fields", &more);
    let tree = [
        &[0, 6, 0, 2, 2, b'x', 4, 2, 2, b'k', 2, 1, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4][..],
        &[0; 8],
        &[2, 4, 0],
        body,
    ];
    seed("writer_schema", "tree", &tree.concat());
    let schema = Schema::parse_str(RecordKind::Award.avsc()).unwrap();
    let mut writer = Writer::new(&schema, Vec::new()).unwrap();
    let text = |text: &str| Value::String(text.to_owned());
    for amount in [1, 500] {
        let fields = [
            ("order_no", text("u_s_r_t_1")),
            ("act_id", text("u")),
            ("activity_id", text("a")),
            ("scene_id", text("s")),
            ("reward_type", text("cash")),
            ("reward_id", text("")),
            ("amount_minor", Value::Long(amount)),
            ("event_time", Value::TimestampMillis(1_801_915_260_000)),
            ("app", text("")),
            ("ext", Value::Map([("k".to_owned(), text("v"))].into_iter().collect())),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        writer.append_value(Value::Record(fields)).unwrap();
    }
    let file = writer.into_inner().unwrap();
    seed("container", "two", &file);
    seed("container", "cut", &file[..file.len() - 20]);
    seed("container", "magic", b"Obj\x01");
}

fn json() {
    let award = read("schemas/golden/v1/award.json");
    let award = String::from_utf8(award).unwrap();
    let award = award.trim();
    let plain = r#"{"order_no":"u_s_r_t_1","act_id":"u","activity_id":"a","scene_id":"s","reward_type":"cash","amount_minor":1,"event_time":"2027-02-06T20:00:00+08:00"}"#;
    for (name, text) in [
        ("golden", award.to_owned()),
        ("plain", plain.to_owned()),
        ("milliseconds", plain.replace("\"2027-02-06T20:00:00+08:00\"", "1801915200250")),
        ("many", format!("[{plain},{plain}]")),
        ("lines", format!("{plain}\n\n{plain}\n")),
        ("twice", plain.replacen('{', "{\"app\":\"x\",\"app\":\"y\",", 1)),
        ("wrong", r#"[{"order_no":1,"amount_minor":1.5,"more":[[{}]],"ext":{"a":1,"a":"b"},"event_time":"x"},null]"#.to_owned()),
        ("deep", "[".repeat(200)),
        ("escapes", r#"{"order_no":"\ud83d\ude00\u0000\ud800"}"#.to_owned()),
        ("large", r#"{"amount_minor":1e999,"event_time":-9223372036854775809}"#.to_owned()),
    ] {
        seed("award_json", name, text.as_bytes());
    }
    let settings = String::from_utf8(read("schemas/golden/v1/settings.json")).unwrap();
    seed("settings", "golden", settings.as_bytes());
    seed("settings", "cap", settings.replace("20000", "0").as_bytes());
    seed("settings", "pieces", settings.replace("CNY/2", "pcs/0").as_bytes());
    for name in ["spring-2022", "steady"] {
        let text = read(&format!("producers/profiles/{name}.yaml"));
        seed("rain_profile", name, &text);
    }
    seed("rain_profile", "empty", b"{}");
}

fn topologies() {
    for (name, path) in [
        ("base", "engine/topology/tests/base/topology.yaml"),
        ("example", "engine/topology/tests/base/example.yaml"),
        ("shipped", "topology.yaml"),
        ("demo", "demo/topology.yaml"),
    ] {
        seed("topology", name, &read(path));
    }
    for (name, path) in [
        ("campaign", "engine/topology/tests/base/campaign.yaml"),
        ("example_campaign", "engine/topology/tests/base/example-campaign.yaml"),
        ("spring", "campaigns/spring-2027.yaml"),
    ] {
        seed("topology", name, &[&[0], &*read(path)].concat());
    }
    seed(
        "topology",
        "variables",
        "version: 1\nname: ${A:-x}\nlog: {a: &b [${B}, *b], <<: {}}\n? - k\n: |\n  text\n".as_bytes(),
    );
    seed("topology", "both", b"version: 1\nname: x\n\0version: 1\nactivity: a\n");
}

/// Files of a small log, one behind the other, as long as their headers say.
fn segment_files(dir: &Path) -> Vec<u8> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join("p-0000")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        out.extend(fs::read(path).unwrap());
    }
    out
}

fn small_files() {
    let meta = |id: &str, partitions: u16, ready: &str| {
        format!("hongbao log\nversion 1\nid {id}\npartitions {partitions}\nready {ready}\n")
    };
    let ours = "68626c6f675f6964";
    for (name, text) in [
        ("sound", meta(ours, 1, "yes")),
        ("unfinished", meta(ours, 1, "no")),
        ("of_another_log", meta("0000000000000001", 1, "yes")),
        ("two_partitions", meta(ours, 2, "yes")),
        ("no_partitions", meta(ours, 0, "yes")),
        ("many_partitions", meta(ours, u16::MAX, "yes")),
        ("plus", meta(ours, 1, "yes").replace("partitions 1", "partitions +1")),
        ("newer", meta(ours, 1, "yes").replace("version 1", "version 2")),
        ("of_something_else", "hello\n".to_owned()),
    ] {
        seed("meta", name, &[&[2], text.as_bytes()].concat());
    }
    seed("meta", "empty", &[3]);
    seed("meta", "without_sum", &[&[3], meta(ours, 1, "yes").as_bytes()].concat());
    let record: Vec<u8> = (0..48).collect();
    for (name, book) in [
        ("one", record.clone()),
        ("same_twice", record.repeat(2)),
        ("torn", [&record[..], &record[..47]].concat()),
        ("empty", Vec::new()),
    ] {
        seed("book", name, &[&[0], &*book].concat());
        seed("book", &format!("{name}_unsummed"), &[&[1], &*book].concat());
    }
}

fn segments() {
    let dir = tempfile::tempdir().unwrap();
    for (name, groups, closed) in [("one", 3, true), ("torn", 2, false), ("three", 12, true)] {
        let dir = dir.path().join(name);
        let options = SegmentOptions {
            partitions: 1,
            segment_bytes: 4 << 10,
            sync_max_delay: Duration::ZERO,
            sync_max_bytes: 1,
        };
        let clock = Arc::new(ManualClock::at(1_801_915_260_000));
        let (log, _) = SegmentLog::open(&dir, options, clock).unwrap();
        for number in 0..groups {
            let mut facts = RecordBuf::new();
            (0..=number % 3).for_each(|fact| facts.push(format!("fact {number}.{fact}").as_bytes()));
            let mut orders = RecordBuf::new();
            orders.push(format!("order {number}").as_bytes());
            let envelope = Envelope { source: "intake", epoch: 0, first_seq: 1 + number };
            let frames = [
                Frame { topic: "journal", envelope, records: &facts },
                Frame { topic: "orders.cash", envelope, records: &orders },
            ];
            log.append(Partition(0), &frames).unwrap();
        }
        drop(log);
        let mut bytes = segment_files(&dir);
        if !closed {
            // The mark of the close, and a piece of the group before.
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(64);
            bytes[used - 256 - 100..].fill(0);
        }
        // Those without `sized_` are of headers that did not say how long a file is.
        for flags in [0, 8] {
            seed("segments", &format!("sized_{name}_{flags}"), &[&[flags], &*bytes].concat());
        }
    }
}

fn answers() {
    let status = |status: u16| status.to_be_bytes();
    let cases: [(&str, u16, u8, u8, &str, &str); 12] = [
        (
            "batch",
            200,
            0,
            3,
            "",
            r#"{"items":[{"idempotency_key":"n/k0","result":"credited"},{"idempotency_key":"n/k1","result":"duplicate"},{"idempotency_key":"n/k2","result":"pending"}]}"#,
        ),
        ("single", 200, 1, 1, "", r#"{"idempotency_key":"n/k0","result":"credited"}"#),
        ("nameless", 201, 1, 1, "", r#"{"result":"rejected","reason":"closed","reference":"x"}"#),
        (
            "throttled",
            200,
            0,
            1,
            "",
            r#"{"items":[{"idempotency_key":"n/k0","result":"throttled","retry_after_ms":250}]}"#,
        ),
        (
            "contradiction",
            200,
            0,
            1,
            "",
            r#"{"items":[{"idempotency_key":"n/k0","result":"credited"},{"idempotency_key":"n/k0","result":"rejected"}]}"#,
        ),
        ("escaped", 200, 0, 1, "", r#"{"items":[{"idempotency_key":"n\/k0","result":"cr\u0065dited"}]}"#),
        ("too_many", 429, 0, 2, "17", ""),
        ("date", 503, 0, 2, "Sun, 06 Nov 1994 08:50:37 GMT", "{}"),
        ("far", 503, 0, 2, "Fri, 31 Dec 9999 23:59:59 GMT", "{}"),
        ("refused", 422, 0, 2, "", ""),
        ("configuration", 404, 0, 2, "", ""),
        ("query", 200, 1, 1, "", r#"{"result":"absent"}"#),
    ];
    for (name, code, flags, keys, header, body) in cases {
        let bytes = [&status(code)[..], &[flags, keys], header.as_bytes(), b"\n", body.as_bytes()].concat();
        seed("answer", name, &bytes);
    }
    let item = r#"{"idempotency_key":"n/u_s_1_t_0","order_no":"u_s_1_t_0","act_id":"u","reward_type":"cash","reward_id":"","asset":"CNY/2","amount_minor":5}"#;
    for (profile, name) in (0_u8..).zip(["steady", "flaky", "slow", "short_keys", "no_keys", "outage"]) {
        seed("wire", name, &[&[profile], &b"n/u_s_1_t_0\n"[..], item.as_bytes()].concat());
    }
    let batch = format!("{{\"items\":[{item},{}]}}", item.replace("u_s", "v_s"));
    seed("wire", "batch", &[&[1], &b"\n"[..], batch.as_bytes()].concat());
}

fn requests() {
    let award = r#"{"order_no":"u_s_r_t_1","act_id":"u","activity_id":"a","scene_id":"s","reward_type":"cash","amount_minor":1,"event_time":"2027-02-06T20:00:00Z"}"#;
    for (name, text) in [
        ("one", format!("POST /v1/awards\ncontent-type: application/json\n\n{award}")),
        (
            "wait",
            format!(
                "POST /v1/awards\ncontent-type: application/json\nprefer: respond-async, wait=\"1\";x\n\n[{award},{award}]"
            ),
        ),
        (
            "lines",
            format!(
                "POST /v1/awards\ncontent-type: application/x-ndjson; charset=utf-8\n\n{award}\n{award}\n"
            ),
        ),
        ("order", "GET /v1/awards/u_s_r_t_%31\n\n".to_owned()),
        ("wallet", "GET /v1/wallets/u%E7%BA%A2?items_cursor=i0000\n\n".to_owned()),
        ("entries", "GET /v1/wallets/u/entries?limit=5&cursor=e00000000000000000001\n\n".to_owned()),
        ("totals", "GET /v1/totals?group_by=scene_id,reward_type\n\n".to_owned()),
        ("records", "GET /v1/topics/awards/records?partition=0&offset=0&limit=3\n\n".to_owned()),
        ("lanes", "GET /v1/lanes\nauthorization: Bearer x\n\n".to_owned()),
        ("unknown", "PUT /v1/awards?x\n\n".to_owned()),
        ("metrics", "GET /metrics\n\n".to_owned()),
    ] {
        seed("http", name, text.as_bytes());
    }
}

fn frame(records: &[Vec<u8>]) -> OwnedFrame {
    let mut frame = OwnedFrame::default();
    for record in records {
        frame.bytes.extend_from_slice(record);
        frame.ends.push(frame.bytes.len() as u32);
    }
    frame
}

/// Folds records and gives the rows that a commit makes of them.
fn rows_of(
    fold: &mut dyn Processor,
    store: &dyn Store,
    records: &[Vec<u8>],
    outputs: &mut Outputs,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    fold.apply(&[frame(records).view()], outputs).unwrap();
    let mut runs = (fold.freeze().unwrap())().unwrap();
    runs.retain(|run| !run.is_empty());
    store.commit(&runs, Applied::default()).unwrap();
    let mut rows = Vec::new();
    store
        .scan(&[0], &[0xff; 3], &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn rows() {
    let unkeyed = |records: &[Vec<u8>]| -> Vec<(Vec<u8>, Vec<u8>)> {
        records.iter().map(|record| (Vec::new(), record.clone())).collect()
    };
    let key = ControlKey::new([7; 32]);
    let settings = read("schemas/golden/v1/settings.json");
    let mut control = Vec::new();
    Control::seal(ControlKind::Settings, 0, 12, 1_801_915_260_000, &settings, &key).encode(&mut control);
    let mut tick = Vec::new();
    Control::seal(ControlKind::Tick, 0, 1, 1_801_915_260_000, &[], &key).encode(&mut tick);
    let awards = [control, tick, golden("award"), golden("award"), b"junk".to_vec(), Vec::new()];
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let spec = IntakeSpec {
        partition: Partition(0),
        partitions: 1,
        control_key: key,
        seen: SeenLimits { window_keys_max: 16 },
        board: Arc::new(IntakeBoard::new()),
    };
    let mut outputs = Outputs::new();
    let mut intake = Intake::open(spec, Arc::clone(&store), &mut outputs).unwrap();
    let stored = rows_of(&mut intake, &*store, &awards, &mut outputs);
    seed("intake_rows", "records", &pack_rows(&unkeyed(&awards)));
    seed("intake_rows", "rows", &pack_rows(&stored));
    seed("intake_rows", "both", &pack_rows(&[stored, unkeyed(&awards)].concat()));

    let topic = |name: &str| -> Vec<Vec<u8>> {
        let topic = outputs.topics().iter().find(|topic| &*topic.name == name).unwrap();
        (0..topic.records.len()).map(|index| topic.records.get(index).unwrap().to_vec()).collect()
    };
    let mut facts = topic("journal");
    facts.extend(["opened", "rejected", "conflict"].map(golden));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let limits = ViewsLimits { users_max: 8, recent_orders_max: 8, known_users_bytes: 4096 };
    let mut views = Views::open(0, Arc::clone(&store), limits, &ViewsReader::new(1)).unwrap();
    let stored = rows_of(&mut views, &*store, &facts, &mut Outputs::new());
    seed("views_rows", "facts", &pack_rows(&unkeyed(&facts)));
    seed("views_rows", "rows", &pack_rows(&stored));
    seed("views_rows", "both", &pack_rows(&[stored, unkeyed(&facts)].concat()));

    let orders = topic("orders.cash");
    let balance = |amount: i128| amount.to_le_bytes().to_vec();
    let accounts = vec![(b"acu_1001\0CNY/2".to_vec(), balance(5)), (b"isCNY/2".to_vec(), balance(5))];
    seed("ledger_rows", "book", &pack_rows(&unkeyed(&orders)));
    seed("ledger_rows", "golden", &pack_rows(&unkeyed(&[golden("order")])));
    seed(
        "ledger_rows",
        "both",
        &pack_rows(&[accounts, unkeyed(&[golden("order"), golden("order")])].concat()),
    );
}

fn main() {
    records();
    writers();
    json();
    topologies();
    segments();
    small_files();
    answers();
    requests();
    rows();
}
