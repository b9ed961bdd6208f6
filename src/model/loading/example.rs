//! An example of a request: inputs that the model ran on when it was loaded.

use std::sync::Arc;

use crate::model_config::{Binding, BoundInput};
use crate::trial::TrialInput;
use crate::trial::rows::Alone;
use cresset_protocol::json::write_named_tensors;
use cresset_protocol::{NonFinite, Tensor};

/// The longest body that is shown, in bytes.
const LONGEST: usize = 400;

/// A body for `POST /predictions/<model>` on which the model ran. `None` if it ran
/// on none that is short, or takes its inputs in another shape than clients send
/// them in.
pub(super) fn example(ran: &[Alone], binding: &Binding) -> Option<Box<str>> {
    let reshaped = |bound: &BoundInput| bound.spec.as_ref().is_some_and(|spec| spec.reshape.is_some());
    let inputs = &ran.first()?.inputs;
    if binding.inputs.iter().any(reshaped) || inputs.iter().map(TrialInput::elements).sum::<usize>() > LONGEST
    {
        return None;
    }
    let tensors: Vec<Tensor> = inputs.iter().map(|input| tensor(input, binding)).collect();
    let text = String::from_utf8(write_named_tensors(&tensors, NonFinite::Words)).ok()?;
    (text.len() <= LONGEST).then(|| text.into_boxed_str())
}

fn tensor(input: &TrialInput, binding: &Binding) -> Tensor {
    let bound = binding.inputs.iter().find(|bound| *bound.place == *input.name);
    Tensor {
        name: Arc::from(bound.map_or(input.name.as_str(), |bound| bound.name.as_str())),
        datatype: input.datatype,
        shape: input.shape.clone(),
        data: input.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model_config::ModelConfig;
    use cresset_backend::Signature;
    use cresset_protocol::Datatype;

    #[test]
    fn it_is_a_body_and_short() {
        let config = ModelConfig::from_pbtxt("max_batch_size: 4", "m").unwrap();
        let binding = Binding::new(&config, &Signature::default()).unwrap();
        let ran = |count: u8| {
            let data = Some(Bytes::from_iter(0..count));
            let input = TrialInput {
                name: "x".to_owned(),
                datatype: Datatype::Uint8,
                shape: vec![1, i64::from(count)],
                data,
            };
            vec![Alone { inputs: vec![input], outputs: Vec::new() }]
        };
        assert_eq!(example(&ran(3), &binding).as_deref(), Some(r#"{"x":[[0,1,2]]}"#));
        assert_eq!(example(&ran(255), &binding), None, "too long to paste");
        assert_eq!(example(&[], &binding), None);
    }
}
