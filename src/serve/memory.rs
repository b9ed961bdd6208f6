//! Whether a container's memory is enough: where it isn't, the kernel ends the
//! process without a word.

use std::fs;
use std::path::{Path, PathBuf};

/// Beyond this share of the limit, in percent, the first requests may be the
/// last ones.
const TIGHT: u64 = 80;

/// Says at start what the process takes of what it may, where that is little
/// more.
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

/// The least that a control group of this process allows, in bytes; `None`
/// where none limits it.
fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups(&own).iter().filter_map(|file| read_limit(&fs::read_to_string(file).ok()?)).min()
}

/// Where the limits stand of the groups that `/proc/self/cgroup` names, and of
/// those around them; first those of a container, which sees its own as the
/// root.
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

/// `max`, and version 1's largest number, stand for no limit.
fn read_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

/// What of the process is in memory, in bytes.
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
