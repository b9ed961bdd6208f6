//! The report: as text for people and, through serde, as JSON.

use std::fmt;

use serde::Serialize;

use super::advice::NotUsed;
use super::processors::Processors;
use cresset_backend::Device;

/// The findings of `cresset devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// The library that runs models; null in a build without one.
    pub(super) library: Option<Library>,
    pub(super) processors: Processors,
    /// The instances of a model that has no `instance_group`, a line for each
    /// device.
    pub(super) default_instances: Vec<String>,
    /// From NVML.
    pub(super) driver_version: Option<String>,
    /// The newest version of CUDA that the driver supports.
    pub(super) driver_cuda: Option<String>,
    pub(super) gpus: Vec<Gpu>,
    pub(super) not_used: Vec<NotUsed>,
}

/// The library that runs models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Library {
    /// With its version.
    pub(super) name: String,
    /// The vector instructions that its kernels use here.
    pub(super) vectors: Option<String>,
    pub(super) uses_gpus: bool,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Gpu {
    /// Its number, as in `cuda:0` and in `gpus` of an instance group; null if this
    /// process may not use it.
    pub(super) cuda: Option<u32>,
    pub(super) name: String,
    pub(super) uuid: Option<String>,
    pub(super) memory_total_bytes: Option<u64>,
    pub(super) memory_free_bytes: Option<u64>,
    /// As in `cc_model_filenames`: `8.0`.
    pub(super) compute_capability: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.library {
            Some(Library { name, vectors: Some(vectors), .. }) => {
                writeln!(f, "library     {name}, vectors {vectors}")?;
            }
            Some(Library { name, vectors: None, .. }) => writeln!(f, "library     {name}")?,
            None => {}
        }
        let Processors { allowed, machine, limited_by, model, features, missing } = &self.processors;
        write!(f, "processors  {allowed} of {machine}")?;
        if !limited_by.is_empty() {
            write!(f, " (held back by {})", limited_by.join(" and "))?;
        }
        writeln!(f, "{}", if model.is_empty() { String::new() } else { format!(", {model}") })?;
        writeln!(f, "            has {}", or_nothing(features))?;
        writeln!(f, "            lacks {}", or_nothing(missing))?;
        for line in &self.default_instances {
            writeln!(f, "by default  {line}")?;
        }
        if self.driver_version.is_some() || self.driver_cuda.is_some() {
            let version = self.driver_version.as_deref().unwrap_or("of unknown version");
            let cuda = self.driver_cuda.as_deref().map(|cuda| format!(", speaks CUDA {cuda}"));
            writeln!(f, "driver      {version}{}", cuda.unwrap_or_default())?;
        }
        for gpu in &self.gpus {
            writeln!(f, "{gpu}")?;
        }
        for NotUsed { what, why, advice } in &self.not_used {
            writeln!(f, "not used    {what}: {why}")?;
            if !advice.is_empty() {
                writeln!(f, "            {advice}")?;
            }
        }
        Ok(())
    }
}

fn or_nothing(words: &[&str]) -> String {
    if words.is_empty() { "nothing that matters".to_owned() } else { words.join(" ") }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cuda {
            Some(index) => write!(f, "{:<12}{}", Device::cuda(index).to_string(), self.name)?,
            None => write!(f, "hidden      {}", self.name)?,
        }
        match (self.memory_free_bytes, self.memory_total_bytes) {
            (Some(free), Some(total)) => write!(f, ", {} of {} free", mib(free), mib(total))?,
            (None, Some(total)) => write!(f, ", {}", mib(total))?,
            (_, None) => {}
        }
        if let Some(capability) = &self.compute_capability {
            write!(f, ", compute capability {capability}")?;
        }
        match &self.uuid {
            Some(uuid) => write!(f, ", {uuid}"),
            None => Ok(()),
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: "1.2.3",
            library: Some(Library {
                name: "libtorch 2.11.0".to_owned(),
                vectors: Some("AVX512".to_owned()),
                uses_gpus: true,
            }),
            processors: Processors {
                allowed: 2,
                machine: 8,
                limited_by: vec!["cgroup quota"],
                model: "Example 9000".to_owned(),
                features: vec!["avx2", "avx512f"],
                missing: vec!["amx_bf16"],
            },
            default_instances: vec!["cuda:0, 1 instance x 1 thread".to_owned()],
            driver_version: Some("580.65.06".to_owned()),
            driver_cuda: Some("13.0".to_owned()),
            gpus: vec![
                Gpu {
                    cuda: Some(0),
                    name: "NVIDIA H100".to_owned(),
                    uuid: Some("GPU-1".to_owned()),
                    memory_total_bytes: Some(80 << 30),
                    memory_free_bytes: Some(79 << 30),
                    compute_capability: Some("9.0".to_owned()),
                },
                Gpu {
                    cuda: None,
                    name: "NVIDIA L4".to_owned(),
                    uuid: None,
                    memory_total_bytes: Some(24 << 30),
                    memory_free_bytes: None,
                    compute_capability: None,
                },
            ],
            not_used: vec![NotUsed {
                what: "GPU",
                why: "the cause".to_owned(),
                advice: "do this".to_owned(),
            }],
        }
    }

    #[test]
    fn people_read_a_line_for_each_thing() {
        assert_eq!(
            report().to_string(),
            "library     libtorch 2.11.0, vectors AVX512
processors  2 of 8 (held back by cgroup quota), Example 9000
            has avx2 avx512f
            lacks amx_bf16
by default  cuda:0, 1 instance x 1 thread
driver      580.65.06, speaks CUDA 13.0
cuda:0      NVIDIA H100, 80896 MiB of 81920 MiB free, compute capability 9.0, GPU-1
hidden      NVIDIA L4, 24576 MiB
not used    GPU: the cause
            do this
"
        );
    }

    #[test]
    fn programs_read_the_same() {
        let json = serde_json::json!(report());
        assert_eq!(json["processors"]["limited_by"], serde_json::json!(["cgroup quota"]));
        assert_eq!(json["gpus"][0]["memory_free_bytes"], 79_u64 << 30);
        assert_eq!(json["gpus"][1]["cuda"], serde_json::Value::Null);
        assert_eq!(json["not_used"][0]["advice"], "do this");
    }
}
