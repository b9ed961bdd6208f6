//! Admits request bodies by the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::metrics;

/// The memory that request bodies may take together. A client that sends too
/// much is refused before its bytes are read, and the other requests go on.
#[derive(Debug, Clone)]
pub struct Admission {
    held: Arc<AtomicUsize>,
    limit: usize,
}

/// Memory lent to one request; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    bytes: usize,
}

impl Admission {
    /// At most `limit` bytes at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { held: Arc::default(), limit }
    }

    /// Lends `bytes`.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::Unavailable`] if less than that is left.
    pub fn admit(&self, bytes: usize) -> Result<Permit> {
        let mut permit = Permit { admission: self.clone(), bytes: 0 };
        permit.grow(bytes)?;
        Ok(permit)
    }
}

impl Permit {
    /// Lends `bytes` more.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let Admission { held, limit } = &self.admission;
        let lent = held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            held.checked_add(bytes).filter(|sum| sum <= limit)
        });
        if lent.is_err() {
            return Err(Error::unavailable(format!(
                "the server holds as many bytes of requests as it may ({limit}); try again"
            )));
        }
        self.bytes += bytes;
        metrics::request_bytes().add(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Lends more, if needed, so that the permit holds `bytes` in all.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    pub fn cover(&mut self, bytes: usize) -> Result<()> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    /// The bytes that the permit holds.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves all bytes to a new permit; this one keeps none.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { admission: self.admission.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

/// Bytes that own their permit: the memory is given back when the last slice of
/// the bytes is dropped, in a handler, a queue or a batch. `permit` is a
/// [`Permit`], or a shared one if several pieces lie in the same memory.
pub fn lent(bytes: Bytes, permit: impl AsRef<Permit> + Send + 'static) -> Bytes {
    Bytes::from_owner(Lent { bytes, _permit: permit })
}

struct Lent<P> {
    bytes: Bytes,
    _permit: P,
}

impl<P> AsRef<[u8]> for Lent<P> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<Permit> for Permit {
    fn as_ref(&self) -> &Permit {
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.held.fetch_sub(self.bytes, Ordering::AcqRel);
        metrics::request_bytes().sub(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slice_of_lent_bytes_gives_their_memory_back() {
        let admission = Admission::new(100);
        let own = lent(Bytes::from_static(b"own"), admission.admit(60).unwrap());
        let shared = Arc::new(admission.admit(40).unwrap());
        let pieces = [b"a", b"b"].map(|piece| lent(Bytes::from_static(piece), Arc::clone(&shared)));
        let slice = own.slice(1..);
        drop((own, shared));
        assert!(admission.admit(1).is_err(), "a slice and two pieces are held");
        drop(slice);
        assert!(admission.admit(60).is_ok() && admission.admit(61).is_err());
        drop(pieces);
        assert!(admission.admit(100).is_ok());
    }

    #[test]
    fn memory_is_lent_up_to_the_limit_and_given_back() {
        let admission = Admission::new(100);
        let mut first = admission.admit(60).unwrap();
        assert!(admission.admit(41).is_err());
        first.grow(40).unwrap();
        assert!(first.grow(usize::MAX).is_err());
        let taken = first.take();
        drop(first);
        assert!(admission.admit(1).is_err(), "what was taken is still lent");
        drop(taken);
        let mut permit = admission.admit(10).unwrap();
        permit.cover(5).unwrap();
        assert!(permit.cover(101).is_err());
        permit.cover(100).unwrap();
        assert!(admission.admit(1).is_err());
    }
}
