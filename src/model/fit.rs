//! Whether the declared transforms fit the model that they stand around.

use crate::model_config::{Binding, ModelConfig, TensorConfig};
use crate::transform::Transforms;
use cresset_protocol::Datatype;

/// A transform must name tensors that the model has, of the shapes it makes.
pub(super) fn check_transforms(
    transforms: &Transforms,
    config: &ModelConfig,
    binding: &Binding,
) -> std::result::Result<(), String> {
    if let Some(image) = &transforms.image {
        let name = match image.input() {
            Some(name) => name,
            None => match binding.only_input() {
                Some(only) => only.name.as_str(),
                None => {
                    let count = binding.inputs.len();
                    return Err(format!("[transform.image] names no input, and the model has {count}"));
                }
            },
        };
        let Some(bound) = binding.input(name) else {
            return Err(format!("[transform.image] input = '{name}': the model has no such input"));
        };
        if binding.only_input() != Some(bound) {
            return Err("[transform.image]: the model takes more than one input".to_owned());
        }
        if let Some(spec) = &bound.spec {
            let shape = image.shape();
            let made = &shape[usize::from(config.max_batch_size > 0 || spec.dims.len() == 3)..];
            let fits = spec.dims.len() == made.len()
                && spec.dims.iter().zip(made).all(|(dims, made)| *dims < 0 || dims == made);
            if !fits || spec.datatype != Datatype::Fp32 {
                return Err(format!(
                    "[transform.image] makes FP32 {made:?}, but input '{name}' takes {} {:?}",
                    spec.datatype, spec.dims
                ));
            }
        }
    }
    if let Some(classification) = &transforms.classification {
        let named = |output: &&TensorConfig| classification.output().is_none_or(|name| name == output.name);
        if let Some(output) = config.outputs.iter().find(named)
            && output.datatype != Datatype::Fp32
        {
            return Err(format!(
                "[transform.classification]: output '{}' is {}, and scores are FP32",
                output.name, output.datatype
            ));
        }
    }
    if let Some(output) = transforms.classification.as_ref().and_then(|c| c.output())
        && !config.outputs.is_empty()
        && !config.outputs.iter().any(|known| known.name == output)
    {
        return Err(format!("[transform.classification] output = '{output}': the model has no such output"));
    }
    Ok(())
}
