//! What an answer leads to: pure decisions about one order. The whole of "a definite answer
//! settles an order only if no earlier attempt of it is unresolved" (I10, I11) and of key life
//! (I14) is here.

use std::time::Duration;

use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use crate::downstream::{KeyLife, Outcome, Reason, Told};

/// What is known of an order besides the answer at hand.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// An earlier attempt may have taken effect.
    pub is_unresolved: bool,
    /// Counted attempts, the one at hand included.
    pub failures: u32,
    /// Time since the first intent (the one at hand if nothing is unresolved); none when it is
    /// unknowable.
    pub elapsed: Option<Duration>,
    /// How long this process has been after it.
    pub held_for: Duration,
}

/// What a downstream and the policy allow.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long keys are remembered.
    pub key_life: KeyLife,
    /// Whether it can be asked.
    pub can_query: bool,
    /// Safety distance before the end of a key's life, for clocks; at most a quarter of it.
    pub key_margin: Duration,
    /// Longest time from the decision to send until the request has arrived, or never will: the
    /// downstream's timeout and batch delay.
    pub send_time: Duration,
    /// Counted attempts after which an order is reported.
    pub attempts_max: u32,
    /// Unresolved for longer than this is reported when asking brings nothing.
    pub unresolved_max: Duration,
}

/// What follows for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has ended; the fact to write.
    End(CreditStage, Reason),
    /// The attempt's fact to write, and how to go on.
    Hold(CreditStage, Reason, Then),
    /// Nothing to write; how to go on.
    Keep(Then),
}

/// How an order goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Send with the same key, not before this time has passed.
    Send {
        /// As stated by the downstream.
        after: Option<Duration>,
    },
    /// Ask what became of it.
    Ask,
}

impl Rules {
    /// Whether the same key may be sent again although an attempt is unresolved: only if the
    /// request is certain to arrive while the key is remembered (I14).
    #[must_use]
    pub fn may_resend(&self, elapsed: Option<Duration>) -> bool {
        match self.key_life {
            KeyLife::Forever => true,
            KeyLife::None => mutant!(M37),
            KeyLife::Lasts(_) if mutant!(M33) => true,
            KeyLife::Lasts(life) => {
                let margin = self.send_time.saturating_add(self.key_margin.min(life / 4));
                elapsed.is_some_and(|elapsed| elapsed.saturating_add(margin) < life)
            }
        }
    }

    /// Whether somebody who took over this long ago may have sent with a key that could be forgotten
    /// before a request that leaves now arrives (I14). Where keys are too short to send again at all,
    /// nobody has.
    #[must_use]
    pub fn may_outlive_key(&self, since: Duration) -> bool {
        !self.may_resend(Some(since)) && self.may_resend(Some(Duration::ZERO))
    }

    /// What the answer to a send leads to.
    #[must_use]
    pub fn after_send(&self, outcome: &Outcome, standing: &Standing) -> Verdict {
        let again = Then::Send { after: None };
        match outcome {
            Outcome::Credited => Verdict::End(CreditStage::Credited, Reason::Borrowed("")),
            Outcome::AlreadyCredited => {
                Verdict::End(CreditStage::Credited, Reason::Borrowed("credited before"))
            }
            Outcome::Throttled { .. } if mutant!(M96) => {
                Verdict::End(CreditStage::Refused, Reason::Borrowed("throttled"))
            }
            Outcome::Throttled { retry_after } => {
                let then = Then::Send { after: *retry_after };
                Verdict::Hold(CreditStage::Deferred, Reason::Borrowed("throttled"), then)
            }
            Outcome::NotSent(reason) => Verdict::Hold(CreditStage::Deferred, reason.clone(), again),
            Outcome::Rejected(reason) if standing.is_unresolved && !mutant!(M35) => {
                let why = format!("rejected after an unresolved attempt: {reason}");
                Verdict::End(CreditStage::Reported, why.into())
            }
            Outcome::Rejected(reason) => Verdict::End(CreditStage::Refused, reason.clone()),
            Outcome::Conflict(reason) => Verdict::End(CreditStage::Reported, reason.clone()),
            Outcome::Unknown(reason) if mutant!(M36) => Verdict::End(CreditStage::Refused, reason.clone()),
            Outcome::Unknown(reason) if mutant!(M97) => Verdict::End(CreditStage::Reported, reason.clone()),
            Outcome::Unknown(reason) => self.after_unknown(reason, standing),
        }
    }

    fn after_unknown(&self, reason: &Reason, standing: &Standing) -> Verdict {
        if self.can_query {
            return Verdict::Hold(CreditStage::Unknown, reason.clone(), Then::Ask);
        }
        match self.resend(standing) {
            Ok(then) => Verdict::Hold(CreditStage::Unknown, reason.clone(), then),
            Err(why) => Verdict::End(CreditStage::Reported, format!("{why}: {reason}").into()),
        }
    }

    /// What an order that an earlier process left unresolved begins with.
    #[must_use]
    pub fn after_restart(&self, standing: &Standing) -> Verdict {
        self.after_unknown(&Reason::Borrowed("restarted before the answer"), standing)
    }

    /// What the answer to an ask leads to.
    #[must_use]
    pub fn after_ask(&self, told: &Told, standing: &Standing) -> Verdict {
        match told {
            Told::Credited => Verdict::End(CreditStage::Credited, Reason::Borrowed("asked")),
            Told::Rejected(reason) => Verdict::End(CreditStage::Refused, reason.clone()),
            Told::Conflict(reason) => Verdict::End(CreditStage::Reported, reason.clone()),
            // Absent does not settle the attempt: its request may still arrive, and find the key.
            Told::Absent if mutant!(M38) => Verdict::End(CreditStage::Refused, Reason::Borrowed("absent")),
            Told::Absent => match self.resend(standing) {
                Ok(then) => Verdict::Keep(then),
                Err(why) => Verdict::End(CreditStage::Reported, format!("absent, {why}").into()),
            },
            Told::Pending | Told::Unknown(_) if standing.held_for > self.unresolved_max => {
                Verdict::End(CreditStage::Reported, Reason::Borrowed("unresolved for too long"))
            }
            Told::Pending | Told::Unknown(_) => Verdict::Keep(Then::Ask),
        }
    }

    /// What an order that is due to be sent does now: time may have run out since it was decided.
    #[must_use]
    pub fn when_due(&self, standing: &Standing) -> Verdict {
        let send = Verdict::Keep(Then::Send { after: None });
        if !standing.is_unresolved {
            return send;
        }
        match self.resend(standing) {
            Ok(_) => send,
            Err(_) if self.can_query => Verdict::Keep(Then::Ask),
            Err(why) => Verdict::End(CreditStage::Reported, Reason::Borrowed(why)),
        }
    }

    fn resend(&self, standing: &Standing) -> Result<Then, &'static str> {
        if self.key_life == KeyLife::None && !mutant!(M37) {
            return Err("never sent twice without keys");
        }
        if !self.may_resend(standing.elapsed) {
            return Err(match standing.elapsed {
                Some(_) => "key life is over",
                None => "a clock went back",
            });
        }
        if standing.failures >= self.attempts_max {
            return Err("too many attempts");
        }
        Ok(Then::Send { after: None })
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
