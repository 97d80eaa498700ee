//! The end of a process at any call of a port. Every call that changes something passes two
//! points, before and after its effect; the fuse counts them down and ends the process at one. While
//! a process opens it hardly does anything but read, so that reads may count too: see
//! [`Fuse::count_reads`]. All ports of a world share one fuse, of the process that runs: see
//! [`Fuse::exchange`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a burnt fuse unwinds with. Nobody but [`Fuse::run`] should meet it.
struct Burnt;

/// Ends the process of one world.
#[derive(Debug, Default)]
pub struct Fuse {
    /// Points left; 0 when no end is planned.
    left: AtomicU64,
    burnt: AtomicBool,
    reads_count: AtomicBool,
    process: AtomicU64,
}

/// The fuse of a process that does not run at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wick {
    /// Points left; 0 when no end is planned.
    pub left: u64,
    /// Whether it has ended.
    pub burnt: bool,
    /// Whether its reads are points.
    pub reads_count: bool,
    /// Its number.
    pub process: u64,
}

/// How a piece of work in a process ended.
#[derive(Debug)]
pub enum Ran<T> {
    /// It came to its end.
    Through(T),
    /// The process is no more.
    Ended,
    /// The code under test panicked.
    Panicked(String),
}

impl Fuse {
    /// The process ends at the `points`-th point from now.
    pub fn light(&self, points: u64) {
        self.left.store(points.max(1), Ordering::Relaxed);
    }

    /// A new process, with no end planned.
    pub fn renew(&self) {
        self.left.store(0, Ordering::Relaxed);
        self.burnt.store(false, Ordering::Relaxed);
        self.count_reads(false);
    }

    /// From now on reads are points too, or no longer.
    pub fn count_reads(&self, reads_count: bool) {
        self.reads_count.store(reads_count, Ordering::Relaxed);
    }

    /// Reads for somebody who looks on, at which the process does not end.
    pub fn look_on<T>(&self, look: impl FnOnce() -> T) -> T {
        let reads_count = self.reads_count.swap(false, Ordering::Relaxed);
        let seen = look();
        self.count_reads(reads_count);
        seen
    }

    /// From now on this process runs; the one that ran until now is put aside.
    pub fn exchange(&self, wick: &mut Wick) {
        let ran = Wick {
            left: self.left.swap(wick.left, Ordering::Relaxed),
            burnt: self.burnt.swap(wick.burnt, Ordering::Relaxed),
            reads_count: self.reads_count.swap(wick.reads_count, Ordering::Relaxed),
            process: self.process.swap(wick.process, Ordering::Relaxed),
        };
        *wick = ran;
    }

    /// The number of the process that runs.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.process.load(Ordering::Relaxed)
    }

    /// The process that runs has this number.
    pub fn set_process(&self, process: u64) {
        self.process.store(process, Ordering::Relaxed);
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn is_burnt(&self) -> bool {
        self.burnt.load(Ordering::Relaxed)
    }

    /// Whether an end is planned.
    #[must_use]
    pub fn is_lit(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Passes a point: returns unless the process ends here or has ended before.
    pub fn point(&self) {
        self.stay_ended();
        self.count_down();
    }

    /// For calls that change nothing: a dead process makes none, and one that opens may end at one.
    pub fn check(&self) {
        self.stay_ended();
        if self.reads_count.load(Ordering::Relaxed) {
            self.count_down();
        }
    }

    fn count_down(&self) {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.burnt.store(true, Ordering::Relaxed);
                resume_unwind(Box::new(Burnt));
            }
        }
    }

    fn stay_ended(&self) {
        if self.is_burnt() {
            resume_unwind(Box::new(Burnt));
        }
    }

    /// Runs a piece of the process. The code under test catches panics in places, so what counts is
    /// whether the fuse is burnt afterwards.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Ran<T> {
        let ran = catch_unwind(AssertUnwindSafe(work));
        if self.is_burnt() {
            return Ran::Ended;
        }
        match ran {
            Ok(value) => Ran::Through(value),
            Err(payload) => Ran::Panicked(text_of(&*payload)),
        }
    }
}

/// What a panic says.
#[must_use]
pub fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lit_fuse_ends_the_process_at_its_point_and_keeps_it_ended() {
        let fuse = Fuse::default();
        fuse.light(3);
        let mut passed = 0;
        let ran = fuse.run(|| {
            for _ in 0..10 {
                fuse.point();
                passed += 1;
            }
        });
        assert!(matches!(ran, Ran::Ended) && passed == 2, "{passed}");
        // Code that swallows the end does not get further.
        assert!(matches!(fuse.run(|| drop(catch_unwind(AssertUnwindSafe(|| fuse.check())))), Ran::Ended));
        fuse.renew();
        assert!(matches!(fuse.run(|| fuse.point()), Ran::Through(())));
    }

    #[test]
    fn reads_end_the_process_only_while_they_count() {
        let fuse = Fuse::default();
        fuse.light(1);
        assert!(matches!(fuse.run(|| fuse.check()), Ran::Through(())));
        fuse.count_reads(true);
        assert!(matches!(fuse.run(|| fuse.look_on(|| fuse.check())), Ran::Through(())), "nor for onlookers");
        assert!(matches!(fuse.run(|| fuse.check()), Ran::Ended));
        fuse.renew();
        fuse.light(1);
        assert!(matches!(fuse.run(|| fuse.check()), Ran::Through(())), "a new process begins without");
    }
}
