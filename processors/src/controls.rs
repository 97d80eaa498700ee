//! The writer of control records: time and settings go into `awards`, sealed, so that a replay sees
//! them where they were (I30). Numbers are as intake expects them; the caller says what time it is.

use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_schemas::control::{Control, ControlKey, ControlKind};

use crate::intake::AWARDS;

/// Appends control records. At most one at a time may write to a partition.
pub struct ControlWriter<'a> {
    /// Where to.
    pub log: &'a dyn Log,
    /// What they are sealed with.
    pub key: &'a ControlKey,
}

impl ControlWriter<'_> {
    /// Appends the time, in milliseconds since the Unix epoch. Numbers must count up for ever, also
    /// when the clock goes back; the durable end of the topic does, since every tick moves it. Two
    /// ticks of which neither is durable have one number, and the second says nothing.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn tick(&self, partition: Partition, at_ms: i64) -> Result<Position, LogError> {
        let (_, end) = self.log.range(partition, AWARDS)?;
        let number = i64::try_from(end).unwrap_or(i64::MAX).saturating_add(1);
        let position = self.append(partition, ControlKind::Tick, number, at_ms, &[])?;
        hongbao_engine::kill_point!("tick.appended");
        Ok(position)
    }

    /// Appends settings, `body` in their JSON form and `number` the one in it. A number that is in
    /// force already changes nothing, so that what a crash cut short is completed by the same again.
    /// They are in force for awards behind them, and safe once the log is durable up to the position.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn settings(
        &self,
        partition: Partition,
        number: i64,
        body: &[u8],
        at_ms: i64,
    ) -> Result<Position, LogError> {
        self.append(partition, ControlKind::Settings, number, at_ms, body)
    }

    fn append(
        &self,
        partition: Partition,
        kind: ControlKind,
        number: i64,
        at_ms: i64,
        body: &[u8],
    ) -> Result<Position, LogError> {
        let control = Control::seal(kind, partition.0, number, at_ms, body, self.key);
        let mut records = RecordBuf::new();
        records.push_with(|bytes| control.encode(bytes));
        let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
        Ok(self.log.append(partition, &[frame])?.position)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hongbao_engine::clock::ManualClock;
    use hongbao_engine::memory::log::MemoryLog;
    use hongbao_engine::records::ReadBatch;

    use super::*;

    const P1: Partition = Partition(1);

    #[test]
    fn ticks_count_up_whatever_is_between_them_and_all_is_sealed_for_its_partition() {
        let log = MemoryLog::new(2, Arc::new(ManualClock::at(0)));
        let key = ControlKey::new([7; 32]);
        let writer = ControlWriter { log: &log, key: &key };
        writer.tick(P1, 500).unwrap();
        writer.settings(P1, 4, b"{}", 600).unwrap();
        // The clock went back.
        let last = writer.tick(P1, 100).unwrap();
        assert_eq!(log.durable(P1).unwrap(), last);

        let mut batch = ReadBatch::new();
        log.read(P1, AWARDS, 0, usize::MAX, &mut batch).unwrap();
        let records = batch.frames().flat_map(|frame| frame.records());
        let controls: Vec<Control<'_>> =
            records.map(|(_, record)| Control::decode(record).unwrap()).collect();
        assert!(controls.iter().all(|control| control.partition == 1 && control.verify(&key)));
        let said: Vec<_> = controls.iter().map(|c| (c.kind, c.number, c.at_ms, c.body)).collect();
        let expected: [(ControlKind, i64, i64, &[u8]); 3] = [
            (ControlKind::Tick, 1, 500, b""),
            (ControlKind::Settings, 4, 600, b"{}"),
            (ControlKind::Tick, 3, 100, b""),
        ];
        assert_eq!(said, expected);
        assert_eq!(log.range(Partition(0), AWARDS).unwrap(), (0, 0));
    }
}
