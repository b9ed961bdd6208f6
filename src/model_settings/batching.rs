//! `[batching]`: the objective of a model's scheduler.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::source::{SettingsError, SettingsSource};

/// A longer objective is a mistake.
const LONGEST: Duration = Duration::from_secs(3600);

/// The objective of a model's scheduler; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Objective {
    /// The time within which 99 of 100 accepted requests should be answered, from
    /// the arrival of the whole body. A request that would probably be late is
    /// refused at once.
    pub latency_target: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchingTable {
    pub(super) latency_target: Option<Spanned<String>>,
    pub(super) max_elements: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) split_large_requests: bool,
}

impl SettingsSource<'_> {
    pub(super) fn objective(&self, target: Option<Spanned<String>>) -> Result<Objective, SettingsError> {
        let Some(text) = target else { return Ok(Objective::default()) };
        match humantime::parse_duration(text.get_ref().trim()) {
            Ok(time) if !time.is_zero() && time <= LONGEST => Ok(Objective { latency_target: Some(time) }),
            Ok(_) | Err(_) => Err(self.wrong(
                &text.span(),
                format!(
                    "latency_target is '{}': a time above 0 and up to 1 h was expected, as '50ms'",
                    text.get_ref()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_settings::testing::{read_text, refused};

    #[test]
    fn a_target_is_a_time() {
        for (text, expected) in [("50ms", 50_000), ("1s 500ms", 1_500_000), (" 250us ", 250)] {
            let settings = read_text(&format!("[batching]\nlatency_target = \"{text}\"\n")).unwrap();
            assert_eq!(settings.objective.latency_target, Some(Duration::from_micros(expected)), "{text}");
        }
        for text in ["", "[batching]\n"] {
            assert_eq!(read_text(text).unwrap().objective, Objective::default());
        }
    }

    #[test]
    fn what_is_no_time_is_placed() {
        insta::assert_snapshot!(
            refused("[batching]\n\nlatency_target = \"50\"\n"),
            @"cresset.toml, line 3: latency_target is '50': a time above 0 and up to 1 h was expected, as '50ms'"
        );
        insta::assert_snapshot!(
            refused("[batching]\nlatency_target = \"0ms\"\n"),
            @"cresset.toml, line 2: latency_target is '0ms': a time above 0 and up to 1 h was expected, as '50ms'"
        );
        insta::assert_snapshot!(
            refused("[batching]\nlatency_target = 50\n"),
            @"cresset.toml, line 2: latency_target: invalid type: integer '50', expected a string"
        );
        insta::assert_snapshot!(
            refused("[batching]\nlatency = \"50ms\"\n"),
            @"cresset.toml, line 2: unknown key 'latency', expected one of 'latency_target', 'max_elements', 'split_large_requests'"
        );
    }
}
