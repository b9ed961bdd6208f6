//! The choice of a version's file for this machine.

use std::path::PathBuf;

use crate::model::{Resources, plan};
use crate::model_config::{ModelConfig, ModelFilenames};
use crate::model_repository::VersionEntry;
use cresset_backend::{Backend, ComputeCapability, Device};

/// The file that `cc_model_filenames` has for the devices that the model is
/// placed on, or the default one. Triton chooses for each instance; here a
/// version is one file.
///
/// # Errors
/// Its devices ask for different files, or their file is wrong.
pub(super) fn choose(
    entry: VersionEntry,
    config: &ModelConfig,
    backend: &dyn Backend,
    resources: &Resources,
) -> Result<PathBuf, String> {
    let VersionEntry { file, mut by_capability, .. } = entry;
    if by_capability.is_empty() {
        return Ok(file);
    }
    // An error of the plan is reported when the plan is carried out.
    let (placements, _) = plan(&config.instance_groups, false, resources).unwrap_or_default();
    // As with Triton, only GPUs have files of their own.
    let of = |device: Device| {
        let capability = backend.compute_capability(device);
        capability.filter(|of| by_capability.contains_key(of))
    };
    let ModelFilenames { default, by_capability: names, .. } = &config.model_filename;
    let name =
        |capability: Option<ComputeCapability>| capability.and_then(|of| names.get(&of)).unwrap_or(default);
    let mut chosen = placements.iter().map(|placement| (placement.device, of(placement.device)));
    let Some((first, capability)) = chosen.next() else { return Ok(file) };
    if let Some((other, differs)) = chosen.find(|(_, of)| name(*of) != name(capability)) {
        return Err(format!(
            "cc_model_filenames has '{}' for {first} and '{}' for {other}: a model's instances are of one file; \
             place them on devices of one kind, in instance_group",
            name(capability),
            name(differs)
        ));
    }
    match capability {
        Some(of) => by_capability.remove(&of).unwrap_or(Ok(file)),
        None => Ok(file),
    }
}
