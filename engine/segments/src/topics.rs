//! Where every topic of one partition stands, and which segments hold it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hongbao_engine::records::Offset;

use crate::index::FrameIndex;
use crate::segment::NextOffsets;

/// Offsets of one topic: `start <= end <= syncing <= appended`.
#[derive(Debug, Default)]
struct Topic {
    /// First readable.
    start: Offset,
    /// First not readable.
    end: Offset,
    /// What `end` becomes when the sync under way is done.
    syncing: Offset,
    /// First not appended.
    appended: Offset,
    /// The segments that hold records of this topic, oldest first.
    runs: VecDeque<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first_offset: Offset,
    generation: u32,
}

impl Topic {
    fn starting_at(offset: Offset) -> Self {
        Self { start: offset, end: offset, syncing: offset, appended: offset, runs: VecDeque::new() }
    }

    /// End of the records in the oldest segment that holds any.
    fn first_run_end(&self) -> Offset {
        self.runs.get(1).map_or(self.appended, |run| run.first_offset)
    }
}

/// All topics of a partition.
#[derive(Debug, Default)]
pub(crate) struct Topics(BTreeMap<Arc<str>, Topic>);

impl Topics {
    /// The topics as the header of the oldest segment tells.
    pub(crate) fn starting_at(table: &NextOffsets) -> Self {
        Self(table.iter().map(|(name, next)| (Arc::clone(name), Topic::starting_at(*next))).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    pub(crate) fn next_offsets(&self) -> NextOffsets {
        self.0.iter().map(|(name, topic)| (Arc::clone(name), topic.appended)).collect()
    }

    /// First offset not appended.
    pub(crate) fn appended(&self, topic: &str) -> Offset {
        self.0.get(topic).map_or(0, |topic| topic.appended)
    }

    /// Notes records that went into a segment, which is the newest.
    pub(crate) fn add(&mut self, topic: &str, generation: u32, count: u64) {
        if !self.0.contains_key(topic) {
            self.0.insert(topic.into(), Topic::default());
        }
        if let Some(topic) = self.0.get_mut(topic) {
            if topic.runs.back().is_none_or(|run| run.generation != generation) {
                topic.runs.push_back(Run { first_offset: topic.appended, generation });
            }
            topic.appended += count;
        }
    }

    /// Notes all records of a segment, which is the newest.
    pub(crate) fn add_index(&mut self, generation: u32, index: &FrameIndex) {
        for (topic, entries) in index.topics() {
            let count = entries.iter().map(|entry| u64::from(entry.record_count)).sum();
            self.add(topic, generation, count);
        }
    }

    /// Notes the records of a sealed segment by the table of its successor. False, and nothing
    /// changed, when that table goes back.
    pub(crate) fn add_up_to(&mut self, generation: u32, table: &NextOffsets) -> bool {
        let known = self.0.keys().all(|name| table.contains_key(name));
        if !known || table.iter().any(|(name, next)| *next < self.appended(name)) {
            return false;
        }
        for (name, next) in table {
            let count = next - self.appended(name);
            if count > 0 {
                self.add(name, generation, count);
            }
        }
        true
    }

    /// Start and end of what is readable.
    pub(crate) fn range(&self, topic: &str) -> (Offset, Offset) {
        self.0.get(topic).map_or((0, 0), |topic| (topic.start, topic.end))
    }

    /// The segment that holds a record between start and end.
    pub(crate) fn locate(&self, topic: &str, offset: Offset) -> Option<u32> {
        let runs = &self.0.get(topic)?.runs;
        let after = runs.partition_point(|run| run.first_offset <= offset);
        runs.get(after.checked_sub(1)?).map(|run| run.generation)
    }

    /// Remembers what is appended now as what the sync that begins will make readable.
    pub(crate) fn begin_sync(&mut self) {
        for topic in self.0.values_mut() {
            topic.syncing = topic.appended;
        }
    }

    /// Makes readable what [`Topics::begin_sync`] remembered.
    pub(crate) fn end_sync(&mut self) {
        for topic in self.0.values_mut() {
            topic.end = topic.syncing;
        }
    }

    /// Whether the floors give up everything in this segment, which is the oldest.
    pub(crate) fn may_drop(&self, generation: u32, floors: &[(&str, Offset)]) -> bool {
        let held = |topic: &Topic| topic.runs.front().is_some_and(|run| run.generation == generation);
        self.0.iter().filter(|(_, topic)| held(topic)).all(|(name, topic)| {
            let floor = floors.iter().find(|(floored, _)| *floored == &**name);
            floor.is_some_and(|(_, floor)| topic.first_run_end() <= *floor)
        })
    }

    /// Forgets a segment, which is the oldest.
    pub(crate) fn drop_oldest(&mut self, generation: u32) {
        for topic in self.0.values_mut() {
            if topic.runs.front().is_some_and(|run| run.generation == generation) {
                topic.start = topic.first_run_end();
                topic.runs.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments 1 and 2 hold `a`, 2 and 3 hold `b`.
    fn topics() -> Topics {
        let mut topics = Topics::default();
        topics.add("a", 1, 10);
        topics.add("a", 2, 5);
        topics.add("b", 2, 1);
        topics.add("b", 3, 2);
        topics.begin_sync();
        topics.end_sync();
        topics
    }

    #[test]
    fn locates_offsets_in_segments() {
        let cases = [("a", 0, 1), ("a", 9, 1), ("a", 10, 2), ("a", 14, 2), ("b", 0, 2), ("b", 1, 3)];
        for (topic, offset, generation) in cases {
            assert_eq!(topics().locate(topic, offset), Some(generation), "{topic} {offset}");
        }
        assert_eq!(topics().locate("c", 0), None);
    }

    #[test]
    fn only_what_was_appended_before_a_sync_becomes_readable() {
        let mut topics = topics();
        topics.begin_sync();
        topics.add("a", 3, 7);
        topics.end_sync();
        assert_eq!((topics.range("a"), topics.appended("a")), ((0, 15), 22));
        topics.begin_sync();
        topics.end_sync();
        assert_eq!(topics.range("a"), (0, 22));
    }

    #[test]
    fn a_segment_goes_only_when_every_topic_in_it_is_given_up() {
        type Floors = &'static [(&'static str, Offset)];
        let cases: [(u32, Floors, bool); 6] = [
            (1, &[("a", 10)], true),
            (1, &[("a", 9)], false),
            (1, &[], false),
            (1, &[("b", 100)], false),
            (1, &[("b", 0), ("a", 100)], true),
            (9, &[], true),
        ];
        for (generation, floors, expected) in cases {
            assert_eq!(topics().may_drop(generation, floors), expected, "{generation} {floors:?}");
        }
        let mut topics = topics();
        topics.drop_oldest(1);
        assert_eq!((topics.range("a"), topics.range("b")), ((10, 15), (0, 3)));
        assert!(!topics.may_drop(2, &[("a", 15)]), "b has no floor");
        assert!(topics.may_drop(2, &[("a", 15), ("b", 1)]));
        topics.drop_oldest(2);
        assert_eq!((topics.range("a"), topics.range("b")), ((15, 15), (1, 3)));
    }

    #[test]
    fn a_sealed_segment_is_known_by_the_table_of_its_successor() {
        let table = |entries: &[(&str, Offset)]| -> NextOffsets {
            entries.iter().map(|(name, next)| ((*name).into(), *next)).collect()
        };
        let mut topics = Topics::starting_at(&table(&[("a", 5), ("b", 0)]));
        assert!(topics.add_up_to(1, &table(&[("a", 9), ("b", 0), ("c", 2)])));
        assert_eq!(topics.locate("a", 5), Some(1));
        assert_eq!((topics.locate("b", 0), topics.locate("c", 1)), (None, Some(1)));
        for back in [&[("a", 8), ("b", 0), ("c", 2)][..], &[("a", 9), ("b", 0)]] {
            assert!(!topics.add_up_to(2, &table(back)), "{back:?}");
        }
        assert_eq!(topics.appended("a"), 9);
    }
}
