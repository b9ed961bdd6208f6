//! Whether symbolic links may lead out of a model repository
//! (`--no-follow-links`), for readers that are handed no setting.

use std::sync::atomic::{AtomicBool, Ordering};

static FOLLOWED: AtomicBool = AtomicBool::new(true);

/// Says so, once, at the start.
pub fn follow(links: bool) {
    FOLLOWED.store(links, Ordering::Relaxed);
}

/// Whether links may lead anywhere.
#[must_use]
pub fn are_followed() -> bool {
    FOLLOWED.load(Ordering::Relaxed)
}
