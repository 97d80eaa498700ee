//! Scripted tasks on real threads.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::clock::ManualClock;
use crate::memory::log::MemoryLog;
use crate::task::TaskError;

/// Works for so many steps, then does what its end says.
struct Script {
    name: String,
    work: usize,
    end: End,
    seen: Arc<Seen>,
}

#[derive(Clone, Copy)]
enum End {
    Idle,
    Error,
    Panic,
    StopFails,
}

#[derive(Default)]
struct Seen {
    steps: AtomicUsize,
    stopped: AtomicBool,
    halted: Mutex<Option<String>>,
}

impl Task for Script {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self) -> Result<Step, TaskError> {
        if self.seen.steps.fetch_add(1, Ordering::SeqCst) < self.work {
            return Ok(Step::Worked(1));
        }
        match self.end {
            End::Error => Err(TaskError::Other("bad input".to_owned())),
            End::Panic => panic!("a bug in {}", self.name),
            End::Idle | End::StopFails => Ok(Step::Idle),
        }
    }

    fn stop(&mut self) -> Result<(), TaskError> {
        self.seen.stopped.store(true, Ordering::SeqCst);
        match self.end {
            End::StopFails => Err(TaskError::StopTimeout { waited_ms: 3 }),
            _ => Ok(()),
        }
    }

    fn halt(&mut self, reason: &str) {
        *self.seen.halted.lock() = Some(reason.to_owned());
    }
}

struct Run {
    log: Arc<MemoryLog>,
    workers: Workers,
    seen: Vec<Arc<Seen>>,
    told: Arc<Mutex<Vec<String>>>,
}

fn run(threads: usize, idle_wait: Duration, scripts: &[(usize, End)]) -> Run {
    let log = Arc::new(MemoryLog::new(1, Arc::new(ManualClock::at(0))));
    let seen: Vec<Arc<Seen>> = scripts.iter().map(|_| Arc::default()).collect();
    let tasks = scripts.iter().zip(&seen).enumerate().map(|(index, ((work, end), seen))| {
        let name = format!("task/{index}");
        Box::new(Script { name, work: *work, end: *end, seen: seen.clone() }) as Box<dyn Task>
    });
    let told = Arc::<Mutex<Vec<String>>>::default();
    let tell = told.clone();
    let on_halt: OnHalt = Arc::new(move |task, reason| tell.lock().push(format!("{task}: {reason}")));
    let options = WorkerOptions { threads, idle_wait, on_halt };
    let workers = Workers::start(options, log.clone(), tasks.collect()).unwrap();
    Run { log, workers, seen, told }
}

impl Run {
    fn wait_until(&self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..6000 {
            let seen = self.log.progress().version();
            if is_so(self) {
                return;
            }
            self.log.progress().wait(seen, Duration::from_millis(10));
        }
        panic!("it did not come to it");
    }

    fn steps(&self, task: usize) -> usize {
        self.seen[task].steps.load(Ordering::SeqCst)
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);

#[test]
fn tasks_of_a_thread_take_turns() {
    // One with endless work does not keep the other from its steps.
    for threads in [1, 2] {
        let run = run(threads, LONG, &[(usize::MAX, End::Idle), (1000, End::Idle), (1000, End::Idle)]);
        run.wait_until(|run| run.steps(1) > 1000 && run.steps(2) > 1000 && run.steps(0) > 1000);
        assert_eq!(run.workers.stop(), []);
    }
}

#[test]
fn idle_threads_wait_for_progress_or_their_time() {
    let patient = run(1, LONG, &[(3, End::Idle)]);
    patient.wait_until(|run| run.steps(0) >= 4);
    let before = patient.steps(0);
    patient.log.progress().bump();
    patient.wait_until(|run| run.steps(0) > before);
    assert!(patient.steps(0) < 100, "an idle task is stepped over and over");

    let impatient = run(1, SHORT, &[(0, End::Idle)]);
    impatient.wait_until(|run| run.steps(0) > 10);
}

#[test]
fn an_error_or_a_panic_halts_one_task_and_is_told() {
    let run = run(2, SHORT, &[(2, End::Error), (3, End::Panic), (0, End::Idle), (1, End::Idle)]);
    run.wait_until(|run| run.told.lock().len() == 2 && run.steps(2) > 20 && run.steps(3) > 20);
    assert_eq!((run.steps(0), run.steps(1)), (3, 4));
    let seen = run.seen.clone();
    let told = run.told.clone();
    let mut halted = run.workers.stop();
    halted.sort_by(|left, right| left.task.cmp(&right.task));
    let expected = [("task/0", "bad input"), ("task/1", "panic: a bug in task/1")];
    let expected = expected.map(|(task, reason)| Halted { task: task.to_owned(), reason: reason.to_owned() });
    assert_eq!(halted, expected);
    let mut told = told.lock().clone();
    told.sort();
    assert_eq!(told, ["task/0: bad input", "task/1: panic: a bug in task/1"]);
    assert_eq!(seen[0].halted.lock().as_deref(), Some("bad input"));
    assert_eq!(seen[1].halted.lock().as_deref(), Some("panic: a bug in task/1"));
    let stopped: Vec<bool> = seen.iter().map(|seen| seen.stopped.load(Ordering::SeqCst)).collect();
    assert_eq!(stopped, [false, false, true, true]);
}

#[test]
fn a_stop_that_fails_is_reported_and_a_drop_stops_nothing_gracefully() {
    let stopping = run(1, LONG, &[(0, End::StopFails), (0, End::Idle)]);
    let seen = stopping.seen.clone();
    let halted = stopping.workers.stop();
    assert_eq!(halted.len(), 1);
    assert_eq!(halted[0].task, "task/0");
    assert!(seen[1].stopped.load(Ordering::SeqCst));

    let abandoned = run(1, LONG, &[(0, End::Idle)]);
    abandoned.wait_until(|run| run.steps(0) > 0);
    let seen = abandoned.seen.clone();
    drop(abandoned);
    assert!(!seen[0].stopped.load(Ordering::SeqCst));
}
