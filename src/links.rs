//! Whether symbolic links may lead out of a model repository
//! (`--no-follow-links`), as a global for code that gets no settings.

use std::sync::atomic::{AtomicBool, Ordering};

static FOLLOWED: AtomicBool = AtomicBool::new(true);

/// Sets it, once, at the start.
pub fn follow(links: bool) {
    FOLLOWED.store(links, Ordering::Relaxed);
}

/// Whether links may lead out of the repository.
#[must_use]
pub fn are_followed() -> bool {
    FOLLOWED.load(Ordering::Relaxed)
}
