//! What happened, as a running hash, for the determinism check, and as lines for people.

use parking_lot::Mutex;

/// The history of one run. Shared by all parts of a world.
#[derive(Debug, Default)]
pub struct Trace {
    inner: Mutex<Inner>,
    is_verbose: bool,
}

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    events: u64,
    lines: Vec<Line>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Line {
    /// True time, in milliseconds since the start of the run.
    pub at_ms: i64,
    /// What happened.
    pub text: String,
    /// Hash of everything up to here: the first line in which two runs differ is where they part.
    pub hash: u64,
}

impl Trace {
    /// A trace that also keeps lines.
    #[must_use]
    pub fn verbose() -> Self {
        Self { is_verbose: true, ..Self::default() }
    }

    /// Whether lines are kept.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.is_verbose
    }

    /// Notes an event: its kind and two numbers that tell it from others go into the hash, the text
    /// is made only for people.
    pub fn note(&self, at_ms: i64, kind: &str, numbers: [u64; 2], text: impl FnOnce() -> String) {
        let mut inner = self.inner.lock();
        let mut hash = mix(inner.hash, at_ms.cast_unsigned());
        for byte in kind.bytes() {
            hash = mix(hash, u64::from(byte));
        }
        inner.hash = mix(mix(hash, numbers[0]), numbers[1]);
        inner.events += 1;
        if self.is_verbose {
            let (hash, text) = (inner.hash, format!("{kind} {}", text()));
            inner.lines.push(Line { at_ms, text, hash });
        }
    }

    /// Hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.inner.lock().hash
    }

    /// Number of events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner.lock().events
    }

    /// The lines kept.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.inner.lock().lines.clone()
    }
}

/// Mixes a number into a hash.
#[must_use]
pub fn mix(hash: u64, number: u64) -> u64 {
    let mixed = (hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 32)).rotate_left(17)
}
