//! What was said for certain about the attempts of an order, and reached its sender. A partner keeps it
//! of its own answers, so that what the adapter makes of them is held against it too (I11).

use std::collections::BTreeSet;

use super::partner::Answered;
use super::wire::{Item, Said};

/// Something certain about one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was done, now or before, or it was not done and may be tried again.
    Answered,
    /// It was not done and never will be.
    Rejected,
}

/// All that was said about one order.
#[derive(Debug, Default)]
pub struct Words {
    /// Attempts of which nobody has learnt anything for certain.
    unanswered: BTreeSet<u64>,
    /// The process that was told, since it sent the order last, that it is rejected.
    rejected_to: Option<u64>,
}

impl Words {
    /// A process makes an attempt.
    pub fn sent(&mut self, attempt: u64, process: u64) {
        self.unanswered.insert(attempt);
        // What a replaced process still sends takes nothing back from the one that replaced it.
        self.rejected_to = self.rejected_to.filter(|told| *told > process);
    }

    /// An answer to an attempt, or to a question (attempt 0), has reached its process.
    pub fn heard(&mut self, attempt: u64, word: Word, process: u64) {
        self.unanswered.remove(&attempt);
        if word == Word::Rejected {
            self.rejected_to = Some(process);
        }
    }

    /// Whether there was an attempt of which nobody knows what became of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether the last that was said is that the order is rejected.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected_to.is_some()
    }
}

/// What an answer says for certain, item by item. `said` is about some of the items, in their order,
/// and what a readable body of a success tells.
#[must_use]
pub fn certain(items: &[Item], answer: &Answered, said: &[Said]) -> Vec<Option<Word>> {
    match answer {
        (200..=299, _, Some(_)) => {
            let mut said = said.iter().peekable();
            let word = |item: &Item| said.next_if(|said| said.is_about(item)).and_then(word_of);
            items.iter().map(word).collect()
        }
        // Refused as a whole: of a batch that says nothing about one order.
        (400 | 413 | 422, ..) if items.len() == 1 => vec![Some(Word::Rejected)],
        (400 | 401 | 403 | 404 | 405 | 413 | 422 | 429, ..) => vec![Some(Word::Answered); items.len()],
        _ => vec![None; items.len()],
    }
}

fn word_of(said: &Said) -> Option<Word> {
    match said.result() {
        "credited" | "duplicate" | "throttled" => Some(Word::Answered),
        "rejected" => Some(Word::Rejected),
        _ => None,
    }
}
