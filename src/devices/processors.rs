//! The processors: how many this process may use and of which kind.

use serde::Serialize;

/// The processors of this machine, or of this container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Processors {
    /// How many this process may use.
    pub(super) allowed: usize,
    /// How many the machine runs.
    pub(super) machine: usize,
    /// What keeps the process from using the others.
    pub(super) limited_by: Vec<&'static str>,
    /// The product's name; empty if the kernel doesn't say.
    pub(super) model: String,
    /// Instructions that make models fast, as the kernel spells them.
    pub(super) features: Vec<&'static str>,
    /// Such instructions that the processors lack.
    pub(super) missing: Vec<&'static str>,
}

/// In order of their worth: 8, then 16 numbers of 32 bits at a time, then numbers
/// of 16 and 8 bits, then matrices.
const X86: [&str; 8] =
    ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"];
const ARM: [&str; 6] = ["asimd", "asimddp", "sve", "sve2", "bf16", "i8mm"];

impl Processors {
    /// `allowed` counts by affinity and the cgroup's quota.
    pub(super) fn of_this_machine(allowed: usize) -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self::new(allowed, machine(), affinity(), &text)
    }

    fn new(allowed: usize, machine: usize, affinity: Option<usize>, cpuinfo: &str) -> Self {
        let machine = machine.max(allowed);
        let bound = affinity.unwrap_or(machine);
        let mut limited_by = Vec::new();
        if bound < machine {
            limited_by.push("affinity");
        }
        if allowed < bound {
            limited_by.push("cgroup quota");
        }
        let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
        let has = |name: &&'static str| flags.split_whitespace().any(|flag| flag == *name);
        let known = if cfg!(target_arch = "aarch64") { &ARM[..] } else { &X86[..] };
        let (features, missing) = known.iter().copied().partition(has);
        let model = field(cpuinfo, "model name").unwrap_or_default().to_owned();
        Self { allowed, machine, limited_by, model, features, missing }
    }
}

/// Whether a quota of processor time limits this process, rather than the number
/// of processors. A spinning thread then uses up the time of the others. `allowed`
/// is how many processors the process may use.
#[must_use]
pub fn has_quota(allowed: usize) -> bool {
    affinity().is_some_and(|bound| allowed < bound)
}

/// The value of the first line of this name in `/proc/cpuinfo`.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    };
    cpuinfo.lines().find_map(value)
}

/// Processors that are online, whether or not this process may use them.
fn machine() -> usize {
    // SAFETY: no precondition.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).unwrap_or(0)
}

/// Processors in this process's affinity mask.
fn affinity() -> Option<usize> {
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialized, and its size is passed.
    let asked = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    // SAFETY: the set is initialized.
    (asked == 0).then(|| unsafe { libc::CPU_COUNT(&set) }).and_then(|count| usize::try_from(count).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: fpu avx2 fma avx512f amx_bf16\n\n\
                           processor\t: 1\nmodel name\t: Example 9000\nflags\t\t: fpu\n";

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_the_kernel_says_is_told_in_order_of_worth() {
        let found = Processors::new(2, 2, Some(2), CPUINFO);
        assert_eq!(found.model, "Example 9000");
        assert_eq!(found.features, ["avx2", "fma", "avx512f", "amx_bf16"]);
        assert_eq!(found.missing, ["avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8"]);
        assert_eq!(Processors::new(1, 1, None, "").features, [""; 0]);
    }

    #[test]
    fn what_holds_processors_back_is_named() {
        let limits = |allowed, machine, affinity| {
            Processors::new(allowed, machine, affinity, "").limited_by.join(" and ")
        };
        assert_eq!(limits(8, 8, Some(8)), "");
        assert_eq!(limits(4, 8, Some(4)), "affinity");
        assert_eq!(limits(2, 8, Some(8)), "cgroup quota");
        assert_eq!(limits(1, 8, Some(4)), "affinity and cgroup quota");
        assert_eq!(limits(3, 8, None), "cgroup quota");
    }

    #[test]
    fn this_machine_has_processors() {
        let here = Processors::of_this_machine(1);
        assert!(here.machine >= 1 && affinity().is_some_and(|count| count >= 1), "{here:?}");
    }
}
