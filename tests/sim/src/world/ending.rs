//! How a run ends: faults stop, everything comes to its end, and the reference model looks at all
//! that is left.

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_processors::intake::AWARDS;

use crate::oracles::{Violation, audit};
use crate::plan::Op;

use super::{Doom, End, World, views_limits};

impl World<'_, '_> {
    /// Faults stop.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.is_healed = true;
        self.note("heal", [0, 0], String::new);
        self.opening_zombie = None;
        self.end_zombie()?;
        self.frozen_until_ms = 0;
        self.estate.heal();
        self.end = None;
        if self.process.is_some() && self.estate.fuse.is_lit() {
            self.estate.fuse.renew();
        }
        if !self.doomed.is_empty() {
            // What was exchanged or damaged meanwhile is found at a start at the latest.
            self.end_process(End::unplanned(1_000, 1))?;
        }
        self.start_at_ms = self.start_at_ms.min(self.now_ms() + 1_000);
        Ok(())
    }

    /// Whether nothing is left to do, but for what is doomed, which has halted where it must.
    pub(super) fn is_done(&mut self) -> bool {
        if !self.clients.is_done(|partition| self.is_log_lost(partition))
            || !self.deferred.is_empty()
            || self.estate.log.has_late()
        {
            self.delivered = None;
            return false;
        }
        let log = self.estate.log.undisturbed();
        let end = |partition| log.range(Partition(partition), AWARDS).map_or(0, |(_, end)| end);
        let partitions = 0..self.plan.options.partitions;
        let delivered = self.delivered.get_or_insert_with(|| partitions.clone().map(end).collect()).clone();
        let Some(process) = &self.process else { return false };
        let is_over = |partition: u16| {
            let index = usize::from(partition);
            let (intake, views) = (process.intakes[index].status(), process.views[index].status());
            let (Some(intake), Some(views)) = (intake, views) else { return false };
            let is_decided = intake.applied() >= delivered[index];
            let durable = log.durable(Partition(partition)).unwrap_or_default();
            let is_durable = durable >= intake.outputs_position();
            is_decided && is_durable && views.recovered() && self.oracles.is_all_ended(partition)
        };
        // A gap is noticed when it has lasted too long.
        let mut partitions = partitions.into_iter();
        partitions.all(|partition| match self.doomed.get(&partition) {
            Some(doom) if !doom.is_harmless() => {
                let views = process.views[usize::from(partition)].status();
                let is_rest_over =
                    || views.is_some_and(|views| views.recovered()) && self.oracles.is_all_ended(partition);
                self.has_halted(partition, doom) && (self.is_given_up(partition) || is_rest_over())
            }
            _ => is_over(partition),
        })
    }

    /// The deadline has passed.
    pub(super) fn stuck(&self) -> Violation {
        let open = self.oracles.first_open(&|partition| self.is_given_up(partition));
        let lanes = self.process.as_ref().map(|process| {
            let lanes = process.lanes.lanes();
            let told = lanes.iter().map(|lane| {
                let (state, detail) = (lane.state.as_str(), &lane.detail);
                format!(
                    "{} {state} {detail} ready {} waiting {} held {}",
                    lane.lane, lane.ready, lane.waiting, lane.held
                )
            });
            told.collect::<Vec<_>>().join("; ")
        });
        match open {
            Some((order_no, state)) => Violation {
                invariant: "I11".to_owned(),
                what: format!("{order_no} is {state} long after the faults stopped; lanes: {lanes:?}"),
                order_no: Some(order_no),
            },
            None => Violation::new(
                "V1",
                format!(
                    "not everything is done long after the faults stopped; clients: {}, operations that wait: {:?}, late: {}, lanes: {lanes:?}",
                    self.clients.describe(),
                    self.deferred,
                    self.estate.log.has_late(),
                ),
            ),
        }
    }

    /// The end: everything is committed and held against the reference model.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        let halts = self.expect_halts();
        self.weigh(halts)?;
        self.stop(1)?;
        // What was appended before the stop is durable.
        self.estate.clock.advance_to(self.now_ms() + 200);
        self.estate.pass_time();
        self.audit(true)
    }

    /// Corruption stops the partition and is reported (I26).
    pub(super) fn expect_halts(&self) -> Result<(), Violation> {
        self.expect_no_halts()?;
        match self.doomed.iter().find(|(partition, doom)| !self.has_halted(**partition, doom)) {
            None => Ok(()),
            Some((partition, doom)) => {
                let names = names_to_halt(*partition, doom);
                let what = format!("partition {partition}, {doom:?}: none of {names:?} has halted");
                Err(Violation::new("I26", what))
            }
        }
    }

    /// A fold that has read what was trimmed goes on. Of a trimmed journal the intake may lack its own
    /// outputs, which it has to compare (rule 6).
    fn expect_no_halts(&self) -> Result<(), Violation> {
        for (partition, doom) in &self.doomed {
            let Doom::Trimmed { is_journal, start, may_halt, .. } = doom else { continue };
            let name = format!("{}/{partition}", if *is_journal { "views" } else { "intake" });
            if !may_halt && self.lacked_beginning.contains(&name) {
                let what = format!("{name} has halted, although it had read what was trimmed below {start}");
                return Err(Violation::new("I26", what));
            }
        }
        Ok(())
    }

    /// Whether a fold that must notice has halted since, if there is one.
    fn has_halted(&self, partition: u16, doom: &Doom) -> bool {
        let names = names_to_halt(partition, doom);
        names.is_empty() || names.iter().any(|name| self.halted_ever.contains(name))
    }

    /// Holds what is durable against the reference model.
    pub(super) fn audit(&mut self, is_final: bool) -> Result<(), Violation> {
        if !is_final {
            self.follow()?;
        }
        let is_forgotten = |partition: u16| self.is_forgotten(partition);
        let is_ruined = |partition: u16| self.is_ruined(partition);
        let is_given_up = |partition: u16| self.is_given_up(partition);
        let is_off = |op: &Op| matches!(op, Op::Jump { .. } | Op::Freeze { .. } | Op::Zombie { .. });
        let scope = audit::Scope {
            estate: &self.estate,
            options: &self.plan.options,
            limits: views_limits(&self.plan.options),
            is_forgotten: &is_forgotten,
            is_ruined: &is_ruined,
            is_given_up: &is_given_up,
            lost_orders: &self.lost_orders,
            doomed: &self.doomed,
            acknowledged: if is_final { &self.clients.acknowledged } else { &[] },
            are_clocks_right: !self.plan.steps.iter().any(|step| is_off(&step.op)),
            is_final,
        };
        let counts = match scope.run() {
            Ok(counts) => counts,
            Err(violation) => return self.weigh(Err(violation)),
        };
        if is_final {
            self.stats.duplicates += counts.duplicate;
            self.stats.accepted += counts.accepted;
            self.stats.sometimes("verdict.conflict", counts.conflict);
            self.stats.sometimes("verdict.rejected", counts.rejected);
            self.stats.sometimes("verdict.undecodable", counts.undecodable);
            self.stats.sometimes("order.credited", counts.credited);
            self.stats.sometimes("order.refused", counts.refused);
            self.stats.sometimes("order.reported", counts.reported);
            self.stats.effects += counts.effects;
        }
        Ok(())
    }
}

/// The folds of which one at least must notice.
fn names_to_halt(partition: u16, doom: &Doom) -> Vec<String> {
    let (intake, views) = (format!("intake/{partition}"), format!("views/{partition}"));
    match doom {
        Doom::Damaged | Doom::Lost { must_halt: true, .. } => vec![intake, views],
        Doom::Store { is_intake: true, must_halt: true, .. } => vec![intake],
        Doom::Store { is_intake: false, must_halt: true, .. } => vec![views],
        Doom::Trimmed { is_journal, must_halt: true, .. } => vec![if *is_journal { views } else { intake }],
        Doom::Lost { .. } | Doom::Store { .. } | Doom::Trimmed { .. } => Vec::new(),
    }
}
