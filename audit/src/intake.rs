//! The audit of intake in one partition: the fold of `awards` beside everything intake wrote.

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_schemas::control::ControlKey;

use crate::outputs::Outputs;
use crate::report::{Invariant, Report};
use crate::stream::Stream;
use crate::verdicts::{AWARDS, Expected, Verdicts};

/// Folds one partition of `awards`, as far as it is told to.
pub struct IntakeAudit<'a> {
    input: Stream<'a>,
    outputs: Outputs<'a>,
    expected: Vec<Expected>,
    /// The plain model, as of [`Self::folded`].
    pub verdicts: Verdicts,
    folded: Offset,
}

impl<'a> IntakeAudit<'a> {
    /// Before the first award.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(log: &'a dyn Log, partition: Partition, control_key: ControlKey) -> Result<Self, LogError> {
        Ok(Self {
            input: Stream::open(log, partition, AWARDS)?,
            outputs: Outputs::new(log, partition),
            expected: Vec::new(),
            verdicts: Verdicts::new(partition, log.partitions(), control_key),
            folded: 0,
        })
    }

    /// For a broker's log after a crash: records of the dead process become readable topic by topic
    /// and perhaps with gaps, and what is missing comes when intake goes on.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.outputs.is_unfinished = true;
        self
    }

    /// Offset of the first award not folded.
    #[must_use]
    pub fn folded(&self) -> Offset {
        self.folded
    }

    /// End of `awards`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn end(&self) -> Result<Offset, LogError> {
        self.input.end()
    }

    /// Folds up to an offset, comparing what intake wrote.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn advance(&mut self, to: Offset, report: &mut Report) -> Result<(), LogError> {
        while let Some(record) = self.input.next(to, report)? {
            self.verdicts.take(record.offset, record.bytes, &mut self.expected);
            for expected in &self.expected {
                self.outputs.expect(expected, report)?;
            }
        }
        self.folded = self.folded.max(to);
        Ok(())
    }

    /// Compares what is left when all awards are folded, and gives the model back with the first
    /// award that intake has not decided yet, if there is one.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn finish(self, report: &mut Report) -> Result<(Verdicts, Option<Offset>), LogError> {
        self.input.finish(report);
        let undecided = self.outputs.finish(report)?;
        let counts = self.verdicts.counts;
        report.checked(Invariant::I1, "awards", counts.read);
        report.checked(Invariant::I1, "not decided yet", undecided.map_or(0, |first| self.folded - first));
        report.checked(Invariant::I3, "conflicts", counts.conflict);
        report.checked(Invariant::I3, "duplicates", counts.duplicate);
        let written = self.verdicts.written.values().sum();
        report.checked(Invariant::I4, "records of intake", written);
        report.checked(Invariant::I30, "settings in force", u64::from(self.verdicts.settings_json.is_some()));
        Ok((self.verdicts, undecided))
    }
}
