//! `version_policy`: which of the version directories are served.

use super::ConfigError;
use cresset_protocol::messages::config::{self as proto, model_version_policy::PolicyChoice};

/// `version_policy { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest-numbered ones, this many.
    Latest(u32),
    /// All of them.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl VersionPolicy {
    /// The versions that it picks of these, ascending.
    #[must_use]
    pub fn choose(&self, available: &[u64]) -> Vec<u64> {
        let mut chosen = available.to_vec();
        chosen.sort_unstable();
        chosen.dedup();
        match self {
            Self::All => {}
            Self::Latest(count) => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                chosen.drain(..chosen.len().saturating_sub(count));
            }
            Self::Specific(wanted) => chosen.retain(|version| wanted.contains(version)),
        }
        chosen
    }
}

/// If the configuration doesn't say, only the newest version is served.
pub(super) fn policy(policy: Option<proto::ModelVersionPolicy>) -> Result<VersionPolicy, ConfigError> {
    match policy.and_then(|policy| policy.policy_choice) {
        None => Ok(VersionPolicy::Latest(1)),
        Some(PolicyChoice::All(_)) => Ok(VersionPolicy::All),
        Some(PolicyChoice::Latest(latest)) if latest.num_versions == 0 => {
            Err(ConfigError::value("version_policy.latest.num_versions", "1 or more", 0))
        }
        Some(PolicyChoice::Latest(latest)) => Ok(VersionPolicy::Latest(latest.num_versions)),
        Some(PolicyChoice::Specific(specific)) => versions(specific.versions),
    }
}

fn versions(versions: Vec<i64>) -> Result<VersionPolicy, ConfigError> {
    const FIELD: &str = "version_policy.specific.versions";
    if versions.is_empty() {
        return Err(ConfigError::value(FIELD, "one version or more", "none"));
    }
    let mut wanted = Vec::with_capacity(versions.len());
    for version in versions {
        match u64::try_from(version) {
            Ok(number @ 1..) => wanted.push(number),
            _ => return Err(ConfigError::value(FIELD, "versions of 1 or more", version)),
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(VersionPolicy::Specific(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_picks_its_versions_ascending() {
        let there = [10, 2, 1, 3];
        assert_eq!(VersionPolicy::Latest(1).choose(&there), [10]);
        assert_eq!(VersionPolicy::Latest(2).choose(&there), [3, 10]);
        assert_eq!(VersionPolicy::Latest(9).choose(&there), [1, 2, 3, 10]);
        assert_eq!(VersionPolicy::All.choose(&there), [1, 2, 3, 10]);
        assert_eq!(VersionPolicy::Specific(vec![2, 7]).choose(&there), [2]);
        assert_eq!(VersionPolicy::Latest(1).choose(&[]), [0; 0]);
    }
}
