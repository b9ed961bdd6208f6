//! Memory that a batch's input is collected into.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

/// A whole cache line, and the widest vector that the kernels load.
const ALIGNMENT: usize = 64;

/// A growing block of bytes, aligned to 64, that is kept from batch to batch:
/// [`HostBuffer::begin`] keeps the memory and forgets the content, so a steady
/// load allocates nothing.
#[derive(Debug)]
pub struct HostBuffer {
    /// Dangling while `capacity` is zero.
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the block is owned by this value alone.
unsafe impl Send for HostBuffer {}

impl HostBuffer {
    /// An empty buffer; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { start: NonNull::dangling(), len: 0, capacity: 0 }
    }

    /// Empties the buffer and makes room for `bytes`, to be filled by
    /// [`HostBuffer::extend`].
    pub fn begin(&mut self, bytes: usize) {
        self.len = 0;
        self.reserve(bytes);
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(self.len + bytes.len());
        // SAFETY: `reserve` made room for `len + bytes.len()`, and `bytes`
        // can't overlap memory that this value owns exclusively.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(self.len), bytes.len());
        }
        self.len += bytes.len();
    }

    /// What was written since [`HostBuffer::begin`].
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written by `extend`; a dangling
        // start is aligned and `len` is zero then.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn reserve(&mut self, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        // Doubling, so that batches that creep up don't allocate each time.
        let capacity = capacity.max(self.capacity.saturating_mul(2)).max(ALIGNMENT);
        let layout = Self::layout(capacity);
        // SAFETY: `capacity` is at least ALIGNMENT, never zero.
        let block = unsafe { alloc::alloc(layout) };
        let Some(block) = NonNull::new(block) else { alloc::handle_alloc_error(layout) };
        // SAFETY: both blocks hold at least `len` bytes and are distinct.
        unsafe { std::ptr::copy_nonoverlapping(self.start.as_ptr(), block.as_ptr(), self.len) };
        self.release();
        self.start = block;
        self.capacity = capacity;
    }

    fn release(&mut self) {
        if self.capacity > 0 {
            // SAFETY: allocated by `reserve` with this very layout.
            unsafe { alloc::dealloc(self.start.as_ptr(), Self::layout(self.capacity)) };
            self.capacity = 0;
        }
    }

    fn layout(capacity: usize) -> Layout {
        match Layout::from_size_align(capacity, ALIGNMENT) {
            Ok(layout) => layout,
            // Over isize::MAX bytes: no allocator has them.
            Err(_) => alloc::handle_alloc_error(Layout::new::<u8>()),
        }
    }
}

impl Default for HostBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_memory_and_alignment_from_batch_to_batch() {
        let mut buffer = HostBuffer::new();
        assert!(buffer.as_slice().is_empty());
        buffer.begin(3);
        buffer.extend(&[1, 2, 3]);
        buffer.extend(&[4; 200]);
        assert_eq!(&buffer.as_slice()[..4], &[1, 2, 3, 4]);
        assert_eq!(buffer.as_slice().len(), 203);
        let start = buffer.as_slice().as_ptr();
        assert_eq!(start.align_offset(ALIGNMENT), 0);
        buffer.begin(100);
        buffer.extend(&[9; 100]);
        assert_eq!(buffer.as_slice(), &[9; 100]);
        assert_eq!(buffer.as_slice().as_ptr(), start, "no new memory for a smaller batch");
    }
}
