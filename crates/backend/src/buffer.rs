//! Memory into which a batch's input is collected.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// A whole cache line, and the widest vector load of the kernels.
const ALIGNMENT: usize = 64;

/// A source of host memory other than the allocator: pinned memory, from which
/// a device copies without waiting.
pub trait HostMemory: Send + Sync {
    /// A block of at least `bytes`, aligned to 64. `None` if this kind of
    /// memory is exhausted, and ordinary memory has to do.
    fn allocate(&self, bytes: usize) -> Option<Box<dyn HostBlock>>;
}

/// A block of host memory; dropping it frees it.
///
/// # Safety
/// The `capacity` bytes from `start` belong to this value alone and may be read
/// and written on any thread until it is dropped. `start` is aligned to 64.
pub unsafe trait HostBlock: Send {
    /// Its first byte.
    fn start(&self) -> NonNull<u8>;
    /// Its length in bytes.
    fn capacity(&self) -> usize;
}

/// A growing block of bytes, aligned to 64, that is kept from batch to batch.
/// [`HostBuffer::begin`] keeps the memory and discards the content, so a steady
/// load allocates nothing.
pub struct HostBuffer {
    /// `None` until the first write.
    block: Option<Box<dyn HostBlock>>,
    len: usize,
    memory: Option<Arc<dyn HostMemory>>,
}

impl HostBuffer {
    /// An empty buffer in ordinary memory; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { block: None, len: 0, memory: None }
    }

    /// An empty buffer whose memory comes from `memory`; allocates nothing.
    #[must_use]
    pub fn within(memory: Option<Arc<dyn HostMemory>>) -> Self {
        Self { block: None, len: 0, memory }
    }

    /// Empties the buffer and reserves `bytes`, to be filled by
    /// [`HostBuffer::extend`].
    pub fn begin(&mut self, bytes: usize) {
        self.len = 0;
        self.reserve(bytes);
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(self.len + bytes.len());
        let Some(block) = &self.block else { return };
        // SAFETY: `reserve` made room for `len + bytes.len()`, and `bytes`
        // can't overlap memory that this value owns exclusively.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), block.start().as_ptr().add(self.len), bytes.len());
        }
        self.len += bytes.len();
    }

    /// Appends `element` `count` times.
    pub fn repeat(&mut self, element: &[u8], count: usize) {
        let bytes = element.len() * count;
        self.reserve(self.len + bytes);
        let Some(block) = self.block.as_ref().filter(|_| bytes > 0) else { return };
        // SAFETY: `reserve` made room for `bytes` after `len`, in memory that
        // this value owns exclusively.
        unsafe {
            let start = block.start().as_ptr().add(self.len);
            if element.iter().all(|byte| *byte == element[0]) {
                std::ptr::write_bytes(start, element[0], bytes);
            } else {
                for index in 0..count {
                    let place = start.add(index * element.len());
                    std::ptr::copy_nonoverlapping(element.as_ptr(), place, element.len());
                }
            }
        }
        self.len += bytes;
    }

    /// The bytes written since [`HostBuffer::begin`].
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        let Some(block) = &self.block else { return &[] };
        // SAFETY: the first `len` bytes were written by `extend`.
        unsafe { std::slice::from_raw_parts(block.start().as_ptr(), self.len) }
    }

    fn reserve(&mut self, needed: usize) {
        let capacity = self.block.as_ref().map_or(0, |block| block.capacity());
        if needed <= capacity {
            return;
        }
        // Doubling, so that slowly growing batches don't allocate each time.
        let wanted = needed.max(capacity.saturating_mul(2)).max(ALIGNMENT);
        let special = self.memory.as_ref().and_then(|memory| memory.allocate(wanted));
        let block = special.unwrap_or_else(|| Box::new(OwnBlock::new(wanted)));
        if let Some(old) = &self.block {
            // SAFETY: both blocks hold at least `len` bytes and are distinct.
            unsafe {
                std::ptr::copy_nonoverlapping(old.start().as_ptr(), block.start().as_ptr(), self.len);
            }
        }
        self.block = Some(block);
    }
}

impl Default for HostBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Ordinary memory.
struct OwnBlock {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: the memory is owned by this value alone.
unsafe impl Send for OwnBlock {}

// SAFETY: allocated with this capacity and alignment, freed when dropped.
unsafe impl HostBlock for OwnBlock {
    fn start(&self) -> NonNull<u8> {
        self.start
    }
    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl OwnBlock {
    /// `capacity` is at least [`ALIGNMENT`].
    fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: the layout's size isn't zero.
        let start = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(start) else { alloc::handle_alloc_error(layout) };
        Self { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        match Layout::from_size_align(capacity, ALIGNMENT) {
            Ok(layout) => layout,
            // Over isize::MAX bytes: no allocator can provide them.
            Err(_) => alloc::handle_alloc_error(Layout::new::<u8>()),
        }
    }
}

impl Drop for OwnBlock {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this very layout.
        unsafe { alloc::dealloc(self.start.as_ptr(), Self::layout(self.capacity)) };
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

    #[test]
    fn repeats_an_element_of_any_size() {
        let mut buffer = HostBuffer::new();
        buffer.begin(4);
        buffer.extend(&[9]);
        buffer.repeat(&[1, 0], 3);
        buffer.repeat(&[5, 5, 5, 5], 2);
        buffer.repeat(&[7], 0);
        buffer.repeat(&[], 3);
        assert_eq!(buffer.as_slice(), [9, 1, 0, 1, 0, 1, 0, 5, 5, 5, 5, 5, 5, 5, 5]);
    }

    /// Gives one block, then no more.
    struct One(std::sync::atomic::AtomicBool);

    impl HostMemory for One {
        fn allocate(&self, bytes: usize) -> Option<Box<dyn HostBlock>> {
            let first = !self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
            first.then(|| Box::new(OwnBlock::new(bytes)) as Box<dyn HostBlock>)
        }
    }

    #[test]
    fn goes_on_in_ordinary_memory_where_there_is_no_more_of_the_other() {
        let mut buffer = HostBuffer::within(Some(Arc::new(One(false.into()))));
        buffer.extend(&[7; 64]);
        let special = buffer.as_slice().as_ptr();
        buffer.extend(&[8; 1000]);
        assert_ne!(buffer.as_slice().as_ptr(), special);
        assert_eq!((buffer.as_slice()[0], buffer.as_slice()[1063]), (7, 8));
    }
}
