//! The settings of the log and of traces that clients may read and change, by
//! Triton's names.

use std::collections::BTreeMap;

use super::LogLevels;

/// The value of one setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// On or off.
    Switch(bool),
    /// A level.
    Number(u32),
    /// A name or a path.
    Text(String),
}

/// The settings of the log, by name.
pub type ShownSettings = BTreeMap<String, Setting>;

/// The settings of traces. They are off: the server has no traces.
#[must_use]
pub fn traces() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("trace_file", vec![""]),
        ("trace_level", vec!["OFF"]),
        ("trace_rate", vec!["1000"]),
        ("trace_count", vec!["-1"]),
        ("log_frequency", vec!["0"]),
        ("trace_mode", vec!["triton"]),
    ])
}

/// Checks that these settings of traces, each with its values, leave traces off.
/// An empty list of values clears a setting.
///
/// # Errors
/// If a setting turns traces on, or doesn't exist.
pub fn change_traces<'a>(wanted: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Result<(), String> {
    let there = traces();
    for (name, values) in wanted {
        if !there.contains_key(name) {
            return Err(format!("unknown trace setting '{name}'"));
        }
        let off = values.iter().all(|value| value == "OFF");
        if name == "trace_level" && !off {
            return Err(format!(
                "trace_level {}: there are no traces: durations stand in the statistics and the metrics",
                values.join(", ")
            ));
        }
    }
    Ok(())
}

/// The log's levels after these settings are applied.
///
/// # Errors
/// If a setting can't be changed, or doesn't exist.
pub(super) fn changed(levels: LogLevels, file: &str, wanted: &ShownSettings) -> Result<LogLevels, String> {
    let mut levels = levels;
    for (name, value) in wanted {
        match (name.as_str(), value) {
            ("log_info", Setting::Switch(on)) => levels.info = *on,
            ("log_warning", Setting::Switch(on)) => levels.warning = *on,
            ("log_error", Setting::Switch(on)) => levels.error = *on,
            ("log_verbose_level", Setting::Number(level)) => levels.verbose = *level,
            // Both of Triton's formats are accepted, and change nothing.
            ("log_format", Setting::Text(form)) if ["default", "ISO8601"].contains(&form.as_str()) => {}
            ("log_file", Setting::Text(path)) if path == file => {}
            ("log_file", Setting::Text(_)) => {
                // Exactly Triton's words: its clients compare the whole text.
                return Err("log file location can not be updated through network protocol".to_owned());
            }
            ("log_info" | "log_warning" | "log_error", _) => {
                return Err(format!("'{name}' is true or false"));
            }
            ("log_verbose_level", _) => return Err("'log_verbose_level' is a number from 0 on".to_owned()),
            ("log_format", _) => return Err("'log_format' is \"default\" or \"ISO8601\"".to_owned()),
            ("log_file", _) => return Err("'log_file' is a path".to_owned()),
            _ => return Err(format!("unknown log setting '{name}'")),
        }
    }
    Ok(levels)
}

/// The log's settings, by Triton's names.
pub(super) fn shown(levels: LogLevels, file: &str) -> ShownSettings {
    let LogLevels { verbose, info, warning, error } = levels;
    [
        ("log_file", Setting::Text(file.to_owned())),
        ("log_info", Setting::Switch(info)),
        ("log_warning", Setting::Switch(warning)),
        ("log_error", Setting::Switch(error)),
        ("log_verbose_level", Setting::Number(verbose)),
        ("log_format", Setting::Text("default".to_owned())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> ShownSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn levels_are_changed_by_triton_s_names() {
        let levels = LogLevels::default();
        assert_eq!(shown(levels, "")["log_info"], Setting::Switch(true));
        let quiet = changed(levels, "", &settings(r#"{"log_info": false, "log_verbose_level": 0}"#)).unwrap();
        assert_eq!(quiet, LogLevels { info: false, ..levels });
        assert_eq!(changed(levels, "a", &shown(levels, "a")), Ok(levels), "what is shown may be sent back");
        for (wrong, why) in [
            (r#"{"log_file": "b"}"#, "log file location can not be updated through network protocol"),
            (r#"{"log_info": 1}"#, "true or false"),
            (r#"{"log_verbose_level": -1}"#, ""),
            (r#"{"nope": 1}"#, "unknown log setting 'nope'"),
            (r#"{"log_format": "json"}"#, "ISO8601"),
        ] {
            let Ok(wanted) = serde_json::from_str::<ShownSettings>(wrong) else { continue };
            let error = changed(levels, "", &wanted).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn traces_stay_off() {
        let change = |name, values: &[&str]| {
            change_traces([(name, values.iter().copied().map(str::to_owned).collect())])
        };
        assert_eq!(change("trace_level", &["OFF"]), Ok(()));
        assert_eq!(change("trace_rate", &["1"]), Ok(()), "of nothing");
        assert_eq!(change("trace_level", &[]), Ok(()));
        assert!(change("trace_level", &["TIMESTAMPS"]).unwrap_err().contains("there are no traces"));
        assert!(change("nope", &[]).is_err());
    }
}
