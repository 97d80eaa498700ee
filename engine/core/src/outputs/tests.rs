//! The log is filled as an earlier life of the task and other writers left it; a reopened task
//! then makes its outputs again.

use super::*;
use crate::clock::ManualClock;
use crate::memory::log::MemoryLog;
use crate::records::RecordBuf;

const P0: Partition = Partition(0);

fn log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(1, Arc::new(ManualClock::at(0))))
}

fn records(texts: &[&str]) -> RecordBuf {
    let mut records = RecordBuf::new();
    for text in texts {
        records.push(text.as_bytes());
    }
    records
}

fn append(log: &MemoryLog, topic: &str, source: &str, first_seq: u64, texts: &[&str]) {
    let envelope = Envelope { source, epoch: 0, first_seq };
    log.append(P0, &[Frame { topic, envelope, records: &records(texts) }]).unwrap();
}

/// Source, sequence and text of all records of a topic.
fn all(log: &MemoryLog, topic: &str) -> Vec<String> {
    let mut batch = ReadBatch::new();
    let (start, _) = log.range(P0, topic).unwrap();
    log.read(P0, topic, start, usize::MAX, &mut batch).unwrap();
    let mut seen = Vec::new();
    for frame in batch.frames() {
        let envelope = frame.envelope();
        for (index, (_, bytes)) in frame.records().enumerate() {
            let text = String::from_utf8_lossy(bytes);
            seen.push(format!("{}{} {text}", envelope.source, envelope.first_seq + index as u64));
        }
    }
    seen
}

/// Outputs of `fold` to topics `a` and `b`, opened with what an earlier life saved.
fn open(log: &Arc<MemoryLog>, saved: &Rows) -> OutputLog {
    let mut outputs = OutputLog::new(log.clone(), P0, "fold", &["a", "b"]);
    let mut rows = Rows::new();
    for (key, value) in saved.iter() {
        assert!(key.starts_with(&SEQUENCE_ROWS));
        rows.put(&key[2..], value.unwrap());
    }
    outputs.load(&rows).unwrap();
    outputs
}

fn write(outputs: &mut OutputLog, topic: &str, texts: &[&str]) {
    let index = outputs.outputs_mut().topic(topic);
    for text in texts {
        outputs.outputs_mut().push_with(index, |bytes| bytes.extend_from_slice(text.as_bytes()));
    }
}

fn save(outputs: &mut OutputLog) -> Rows {
    let mut rows = Rows::new();
    outputs.save(&mut rows).unwrap();
    rows.sort();
    rows
}

/// Next sequence of topic a, and where to search for it.
fn saved_of_a(outputs: &mut OutputLog) -> (u64, Offset) {
    let saved = save(outputs);
    let (_, value) = saved.iter().find(|(key, _)| *key == b"~sa").unwrap();
    let (seq, search_from) = value.unwrap().split_first_chunk::<8>().unwrap();
    (u64::from_le_bytes(*seq), u64::from_le_bytes(search_from.try_into().unwrap()))
}

#[test]
fn a_batch_is_one_group_with_consecutive_sequences_per_topic() {
    let log = log();
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "b", &["x"]);
    write(&mut outputs, "a", &["1", "2"]);
    assert_eq!(outputs.flush(), Ok(Flushed::All));
    let one_group = outputs.position();
    write(&mut outputs, "a", &["3"]);
    assert_eq!(outputs.flush(), Ok(Flushed::All));
    assert_eq!(outputs.flush(), Ok(Flushed::All));
    assert_eq!((one_group, outputs.position()), (Position(1), Position(2)));
    assert_eq!(all(&log, "a"), ["fold1 1", "fold2 2", "fold3 3"]);
    assert_eq!(all(&log, "b"), ["fold1 x"]);
}

#[test]
fn what_is_there_is_compared_and_the_rest_appended() {
    type Left<'a> = &'a [(&'a str, u64, &'a [&'a str])];
    type Batches<'a> = &'a [&'a [&'a str]];
    // What a dead life left in topic a behind the committed sequence 3.
    let cases: [(&str, Left<'_>, Batches<'_>, usize); 7] = [
        ("nothing", &[], &[&["3", "4"]], 2),
        ("all", &[("fold", 3, &["3", "4"])], &[&["3", "4"]], 0),
        ("a part of a batch", &[("fold", 3, &["3"])], &[&["3", "4", "5"]], 2),
        ("other cuts", &[("fold", 3, &["3", "4"]), ("fold", 5, &["5"])], &[&["3"], &["4", "5", "6"]], 1),
        ("between others", &[("x", 3, &["!"]), ("fold", 3, &["3"]), ("x", 4, &["!"])], &[&["3", "4"]], 1),
        (
            "a repeat",
            &[("fold", 2, &["2", "3"]), ("fold", 3, &["3"]), ("fold", 4, &["4"])],
            &[&["3", "4"]],
            0,
        ),
        (
            "behind a gap, and again",
            &[("fold", 4, &["4"]), ("fold", 3, &["3"]), ("fold", 4, &["4"])],
            &[&["3", "4", "5"]],
            1,
        ),
    ];
    for (name, left, batches, appended) in cases {
        let log = log();
        append(&log, "a", "other", 1, &["-", "-", "-"]);
        let mut first_life = open(&log, &Rows::new());
        write(&mut first_life, "a", &["1", "2"]);
        first_life.flush().unwrap();
        let saved = save(&mut first_life);
        for (source, first_seq, texts) in left {
            append(&log, "a", source, *first_seq, texts);
        }
        let there = all(&log, "a").len();

        let mut outputs = open(&log, &saved);
        for batch in batches {
            write(&mut outputs, "a", batch);
            assert_eq!(outputs.flush(), Ok(Flushed::All), "{name}");
        }
        assert_eq!(outputs.check_none_ahead(), Ok(()), "{name}");
        let now = all(&log, "a");
        assert_eq!(now.len() - there, appended, "{name}: {now:?}");
        write(&mut outputs, "a", &["next"]);
        outputs.flush().unwrap();
        let made = 2 + batches.concat().len();
        assert_eq!(all(&log, "a").last(), Some(&format!("fold{} next", made + 1)), "{name}");
        let (_, end) = log.range(P0, "a").unwrap();
        assert_eq!(saved_of_a(&mut outputs), (made as u64 + 2, end), "{name}");
    }
}

#[test]
fn a_difference_stops_and_says_where() {
    for (made, seq, offset) in [("other", 3, 2), ("3 and more", 3, 2), ("", 3, 2)] {
        let log = log();
        append(&log, "a", "fold", 1, &["1", "2", "3"]);
        let mut outputs = open(&log, &Rows::new());
        write(&mut outputs, "a", &["1"]);
        outputs.flush().unwrap();
        write(&mut outputs, "a", &["2", made]);
        let differs = OutputError::Differs { topic: "a".to_owned(), partition: 0, seq, offset };
        assert_eq!(outputs.flush(), Err(differs), "{made:?}");
        assert_eq!(all(&log, "a").len(), 3, "{made:?}");
    }
}

#[test]
fn outputs_without_their_input_stop() {
    let log = log();
    append(&log, "b", "fold", 1, &["1", "2"]);
    append(&log, "a", "fold", 1, &["1"]);
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    write(&mut outputs, "b", &["1"]);
    outputs.flush().unwrap();
    let ahead = OutputError::Ahead { topic: "b".to_owned(), partition: 0, seq: 2, offset: 1 };
    assert_eq!(outputs.check_none_ahead(), Err(ahead));
}

/// Others write to the topic too; what they wrote last is missed like one's own.
#[test]
fn a_log_that_lacks_what_could_be_read_at_the_last_commit_stops() {
    let log = log();
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    outputs.flush().unwrap();
    append(&log, "a", "other", 1, &["x", "y"]);
    let saved = save(&mut outputs);
    for (end, is_lost) in [(3, false), (2, true), (0, true)] {
        log.lose_from(P0, "a", end);
        let mut rows = Rows::new();
        saved.iter().for_each(|(key, value)| rows.put(&key[2..], value.unwrap()));
        let mut again = OutputLog::new(log.clone(), P0, "fold", &["a", "b"]);
        let lost = OutputError::Lost { topic: "a".to_owned(), partition: 0, readable: 3, log_end: end };
        assert_eq!(again.load(&rows), if is_lost { Err(lost) } else { Ok(()) });
    }
}

/// Where several processes write, one that was thought to be gone goes on for a while.
#[test]
fn what_another_process_writes_after_the_start_is_not_ahead() {
    let log = log();
    append(&log, "a", "fold", 1, &["1"]);
    let mut outputs = open(&log, &Rows::new());
    append(&log, "a", "fold", 2, &["2"]);
    write(&mut outputs, "a", &["1"]);
    outputs.flush().unwrap();
    assert_eq!(outputs.check_none_ahead(), Ok(()));
}

#[test]
fn saved_sequences_skip_what_others_wrote_before() {
    let log = log();
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    outputs.flush().unwrap();
    append(&log, "a", "other", 1, &["x", "y"]);
    assert_eq!(saved_of_a(&mut outputs), (2, 3));
    let saved = save(&mut outputs);
    // The own record and all others may be trimmed without loss: none is needed any more.
    log.trim(P0, &[("a", 3)]).unwrap();
    let mut again = open(&log, &saved);
    assert_eq!(again.check_none_ahead(), Ok(()));
    write(&mut again, "a", &["2"]);
    again.flush().unwrap();
    assert_eq!(all(&log, "a"), ["fold2 2"]);
}

#[test]
fn a_save_during_the_comparison_does_not_skip_what_is_not_compared() {
    let log = log();
    append(&log, "a", "fold", 1, &["1", "2", "3"]);
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    outputs.flush().unwrap();
    assert_eq!(saved_of_a(&mut outputs), (2, 1));
    let saved = save(&mut outputs);
    let mut again = open(&log, &saved);
    write(&mut again, "a", &["2", "3", "4"]);
    again.flush().unwrap();
    assert_eq!(all(&log, "a"), ["fold1 1", "fold2 2", "fold3 3", "fold4 4"]);
}

#[test]
fn trimmed_outputs_are_taken_as_there_or_stop() {
    let log = log();
    append(&log, "a", "fold", 1, &["1", "2"]);
    append(&log, "a", "fold", 3, &["3"]);
    append(&log, "a", "other", 1, &["x"]);
    log.trim(P0, &[("a", 2)]).unwrap();
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    outputs.flush().unwrap();
    write(&mut outputs, "a", &["2", "3", "4"]);
    outputs.flush().unwrap();
    assert_eq!(all(&log, "a"), ["fold3 3", "other1 x", "fold4 4"]);

    log.trim(P0, &[("a", 4), ("b", 4)]).unwrap();
    log.lose_from(P0, "a", 4);
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1"]);
    let trimmed = OutputError::Trimmed {
        source_name: "fold".to_owned(),
        topic: "a".to_owned(),
        partition: 0,
        start: 4,
    };
    assert_eq!(outputs.flush(), Err(trimmed.clone()));
    assert_eq!(open(&log, &Rows::new()).check_none_ahead(), Err(trimmed));
}

#[test]
fn a_full_log_loses_and_doubles_nothing() {
    let log = log();
    append(&log, "a", "fold", 1, &["1"]);
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "a", &["1", "2"]);
    write(&mut outputs, "b", &["x"]);
    log.set_bytes_max(2);
    assert_eq!(outputs.flush(), Ok(Flushed::LogFull));
    assert_eq!(outputs.flush(), Ok(Flushed::LogFull));
    assert_eq!((all(&log, "a").len(), all(&log, "b").len()), (1, 0));
    log.set_bytes_max(3);
    assert_eq!(outputs.flush(), Ok(Flushed::All));
    assert_eq!(outputs.flush(), Ok(Flushed::All));
    assert_eq!(all(&log, "a"), ["fold1 1", "fold2 2"]);
    assert_eq!(all(&log, "b"), ["fold1 x"]);
}

#[test]
fn a_topic_named_later_has_its_sequence_back() {
    let log = log();
    let mut outputs = open(&log, &Rows::new());
    write(&mut outputs, "late", &["1", "2"]);
    outputs.flush().unwrap();
    let saved = save(&mut outputs);
    write(&mut outputs, "later", &["1"]);
    outputs.flush().unwrap();

    let mut again = open(&log, &saved);
    write(&mut again, "later", &["1"]);
    write(&mut again, "late", &["3"]);
    again.flush().unwrap();
    assert_eq!(all(&log, "late"), ["fold1 1", "fold2 2", "fold3 3"]);
    assert_eq!(all(&log, "later"), ["fold1 1"]);
}

#[test]
fn damaged_sequences_are_refused() {
    let log = log();
    let cases: [(&[u8], &[u8]); 4] = [(b"a", b""), (b"a", &[0; 15]), (b"a", &[0; 17]), (b"\xff", &[0; 16])];
    for (topic, value) in cases {
        let mut outputs = OutputLog::new(log.clone(), P0, "fold", &[]);
        let mut rows = Rows::new();
        rows.put(topic, value);
        let error = outputs.load(&rows).unwrap_err();
        assert!(matches!(error, OutputError::Row(_)), "{topic:?} {value:?}");
    }
}
