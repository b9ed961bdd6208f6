//! Warns if a container's memory limit is too low: the kernel would end the
//! process without a message.

use std::fs;
use std::path::{Path, PathBuf};

/// Percent of the limit. If the models take more before the first request, the
/// memory of requests may exceed the limit.
const TIGHT: u64 = 80;

/// Warns at start if the process already takes most of its memory limit.
pub(super) fn warn_where_tight() {
    if let (Some(limit), Some(taken)) = (limit(), resident())
        && let Some(warning) = warning(taken, limit)
    {
        tracing::warn!("{warning}");
    }
}

fn warning(taken: u64, limit: u64) -> Option<String> {
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    (taken > limit / 100 * TIGHT).then(|| {
        format!(
            "the models take {} MB of memory before the first request, and the container's limit is {} MB: the kernel \
             may end the process without a word. Give it {} MB, or fewer models",
            mb(taken),
            mb(limit),
            mb(taken * 2)
        )
    })
}

/// The lowest limit of this process's control groups, in bytes; `None` if it has
/// no limit.
fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups(&own).iter().filter_map(|file| read_limit(&fs::read_to_string(file).ok()?)).min()
}

/// The files with the limits of the groups in `/proc/self/cgroup` and of their
/// parents. The root comes first: a container sees its own group as the root.
fn groups(own: &str) -> Vec<PathBuf> {
    let mut files = vec![
        PathBuf::from("/sys/fs/cgroup/memory.max"),
        PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let relative = Path::new(path.trim_start_matches('/'));
        files.extend(relative.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// `max`, and cgroup v1's largest number, stand for no limit.
fn read_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

/// The resident memory of the process, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_leaves_little_is_told_with_what_would_do() {
        assert_eq!(warning(289_000_000, 1_000_000_000), None);
        assert_eq!(
            warning(289_000_000, 300_000_000).unwrap(),
            "the models take 289 MB of memory before the first request, and the container's limit is 300 MB: the kernel \
             may end the process without a word. Give it 578 MB, or fewer models"
        );
    }

    #[test]
    fn limits_are_those_of_all_groups_around_the_process() {
        let shown = |own: &str| -> Vec<String> {
            groups(own)[2..].iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            shown("0::/user.slice/a.scope\n"),
            [
                "/sys/fs/cgroup/user.slice/a.scope/memory.max",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            shown("5:cpu,cpuacct:/x\n4:memory:/docker/1\n"),
            [
                "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(read_limit("max\n"), None);
        assert_eq!(read_limit("9223372036854771712\n"), None);
        assert_eq!(read_limit("314572800\n"), Some(314_572_800));
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
