//! A counter that threads can wait on: somebody made progress since I last looked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes waiting threads when something became readable or durable.
///
/// Read [`Progress::version`], look for work, and if there is none wait for that version to pass:
/// a change between the look and the wait is never missed.
#[derive(Default)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    version: u64,
    hooks: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Progress {
    /// The current version; grows with each [`Progress::bump`].
    pub fn version(&self) -> u64 {
        self.state.lock().version
    }

    /// Records progress and wakes everybody.
    pub fn bump(&self) {
        let hooks = {
            let mut state = self.state.lock();
            state.version += 1;
            state.hooks.clone()
        };
        self.changed.notify_all();
        for hook in hooks {
            hook();
        }
    }

    /// Waits until the version differs from `seen` or `timeout` has passed.
    pub fn wait(&self, seen: u64, timeout: Duration) {
        let mut state = self.state.lock();
        if state.version == seen {
            self.changed.wait_for(&mut state, timeout);
        }
    }

    /// Calls `hook` after each bump, from the bumping thread; it must not block. For bridges to
    /// asynchronous code.
    pub fn on_bump(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.state.lock().hooks.push(hook);
    }
}
