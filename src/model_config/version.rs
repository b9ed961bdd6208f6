//! Which versions a policy serves.

use super::VersionPolicy;

impl VersionPolicy {
    /// The versions to serve of those that are there, ascending.
    #[must_use]
    pub fn choose(&self, there: &[u64]) -> Vec<u64> {
        let mut versions = there.to_vec();
        versions.sort_unstable();
        versions.dedup();
        match self {
            Self::All => {}
            Self::Latest(count) => {
                let newest = versions.len().saturating_sub(*count as usize);
                versions.drain(..newest);
            }
            Self::Specific(wanted) => versions.retain(|version| wanted.contains(version)),
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_choose_as_triton_does() {
        let there = [3, 1, 12, 2];
        assert_eq!(VersionPolicy::Latest(1).choose(&there), [12]);
        assert_eq!(VersionPolicy::Latest(3).choose(&there), [2, 3, 12]);
        assert_eq!(VersionPolicy::Latest(9).choose(&there), [1, 2, 3, 12]);
        assert_eq!(VersionPolicy::All.choose(&there), [1, 2, 3, 12]);
        assert_eq!(VersionPolicy::Specific(vec![2, 99]).choose(&there), [2]);
    }
}
