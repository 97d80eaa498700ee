//! Zeroed words laid out by cache line. A random access to a large table costs about as much as 200
//! instructions, so tables here answer from one line, and a batch's lines are [touched](Lines::touch)
//! together before they are used: independent loads overlap, a search after a search does not.

/// Words in a cache line of 64 bytes.
pub(super) const LINE_WORDS: usize = 16;

/// Lines of 16 words each.
#[derive(Debug)]
pub(super) struct Lines {
    words: Vec<u32>,
    /// Words before the first line, so that lines are those of the cache.
    skip: usize,
    count: usize,
}

impl Lines {
    /// `count` lines of zeros. The memory is handed out by the system when it is first touched, so
    /// that a large table does not stop the fold while it is cleared.
    pub(super) fn zeroed(count: usize) -> Self {
        let words = vec![0; (count + 1) * LINE_WORDS];
        let skip = words.as_ptr().align_offset(size_of::<u32>() * LINE_WORDS).min(LINE_WORDS);
        Self { words, skip, count }
    }

    /// Number of lines.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u32>()
    }

    #[inline]
    pub(super) fn line(&self, index: usize) -> &[u32; LINE_WORDS] {
        let start = self.skip + index * LINE_WORDS;
        match self.words[start..].first_chunk() {
            Some(line) => line,
            None => &[0; LINE_WORDS],
        }
    }

    #[inline]
    pub(super) fn line_mut(&mut self, index: usize) -> Option<&mut [u32; LINE_WORDS]> {
        let start = self.skip + index * LINE_WORDS;
        self.words.get_mut(start..)?.first_chunk_mut()
    }

    /// Loads a line; pass what the calls return to [`std::hint::black_box`].
    #[inline]
    pub(super) fn touch(&self, index: usize) -> u32 {
        self.words.get(self.skip + index * LINE_WORDS).copied().unwrap_or(0)
    }

    /// Sets everything to zero.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }
}

/// Which of `count` lines a hash belongs to, by its high bits.
#[inline]
pub(super) fn line_of(hash: u32, count: usize) -> usize {
    ((u64::from(hash) * count as u64) >> 32) as usize
}
