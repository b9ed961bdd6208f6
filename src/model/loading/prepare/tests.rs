use bytes::Bytes;

use super::super::source::ModelSource;
use super::*;
use crate::model::placement::Resources;
use crate::model_config::ModelConfig;
use cresset_backend::{
    Accelerators, Argument, ArgumentKind, Backend, BatchInput, LoadRequest, ModelFormat, ModelInstance,
    Optimize, ReducedType, Signature, TORCH_SCRIPT,
};
use cresset_protocol::Datatype;

/// Gives its FP32 input back, the more off the more it is changed.
#[derive(Clone, Default)]
struct Drifting {
    signature: Signature,
    /// How much larger answers are with reduced weights, and when optimised.
    reduced: f32,
    optimized: f32,
    /// Fails if it is asked to be this.
    refuses_weights: bool,
    refuses_optimizing: bool,
    /// Fails unless its input has this many elements.
    takes: Option<usize>,
    factor: f32,
}

impl Drifting {
    fn new(reduced: f32, optimized: f32) -> Self {
        let argument = Argument { name: "x".to_owned(), kind: ArgumentKind::Tensor, optional: false };
        let signature = Signature { arguments: vec![argument], ..Signature::default() };
        Self { signature, reduced, optimized, factor: 1.0, ..Self::default() }
    }
}

fn failed(message: &str) -> BackendError {
    BackendError::Execute { message: message.to_owned(), detail: String::new() }
}

impl Backend for Drifting {
    fn description(&self) -> String {
        "drifting".to_owned()
    }

    fn accelerators(&self) -> Accelerators {
        Accelerators::None("a double has none".to_owned())
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        let LoadOptions { precision, optimize, .. } = request.options;
        let mut model = self.clone();
        model.refuses_weights &= precision.weights.is_some();
        if precision.weights.is_some() {
            model.factor += self.reduced;
        }
        if optimize.is_for_inference() {
            if self.refuses_optimizing {
                return Err(failed("no such kernel"));
            }
            model.factor += self.optimized;
        }
        Ok(Arc::new(model))
    }
}

impl Model for Drifting {
    fn format(&self) -> &'static ModelFormat {
        &TORCH_SCRIPT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self, _: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        Ok(Box::new(self.clone()))
    }
}

impl ModelInstance for Drifting {
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(inputs[0].data);
        if self.refuses_weights {
            return Err(failed("BFloat16 met Float"));
        }
        if self.takes.is_some_and(|count| count != values.len()) {
            return Err(failed("another size was expected"));
        }
        let data: Vec<u8> = values.iter().flat_map(|value| (value * self.factor).to_le_bytes()).collect();
        let shape = inputs[0].shape.to_vec();
        Ok(vec![BatchOutput { name: None, datatype: Datatype::Fp32, shape, data: Bytes::from(data) }])
    }
}

const DECLARED: &str = "max_batch_size: 2 input { name: 'x' data_type: TYPE_FP32 dims: [ 100 ] }
    output { name: 'y' data_type: TYPE_FP32 dims: [ 100 ] }";

fn asked(weights: bool, for_inference: bool) -> LoadOptions {
    let weights = weights.then_some(ReducedType::Bf16);
    LoadOptions {
        precision: Precision { weights, ..Precision::default() },
        optimize: Optimize { freeze: None, for_inference: Some(for_inference) },
        outputs: Vec::new(),
    }
}

fn prepared(backend: &Drifting, config: &str, options: LoadOptions) -> Result<PreparedModel, LoadError> {
    let config = ModelConfig::from_pbtxt(config, "m").unwrap();
    let source = ModelSource { options, ..ModelSource::new("model.pt", config) };
    let resources = Resources::of_processors(1);
    prepare(ModelFile { backend, source: &source, resources: &resources }, Device::Cpu)
}

/// The line at start, and whether it is optimised for inference.
fn outcome(backend: &Drifting, config: &str, options: LoadOptions) -> (Option<String>, bool) {
    let prepared = prepared(backend, config, options).unwrap();
    (prepared.note, prepared.options.optimize.is_for_inference())
}

#[test]
fn what_asks_for_nothing_is_not_tried() {
    let (note, _) = outcome(&Drifting::new(1.0, 1.0), DECLARED, LoadOptions::default());
    assert_eq!(note, None);
}

#[test]
fn the_line_says_how_far_answers_are() {
    let (note, _) = outcome(&Drifting::new(0.25, 0.0), DECLARED, asked(true, false));
    // A quarter of the largest of the seeded inputs, which lie between -1 and 1.
    assert_eq!(note.unwrap(), "bf16 weights: answers differ by at most 0.25 (cosine 1.00000)");
    let (note, _) = outcome(&Drifting::new(0.0, 0.0), DECLARED, asked(true, false));
    assert_eq!(note.unwrap(), "bf16 weights: answers are the same");
    let configured = prepared(&Drifting::new(0.0, 0.0), DECLARED, asked(true, false)).unwrap();
    let fp32 = OutputType { name: "y".to_owned(), index: 0, datatype: Datatype::Fp32 };
    assert_eq!(configured.options.outputs, [fp32]);
}

#[test]
fn for_inference_is_dropped_where_answers_move() {
    let only = |drift| outcome(&Drifting::new(0.0, drift), DECLARED, asked(false, true));
    let (note, kept) = only(0.0009);
    assert!(kept && note.unwrap().starts_with("optimised for inference: answers differ by at most 0.0008"));
    assert_eq!(only(0.002), (None, false));
    // Beside a precision that costs more, as much again is allowed.
    let both = |drift| outcome(&Drifting::new(0.01, drift), DECLARED, asked(true, true));
    let (note, kept) = both(0.005);
    assert!(kept, "{note:?}");
    let (note, kept) = both(0.02);
    assert_eq!(
        (note.as_deref(), kept),
        (Some("bf16 weights: answers differ by at most 0.0099 (cosine 1.00000)"), false)
    );
}

#[test]
fn what_else_was_asked_for_stays_when_for_inference_is_dropped() {
    let mut options = asked(false, true);
    options.precision.tf32 = Some(false);
    let dropped = prepared(&Drifting::new(0.0, 0.5), DECLARED, options).unwrap().options;
    assert_eq!((dropped.precision.tf32, dropped.optimize.is_for_inference()), (Some(false), false));
}

#[test]
fn for_inference_is_dropped_where_it_fails() {
    let backend = Drifting { refuses_optimizing: true, ..Drifting::new(0.0, 0.0) };
    assert_eq!(outcome(&backend, DECLARED, asked(false, true)), (None, false));
}

#[test]
fn a_precision_that_fails_is_refused() {
    let backend = Drifting { refuses_weights: true, ..Drifting::new(0.0, 0.0) };
    let error = prepared(&backend, DECLARED, asked(true, false)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "cresset.toml: with bf16 weights the model fails, and without it doesn't: BFloat16 met Float; \
         tracing writes datatypes into a model's code: use autocast = \"bf16\", or export the model in bf16"
    );
}

#[test]
fn a_trial_that_cannot_run_is_said_to_be_none() {
    let (note, kept) = outcome(&Drifting::new(0.0, 0.5), "", asked(true, true));
    assert!(kept, "nothing speaks against it");
    assert_eq!(
        note.unwrap(),
        "bf16 weights, optimised for inference: answers not compared (config.pbtxt declares no inputs)"
    );
    let backend = Drifting { takes: Some(7), ..Drifting::new(0.5, 0.0) };
    let (note, _) = outcome(&backend, DECLARED, asked(true, false));
    assert_eq!(
        note.unwrap(),
        "bf16 weights: answers not compared (the model fails on random inputs: another size was expected)"
    );
}

#[test]
fn what_the_configuration_leaves_open_is_tried_in_sizes() {
    let config = "input { name: 'x' data_type: TYPE_FP32 dims: [ 2, -1 ] }";
    for size in [8, 64, 224] {
        let backend = Drifting { takes: Some(2 * size), ..Drifting::new(0.0, 0.0) };
        let (note, _) = outcome(&backend, config, asked(true, false));
        assert_eq!(note.unwrap(), "bf16 weights: answers are the same", "{size}");
    }
}
