//! The part of `parking_lot` that the product uses, over `shuttle`: each lock, wait and wake-up is
//! a point where the scheduler may go on with another thread.
//!
//! Time: a wait that only gives up in the end ([`Condvar::wait_for`]) never gives up here, so that
//! a lost wake-up is a deadlock, which the scheduler reports. A wait for a moment that must come
//! ([`Condvar::wait_while_for`]) ends at any time.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as model;

pub use shuttle::thread;

/// A mutual exclusion.
pub struct Mutex<T: ?Sized>(model::Mutex<T>);

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// None only while it waits.
    held: Option<model::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A mutex that nobody holds.
    pub const fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until nobody else holds it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { mutex: self, held: Some(held) }
    }

    /// As [`Self::lock`]: the moment at which it would give up never comes.
    pub fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
        Some(self.lock())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_deref().expect("held")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_deref_mut().expect("held")
    }
}

/// A place to wait.
#[derive(Debug, Default)]
pub struct Condvar(model::Condvar);

/// How a wait ended.
#[derive(Clone, Copy, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A place where nobody waits.
    pub const fn new() -> Self {
        Self(model::Condvar::new())
    }

    /// Waits to be woken.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits to be woken, for ever if nobody does.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(false)
    }

    /// Waits while `condition` holds, or until the time is over, which may be at any step.
    pub fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        _: Duration,
    ) -> WaitTimeoutResult {
        while condition(guard) {
            if thread_rng().gen_bool(0.3) {
                return WaitTimeoutResult(true);
            }
            drop(guard.held.take());
            thread::yield_now();
            guard.held = guard.mutex.lock().held.take();
        }
        WaitTimeoutResult(false)
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) -> bool {
        self.0.notify_one();
        true
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) -> usize {
        self.0.notify_all();
        0
    }
}

/// A lock for many readers or one writer.
pub struct RwLock<T: ?Sized>(model::RwLock<T>);

/// Holds a [`RwLock`] to read.
pub type RwLockReadGuard<'a, T> = model::RwLockReadGuard<'a, T>;
/// Holds a [`RwLock`] to write.
pub type RwLockWriteGuard<'a, T> = model::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self(model::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}
