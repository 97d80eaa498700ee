//! A vector that grows without moving what it holds: a large one must not stop the fold while it is
//! copied, nor take its memory twice.

use std::ops::{Index, IndexMut};

/// Items of a page, as a power of two.
const PAGE_SHIFT: u32 = 12;
const PAGE_ITEMS: usize = 1 << PAGE_SHIFT;

/// Items by number, in pages.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Pages<T> {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    /// Number of items.
    pub(super) fn len(&self) -> usize {
        match self.pages.split_last() {
            Some((last, full)) => full.len() * PAGE_ITEMS + last.len(),
            None => 0,
        }
    }

    /// Adds an item; its number is the length before.
    pub(super) fn push(&mut self, item: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE_ITEMS => last.push(item),
            _ => {
                let mut page = Vec::with_capacity(PAGE_ITEMS);
                page.push(item);
                self.pages.push(page);
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.pages.get((number >> PAGE_SHIFT) as usize)?.get(number as usize % PAGE_ITEMS)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.pages.get_mut((number >> PAGE_SHIFT) as usize)?.get_mut(number as usize % PAGE_ITEMS)
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.pages[(number >> PAGE_SHIFT) as usize][number as usize % PAGE_ITEMS]
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.pages[(number >> PAGE_SHIFT) as usize][number as usize % PAGE_ITEMS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_number_across_pages() {
        let mut pages = Pages::new();
        let count = 2 * PAGE_ITEMS as u32 + 3;
        for number in 0..count {
            assert_eq!(pages.len(), number as usize);
            pages.push(number);
        }
        assert!((0..count).all(|number| pages[number] == number && pages.get(number) == Some(&number)));
        assert_eq!(pages.get(count), None);
        assert_eq!(pages.get_mut(u32::MAX), None);
        pages[PAGE_ITEMS as u32] = 7;
        assert_eq!(pages.get(PAGE_ITEMS as u32), Some(&7));
    }
}
