//! Advice for a GPU that isn't used, computed from the findings alone.

use std::path::Path;

use serde::Serialize;

use cresset_nvidia::DriverProblem;

/// A device or library that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NotUsed {
    pub(super) what: &'static str,
    pub(super) why: String,
    /// What the operator can do; empty if the cause says it.
    pub(super) advice: String,
}

/// The environment of this process, as far as it concerns GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Whether it is in a container.
    pub(super) container: bool,
    /// Whether there are `/dev/nvidia…` files, which the driver's kernel
    /// module makes.
    pub(super) device_files: bool,
    /// `CUDA_VISIBLE_DEVICES`, if it is set.
    pub(super) cuda_visible_devices: Option<String>,
    /// `NVIDIA_VISIBLE_DEVICES`, if it is set: the GPUs that the container asked for.
    pub(super) nvidia_visible_devices: Option<String>,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        let exists = |path: &str| Path::new(path).exists();
        Self {
            container: exists("/.dockerenv")
                || exists("/run/.containerenv")
                || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            device_files: exists("/dev/nvidiactl") || exists("/dev/nvidia0"),
            cuda_visible_devices: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
            nvidia_visible_devices: std::env::var("NVIDIA_VISIBLE_DEVICES").ok(),
        }
    }

    /// The advice if a variable hides every GPU.
    fn hides_all(&self) -> Option<String> {
        let hidden = |name: &str, value: &Option<String>, words: &[&str]| {
            let value = value.as_deref()?.trim();
            words.contains(&value).then(|| format!("{name} is '{value}', which hides every GPU: unset it"))
        };
        hidden("CUDA_VISIBLE_DEVICES", &self.cuda_visible_devices, &["", "-1", "NoDevFiles"])
            .or_else(|| hidden("NVIDIA_VISIBLE_DEVICES", &self.nvidia_visible_devices, &["void", "none"]))
    }
}

const GIVE_A_GPU: &str = "give the container its GPUs: docker run --gpus all, deploy.resources.reservations.devices \
     in compose, limits of nvidia.com/gpu in Kubernetes; the host needs the NVIDIA driver and the NVIDIA Container Toolkit";

/// Why the driver offers no GPU, and what the operator can do.
pub(super) fn on_driver(problem: &DriverProblem, here: &Surroundings) -> NotUsed {
    let advice = match problem {
        DriverProblem::NotFound => not_found(here),
        DriverProblem::NoDevice => no_device(here),
        DriverProblem::Failed { error, .. } => failed(error, here),
        DriverProblem::NotOpened(_) | DriverProblem::NoFunction(_) => {
            "libcuda.so.1 must be the one that belongs to the running driver: install the driver again, and \
             look for a stub of it in LD_LIBRARY_PATH"
                .to_owned()
        }
    };
    NotUsed { what: "GPU", why: problem.to_string(), advice }
}

fn not_found(here: &Surroundings) -> String {
    let text = match (here.container, here.device_files) {
        (true, false) => GIVE_A_GPU,
        (true, true) => {
            "the GPU's device files are here and the driver's library is not: start the container through the \
             NVIDIA Container Toolkit (docker run --gpus all) with compute and utility in NVIDIA_DRIVER_CAPABILITIES"
        }
        (false, true) => {
            "the driver's kernel module is loaded and its library is not found: install the driver's compute \
             libraries of the same version, or name their folder in LD_LIBRARY_PATH"
        }
        (false, false) => "if this machine has an NVIDIA GPU, install its driver",
    };
    text.to_owned()
}

fn no_device(here: &Surroundings) -> String {
    if let Some(hidden) = here.hides_all() {
        return hidden;
    }
    if here.container && !here.device_files {
        return GIVE_A_GPU.to_owned();
    }
    match &here.cuda_visible_devices {
        Some(value) => format!("CUDA_VISIBLE_DEVICES is '{value}': check it against nvidia-smi -L"),
        None => "check what nvidia-smi -L lists".to_owned(),
    }
}

fn failed(error: &str, here: &Surroundings) -> String {
    match error {
        "CUDA_ERROR_NO_DEVICE" => no_device(here),
        "CUDA_ERROR_STUB_LIBRARY" => {
            "the libcuda.so.1 that was found is a stub for building: take its folder out of LD_LIBRARY_PATH".to_owned()
        }
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" => {
            "the driver's library and its kernel module are of two versions: restart the machine, as after an update"
                .to_owned()
        }
        "CUDA_ERROR_SYSTEM_NOT_READY" => "start nvidia-fabricmanager, which these GPUs need".to_owned(),
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE" => {
            "the forward compatibility libraries don't support this GPU: take their folder out of LD_LIBRARY_PATH, and \
             update the driver"
                .to_owned()
        }
        _ => "check nvidia-smi and the kernel's log (dmesg)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problem: &DriverProblem, here: &Surroundings) -> String {
        let not_used = on_driver(problem, here);
        assert_eq!(not_used.why, problem.to_string());
        not_used.advice
    }

    #[test]
    fn a_container_without_its_gpus_is_told_how_to_get_them() {
        let container = Surroundings { container: true, ..Surroundings::default() };
        assert!(told(&DriverProblem::NotFound, &container).contains("docker run --gpus all"));
        assert!(told(&DriverProblem::NoDevice, &container).contains("docker run --gpus all"));
        let half = Surroundings { device_files: true, ..container };
        assert!(told(&DriverProblem::NotFound, &half).contains("NVIDIA_DRIVER_CAPABILITIES"));
        assert_eq!(told(&DriverProblem::NoDevice, &half), "check what nvidia-smi -L lists");
    }

    #[test]
    fn a_machine_is_told_what_it_lacks() {
        let bare = Surroundings::default();
        assert_eq!(
            told(&DriverProblem::NotFound, &bare),
            "if this machine has an NVIDIA GPU, install its driver"
        );
        let module = Surroundings { device_files: true, ..bare };
        assert!(told(&DriverProblem::NotFound, &module).contains("kernel module is loaded"));
    }

    #[test]
    fn a_variable_that_hides_every_gpu_is_named() {
        let no_device = DriverProblem::Failed { call: "cuInit", error: "CUDA_ERROR_NO_DEVICE".to_owned() };
        for problem in [&DriverProblem::NoDevice, &no_device] {
            for value in ["", "-1"] {
                let here = Surroundings {
                    container: true,
                    cuda_visible_devices: Some(value.to_owned()),
                    ..Surroundings::default()
                };
                assert_eq!(
                    told(problem, &here),
                    format!("CUDA_VISIBLE_DEVICES is '{value}', which hides every GPU: unset it")
                );
            }
            let void =
                Surroundings { nvidia_visible_devices: Some("void".to_owned()), ..Surroundings::default() };
            assert!(told(problem, &void).starts_with("NVIDIA_VISIBLE_DEVICES is 'void'"));
            let some = Surroundings { cuda_visible_devices: Some("7".to_owned()), ..Surroundings::default() };
            assert_eq!(told(problem, &some), "CUDA_VISIBLE_DEVICES is '7': check it against nvidia-smi -L");
        }
    }

    #[test]
    fn a_driver_that_fails_has_its_cure() {
        let cure = |error: &str| {
            let problem = DriverProblem::Failed { call: "cuInit", error: error.to_owned() };
            told(&problem, &Surroundings::default())
        };
        assert!(cure("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH").contains("restart the machine"));
        assert!(cure("CUDA_ERROR_STUB_LIBRARY").contains("stub"));
        assert!(cure("error 46").contains("nvidia-smi"));
    }
}
