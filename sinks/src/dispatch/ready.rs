//! Orders read from a lane and not yet intended, in runs that share their bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::{OrderChunk, Part};

/// A queue of fresh orders.
#[derive(Debug, Default)]
pub struct Ready {
    runs: VecDeque<Part>,
    len: usize,
}

impl Ready {
    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends all orders of a chunk.
    pub fn push(&mut self, chunk: Arc<OrderChunk>) {
        let to = chunk.len() as u32;
        if to > 0 {
            self.len += chunk.len();
            self.runs.push_back(Part::Run { chunk, from: 0, to });
        }
    }

    /// Takes up to `count` orders from the front.
    pub fn take(&mut self, count: usize) -> Vec<Part> {
        let mut parts = Vec::with_capacity(1);
        let mut missing = count;
        while missing > 0
            && let Some(part) = self.runs.pop_front()
        {
            let (taken, rest) = split(part, missing);
            missing -= taken.len();
            self.len -= taken.len();
            parts.push(taken);
            if let Some(rest) = rest {
                self.runs.push_front(rest);
            }
        }
        parts
    }

    /// Puts back what was taken, in front.
    pub fn put_back(&mut self, parts: &[Part]) {
        for part in parts.iter().rev() {
            self.len += part.len();
            self.runs.push_front(part.clone());
        }
    }
}

/// The first `count` orders of a part, at least one, and the rest if there is any.
fn split(part: Part, count: usize) -> (Part, Option<Part>) {
    match part {
        Part::Run { chunk, from, to } if (to - from) as usize > count => {
            let middle = from + count as u32;
            let rest = Part::Run { chunk: Arc::clone(&chunk), from: middle, to };
            (Part::Run { chunk, from, to: middle }, Some(rest))
        }
        whole => (whole, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(first_seq: u64, count: usize) -> Arc<OrderChunk> {
        let mut chunk = OrderChunk::starting_at(first_seq);
        for _ in 0..count {
            chunk.push(b"order");
        }
        Arc::new(chunk)
    }

    fn spans(parts: &[Part]) -> Vec<(u64, usize)> {
        parts.iter().map(|part| (part.first_seq(), part.len())).collect()
    }

    #[test]
    fn takes_across_runs_and_puts_back_in_front() {
        let mut ready = Ready::default();
        for (first_seq, count) in [(1, 5), (6, 0), (10, 3)] {
            ready.push(chunk(first_seq, count));
        }
        assert_eq!(ready.len(), 8);
        let taken = ready.take(6);
        assert_eq!(spans(&taken), [(1, 5), (10, 1)]);
        assert_eq!(ready.len(), 2);
        ready.put_back(&taken);
        assert_eq!(ready.len(), 8);
        assert_eq!(spans(&ready.take(2)), [(1, 2)]);
        assert_eq!(spans(&ready.take(9)), [(3, 3), (10, 1), (11, 2)]);
        assert_eq!((ready.len(), ready.take(1).len()), (0, 0));
    }
}
