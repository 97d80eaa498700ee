//! What a log held when its recorded run had ended, record by record. Whatever a loss of power leaves of it is
//! the beginning of that in each topic: no hole, no repeat, nothing that was never written.

use std::collections::BTreeSet;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{FrameRef, Offset, ReadBatch};

const READ_BYTES: usize = 1 << 20;

/// Digest of a record with its writer, its place in that one's order and the time of its append.
type Digest = [u8; 32];

/// Records of a topic in a partition from where it begins.
#[derive(Debug, PartialEq, Eq)]
struct Records {
    topic: &'static str,
    partition: Partition,
    start: Offset,
    digests: Vec<Digest>,
}

/// Records of all topics of a log.
pub struct Written(Vec<Records>);

impl Written {
    /// Reads all records of these topics.
    ///
    /// # Errors
    /// They cannot be read, told.
    pub fn of(log: &dyn Log, topics: &[&'static str]) -> Result<Self, String> {
        let partitions = || (0..log.partitions()).map(Partition);
        let places = topics.iter().flat_map(|topic| partitions().map(move |partition| (*topic, partition)));
        places.map(|(topic, partition)| records(log, topic, partition)).collect::<Result<_, _>>().map(Self)
    }

    /// Records in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|records| records.digests.len() as u64).sum()
    }

    /// Topics with records.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<String> {
        let held = self.0.iter().filter(|records| !records.digests.is_empty());
        held.map(|records| records.topic.to_owned()).collect()
    }

    /// Whether each topic is the beginning of what it was in the end. Nothing trims, so that each begins where
    /// it began.
    ///
    /// # Errors
    /// What is not, told.
    pub fn is_beginning_of(&self, whole: &Self) -> Result<(), String> {
        self.0.iter().zip(&whole.0).try_for_each(|(here, whole)| here.is_beginning_of(whole))
    }
}

impl Records {
    fn is_beginning_of(&self, whole: &Self) -> Result<(), String> {
        let (topic, partition, held) = (self.topic, self.partition.0, self.digests.len());
        if self.start != whole.start {
            let was = whole.start;
            return Err(format!("{topic} of partition {partition} begins at {}, not at {was}", self.start));
        }
        if let Some(place) = self.digests.iter().zip(&whole.digests).position(|(here, whole)| here != whole) {
            let offset = self.start + place as u64;
            return Err(format!("{topic} of partition {partition} has another record at {offset}"));
        }
        if held > whole.digests.len() {
            let most = whole.digests.len();
            return Err(format!("{topic} of partition {partition} has {held} records, {most} were written"));
        }
        Ok(())
    }
}

fn records(log: &dyn Log, topic: &'static str, partition: Partition) -> Result<Records, String> {
    let unreadable = |error: hongbao_engine::log::LogError| format!("{topic}: {error}");
    let (start, end) = log.range(partition, topic).map_err(unreadable)?;
    let (mut next, mut digests, mut batch) = (start, Vec::new(), ReadBatch::new());
    while next < end {
        log.read(partition, topic, next, READ_BYTES, &mut batch).map_err(unreadable)?;
        let before = next;
        for frame in batch.frames() {
            for (index, (offset, record)) in frame.records().enumerate() {
                if offset != next {
                    return Err(format!("{topic} of partition {} goes from {next} to {offset}", partition.0));
                }
                next += 1;
                digests.push(digest(frame, index as u64, record));
            }
        }
        if next == before {
            return Err(format!("{topic} of partition {} has nothing at {next}, below {end}", partition.0));
        }
    }
    Ok(Records { topic, partition, start, digests })
}

fn digest(frame: FrameRef<'_>, index: u64, record: &[u8]) -> Digest {
    let envelope = frame.envelope();
    let seq = if envelope.first_seq > 0 { envelope.first_seq + index } else { 0 };
    let mut all = blake3::Hasher::new();
    all.update(&(envelope.source.len() as u64).to_le_bytes()).update(envelope.source.as_bytes());
    all.update(&envelope.epoch.to_le_bytes()).update(&seq.to_le_bytes());
    all.update(&frame.appended_at_ms().to_le_bytes()).update(record);
    *all.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hongbao_engine::clock::ManualClock;
    use hongbao_engine::records::{Envelope, Frame, RecordBuf};
    use hongbao_segments::{SegmentLog, SegmentOptions};

    use super::*;

    const TOPICS: [&str; 2] = ["awards", "journal"];

    /// A log of groups, each of one record and who wrote it.
    fn written(groups: &[(&str, &str, u64)]) -> Written {
        let folder = tempfile::tempdir().unwrap();
        let options = SegmentOptions {
            partitions: 1,
            segment_bytes: 32 << 10,
            sync_max_delay: Duration::ZERO,
            sync_max_bytes: 1 << 20,
        };
        let (log, _) = SegmentLog::open(folder.path(), options, Arc::new(ManualClock::at(7))).unwrap();
        for (topic, record, first_seq) in groups {
            let mut records = RecordBuf::new();
            records.push(record.as_bytes());
            let source = if *first_seq > 0 { "intake" } else { "" };
            let envelope = Envelope { source, epoch: 0, first_seq: *first_seq };
            log.append(Partition(0), &[Frame { topic, envelope, records: &records }]).unwrap();
        }
        drop(log);
        let (log, _) = SegmentLog::open_read_only(folder.path()).unwrap();
        Written::of(&log, &TOPICS).unwrap()
    }

    const A: (&str, &str, u64) = ("awards", "a", 0);
    const B: (&str, &str, u64) = ("awards", "b", 0);
    const F: (&str, &str, u64) = ("journal", "f", 1);
    const G: (&str, &str, u64) = ("journal", "g", 2);

    #[test]
    fn what_is_left_is_the_beginning_of_each_topic() {
        let whole = written(&[A, F, B, G]);
        assert_eq!(whole.len(), 4);
        assert!(whole.topics().iter().eq(&TOPICS) && written(&[A]).topics().iter().eq(&TOPICS[..1]));
        for left in [&[][..], &[A], &[A, F], &[A, F, B, G], &[A, B]] {
            assert_eq!(written(left).is_beginning_of(&whole), Ok(()), "{left:?}");
        }
        for (left, what) in [
            (&[B][..], "awards of partition 0 has another record at 0"),
            (&[A, A], "awards of partition 0 has another record at 1"),
            (&[A, B, B], "awards of partition 0 has 3 records, 2 were written"),
            (&[A, ("awards", "c", 0)], "awards of partition 0 has another record at 1"),
            (&[A, F, ("journal", "g", 3)], "journal of partition 0 has another record at 1"),
            (&[A, ("journal", "f", 0)], "journal of partition 0 has another record at 0"),
        ] {
            assert_eq!(written(left).is_beginning_of(&whole), Err(what.to_owned()), "{left:?}");
        }
    }
}
