//! Planted bugs, to find out whether the simulator and the tests of the segment log would notice
//! them. They exist only with the feature `mutants`; without it [`mutant!`](crate::mutant) is the constant `false`.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Declares the mutants with what each one is.
macro_rules! mutants {
    ($($name:ident, $what:literal;)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "`Mutant::what` says it")]
        pub enum Mutant { None, $($name),* }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What is wrong with it.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { Self::None => "nothing", $(Self::$name => $what),* }
            }
        }
    };
}

// In brackets: the rule that the bug takes away, and what breaks by it in the end. An oracle may see a
// forerunner of that first.
mutants! {
    M01, "state is committed before its outputs are durable (rule 1, I6)";
    M02, "state is committed with an older offset (I6)";
    M03, "the offset is committed without the state (I6)";
    M04, "a failed commit counts as done (I6)";
    M05, "records that were applied are applied again (I5)";
    M06, "a gap in a writer's records is ignored (rule 2, I5)";
    M07, "records of a replaced writer are applied (rule 3, I24)";
    M08, "marks of writers are not committed (I5)";
    M09, "sequences of outputs begin anew after a restart (rule 6, I4)";
    M10, "outputs behind the state are believed to be there (rule 6, I6)";
    M11, "a commit is made while records are held aside (rule 2, I6)";
    M12, "the last applied record is not compared at the start (rule 5, I26)";
    M13, "order numbers that left the window are forgotten (I2)";
    M14, "order numbers are not committed (I2)";
    M15, "orders are readable before their journal, in groups of their own (rule 1, I1)";
    M16, "a conflict is taken for a duplicate (I3)";
    M17, "a duplicate is accepted again (I2)";
    M18, "a refused award uses up its order number (I1)";
    M19, "the cap of an award is not looked at (I1)";
    M20, "amounts of zero and less are accepted (I8)";
    M21, "a fold depends on something outside of the log (I4)";
    M22, "older settings come into force again (I30)";
    M23, "time goes back (I4)";
    M24, "awards of another partition are accepted (I2)";
    M25, "another person's order number is accepted (I1)";
    M26, "settings are lost at a restart (I30)";
    M28, "a credit adds one minor unit, whatever the amount (I15)";
    M29, "an attempt that was running at a crash is forgotten (I10)";
    M30, "the life of a key is counted from the last intent (I14)";
    M31, "requests leave before their intent is durable (rule 4, I12)";
    M32, "a new process goes on in the epoch of the one before (rule 3, I11)";
    M33, "the same key is sent again after its life (I14)";
    M34, "a clock that went back is believed (I14)";
    M35, "a rejection after an unresolved attempt ends the order as refused (I15)";
    M36, "an unknown outcome is taken for a refusal (I15)";
    M37, "orders are sent again without keys (I14)";
    M38, "an order that is absent when asked is refused (I15)";
    M39, "a limiter begins full (I21)";
    M40, "sends take no permits of their lane (I21)";
    M41, "a missing item of a batch is taken for credited (I15)";
    M42, "a status 500 is taken for not done (I10)";
    M43, "a status 409 is taken for credited (I15)";
    M44, "the key differs from attempt to attempt (I13)";
    M45, "unresolved orders of an earlier process are taken for fresh (I10, I14)";
    M46, "the first order behind the low-water mark is skipped (I11)";
    M47, "orders that have ended are read again (I10)";
    M48, "orders of a withdrawn batch are forgotten (I11)";
    M49, "facts that a full log refused are forgotten (I11)";
    M50, "a settled attempt settles the ones before it (I10, I14)";
    M51, "the ledger answers before its book is durable (I25)";
    M52, "the ledger forgets what it has credited (I10)";
    M53, "the ledger commits accounts twice after a restart (I6)";
    M54, "asks are not bounded (I29)";
    M55, "the payload of a key differs from attempt to attempt (I13)";
    M56, "an intent counts when it is durable, although others write (rule 4, I12)";
    M57, "whether another process has opened the lane is not looked at (rule 4, I12)";
    M58, "requests leave however long ago their intent was read (rule 4, I24)";
    M59, "the winner of an epoch is whoever opened it last (rule 3, I24)";
    M60, "an intent counts before the journal was read up to it (rule 4, I12)";
    M61, "what was trimmed before it was read is skipped over (rule 8, I26)";
    M62, "limits do not begin anew where a lane is taken over (I21)";
    M63, "a request leaves although who took over may have used up its key (rule 4, I14)";
    M64, "fresh orders are taken on however many are unresolved (I29)";
    M65, "lower lanes take the permits that cash waits for (I20)";
    M66, "frames of an earlier use of a segment are believed (rule 7)";
    M67, "a damaged frame is always cut off (rule 7, I26)";
    M68, "a group is acknowledged before its sync (I25)";
    M69, "a lane reads on over a gap of its orders (rule 2, I11, I27)";
    M70, "asks take no permits (I21)";
    M71, "totals state the time of the partition that is furthest (I18)";
    M72, "a wallet is that of the last commit and says that it is of now (I15)";
    M73, "totals are summed in floating point (I8)";
    M74, "balances of the ledger are summed in floating point (I8)";
    M75, "sums of a wallet have 64 bits and wrap (I8)";
    M76, "balances of the ledger have 64 bits and wrap (I8)";
    M77, "awards are decided in the order of a hash table (I4)";
    M78, "settings are in force for awards that stand before them (I30)";
    M79, "a missing item of a batch is taken for rejected (I15)";
    M80, "order numbers are told apart without the person (I2)";
    M81, "order numbers are told apart by person and scene alone (I2)";
    M82, "a wallet shows as credited what is accepted (I15)";
    M83, "a wallet shows as credited what was refused or reported (I15)";
    M84, "credited totals begin anew after a restart (I18)";
    M85, "totals leave out what has not changed since the last commit (I18)";
    M86, "a conflict is told with the amount of no award (I3)";
    M87, "orders of all lanes are numbered by the first lane (I5)";
    M88, "what is pending is reserved as if it were credited (I16)";
    M89, "a row depends on the commits on the way (I19)";
    M90, "clients are told before their awards are durable (I25)";
    M91, "a failed sync is tried again and believed (I25)";
    M92, "the rows of a commit are taken in before its offset (I6)";
    M93, "orders that were tried before always go first, also as probes (I27)";
    M94, "an intake goes on over a journal that lacks what could be read at its last commit (I14, rule 5)";
    M95, "lanes go on where the intake's store proves that the log lost something (I14, rule 5)";
    M96, "a throttled order is refused (I11)";
    M97, "an order is reported at its first unknown outcome (I11)";
    M98, "all orders of a batch are sent as its first one (I9)";
    M99, "a request that left without an answer is taken for not sent (I10)";
    M100, "a gap in a writer's records is waited for without end (rule 2, I26)";
    M101, "the API answers before the awards are durable (I25)";
}

/// Bugs in what the simulator does without.
#[derive(Clone, Copy, Debug)]
pub struct Below {
    /// A word for it.
    pub what: &'static str,
    /// The test that catches them.
    pub test: &'static str,
    /// The bugs.
    pub mutants: &'static [Mutant],
}

impl Below {
    /// The files of the log.
    pub const SEGMENTS: Self = Self {
        what: "segment",
        test: "engine/segments/tests/planted.rs",
        mutants: &[Mutant::M66, Mutant::M67, Mutant::M68, Mutant::M91],
    };

    /// The files of the stores.
    pub const STORES: Self =
        Self { what: "store", test: "engine/rocks/tests/planted.rs", mutants: &[Mutant::M92] };

    /// The API, for which simulated clients stand.
    pub const API: Self = Self { what: "api", test: "api/src/tests/publishing.rs", mutants: &[Mutant::M101] };

    /// Connections over HTTP.
    pub const HTTP: Self = Self { what: "http", test: "sinks/tests/planted.rs", mutants: &[Mutant::M99] };

    /// All of it.
    pub const ALL: [Self; 4] = [Self::SEGMENTS, Self::STORES, Self::API, Self::HTTP];

    /// Plants each of these bugs in turn, for the whole process, in which no other test may run. A bug is
    /// caught when its scenario panics with it and does not without it. What became of each is told on stdout,
    /// where `scripts/planted` and `scripts/sim` look for it.
    ///
    /// # Panics
    /// A scenario breaks without its bug, or a bug was missed.
    pub fn are_caught(self, scenario: fn(Mutant) -> fn()) {
        let mut missed = Vec::new();
        for mutant in self.mutants {
            let play = scenario(*mutant);
            play();
            plant(*mutant);
            let is_caught = catch_unwind(play).is_err();
            plant(Mutant::None);
            println!("{mutant:?} {}: {}", if is_caught { "caught" } else { "MISSED" }, mutant.what());
            missed.extend((!is_caught).then_some(*mutant));
        }
        assert!(missed.is_empty(), "{missed:?} missed");
    }
}

impl Mutant {
    /// Who catches it, if the simulator does not.
    #[must_use]
    pub fn below(self) -> Option<Below> {
        Below::ALL.into_iter().find(|below| below.mutants.contains(&self))
    }
}

static PLANTED: AtomicU8 = AtomicU8::new(0);
static STRAY: AtomicU64 = AtomicU64::new(0);

/// Plants one bug in this process, in place of any other.
pub fn plant(mutant: Mutant) {
    PLANTED.store(mutant as u8, Ordering::Relaxed);
}

/// Whether this bug is planted. For [`mutant!`](crate::mutant).
#[must_use]
pub fn is_planted(mutant: Mutant) -> bool {
    PLANTED.load(Ordering::Relaxed) == mutant as u8
}

/// Lets [`stray`] begin anew, so that one run of a simulator says nothing to the next.
pub fn restart() {
    STRAY.store(0, Ordering::Relaxed);
}

/// A number that follows from nothing in the log: another one at each call.
#[must_use]
pub fn stray() -> u64 {
    STRAY.fetch_add(1, Ordering::Relaxed)
}
