//! Where the larger values of a document end. Reading descends level by level, and finds the end of every value on each level:
//! with the ends known from the one validating scan, the bytes of a tool's description are not looked at four times.

use super::scan::Notes;
use std::ops::Range;

/// Values shorter than this are scanned again: that is as fast as a look-up.
const SHORT: usize = 48;

/// Containers deeper than this are not noted: readers do not descend further, and the index stays small on any body.
const DEEP: usize = 8;

/// The ends of a document's larger values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// The address of the document's first byte; a part of it is found by its own address.
    base: usize,
    /// (start, end), ascending by start.
    marks: Vec<(u32, u32)>,
    /// Places in `marks` of the containers that are open.
    open: Vec<usize>,
    /// Open containers that are not noted.
    deeper: usize,
}

// === impl Index ===

impl Index {
    pub(super) fn new(document: &[u8]) -> Self {
        let marks = Vec::with_capacity(document.len() / 512);
        Index { base: document.as_ptr() as usize, marks, ..Index::default() }
    }

    /// The length of the value that `rest`, the end of a part of the document, begins with.
    pub(super) fn len_at(&self, rest: &[u8]) -> Option<usize> {
        let start = u32::try_from((rest.as_ptr() as usize).checked_sub(self.base)?).ok()?;
        let at = self.marks.binary_search_by_key(&start, |mark| mark.0).ok()?;
        let len = self.marks.get(at)?.1.checked_sub(start)? as usize;
        (len <= rest.len()).then_some(len)
    }
}

impl Notes for Index {
    fn string(&mut self, inner: &Range<usize>) {
        // Quotes included. Bodies are far below 4 GB; a larger one is only read more slowly.
        if inner.len() >= SHORT
            && self.deeper == 0
            && let (Ok(start), Ok(end)) = (u32::try_from(inner.start - 1), u32::try_from(inner.end + 1))
        {
            self.marks.push((start, end));
        }
    }

    fn open(&mut self, start: usize) {
        match u32::try_from(start) {
            Ok(start) if self.open.len() < DEEP && self.deeper == 0 => {
                self.open.push(self.marks.len());
                self.marks.push((start, start));
            }
            _ => self.deeper += 1,
        }
    }

    fn close(&mut self, end: usize) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        let Some(at) = self.open.pop() else { return };
        let Some(mark) = self.marks.get_mut(at) else { return };
        mark.1 = u32::try_from(end).unwrap_or(mark.0);
        if ((mark.1 - mark.0) as usize) < SHORT {
            // Whatever is inside is shorter still and already gone: this is the last mark.
            self.marks.truncate(at);
        }
    }
}
