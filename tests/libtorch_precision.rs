//! Precision, memory layout and optimising for inference over libtorch, on the
//! processors: which answers change, and which mustn't.

#![cfg(feature = "libtorch")]
// Helpers of tests are tests too; clippy only sees the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cresset::model::{ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::{
    Backend, BackendError, BatchInput, BatchOutput, Device, LoadOptions, LoadRequest, Model, Optimize,
    OutputType, Parameters, Precision, ReducedType,
};
use cresset_libtorch::LibtorchBackend;
use cresset_protocol::Datatype;
use half::bf16;

const IMAGE: [i64; 4] = [2, 3, 16, 16];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backend").join(format!("{name}.pt"))
}

fn load(name: &str, options: &LoadOptions) -> Result<Arc<dyn Model>, BackendError> {
    let (path, parameters) = (file(name), Parameters::default());
    LibtorchBackend::new().load(&LoadRequest {
        path: &path,
        device: Device::Cpu,
        parameters: &parameters,
        overlapped: false,
        options,
    })
}

fn precise(precision: Precision) -> LoadOptions {
    LoadOptions { precision, ..LoadOptions::default() }
}

fn weights(reduced: ReducedType) -> LoadOptions {
    precise(Precision { weights: Some(reduced), ..Precision::default() })
}

fn autocast(reduced: ReducedType) -> LoadOptions {
    precise(Precision { autocast: Some(reduced), ..Precision::default() })
}

fn channels_last() -> LoadOptions {
    precise(Precision { channels_last: true, ..Precision::default() })
}

/// Some floats that are no round numbers.
fn floats(count: i64) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.97).collect()
}

fn run(model: &dyn Model, shape: &[i64], data: &[f32]) -> Result<Vec<BatchOutput>, BackendError> {
    let input = BatchInput { name: "x", datatype: Datatype::Fp32, shape, data: bytemuck::cast_slice(data) };
    let mut instance = model.instance(1).unwrap();
    // The third run goes through the optimised graph.
    for _ in 0..2 {
        instance.forward(&[input])?;
    }
    instance.forward(&[input])
}

/// The answers of the convolutional model to one batch.
fn answers(options: &LoadOptions) -> Vec<BatchOutput> {
    let model = load("convolutional", options).unwrap();
    run(&*model, &IMAGE, &floats(IMAGE.iter().product())).unwrap()
}

fn values(output: &BatchOutput) -> Vec<f32> {
    assert_eq!(output.datatype, Datatype::Fp32);
    bytemuck::pod_collect_to_vec(&output.data)
}

/// `max|a - b| / max|b|`.
fn apart(got: &BatchOutput, expected: &BatchOutput) -> f32 {
    assert_eq!(got.shape, expected.shape);
    let (got, expected) = (values(got), values(expected));
    let largest = expected.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    got.iter().zip(&expected).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs())) / largest
}

// ---- answers

#[test]
fn reduced_weights_change_the_answers_and_little() {
    let plain = answers(&LoadOptions::default());
    for (reduced, most) in [(ReducedType::Bf16, 0.05), (ReducedType::Fp16, 0.005)] {
        let got = answers(&weights(reduced));
        for index in [0, 1] {
            let apart = apart(&got[index], &plain[index]);
            assert!(apart > 1e-6 && apart < most, "{reduced}: output {index} is {apart} apart");
        }
        assert_eq!(got[2].datatype, Datatype::Int64, "whole numbers stay");
    }
}

#[test]
fn floating_answers_come_back_as_configured() {
    let outputs = |types: &[(&str, usize, Datatype)]| {
        let outputs = types.iter().map(|(name, index, datatype)| OutputType {
            name: (*name).to_owned(),
            index: *index,
            datatype: *datatype,
        });
        let asked = LoadOptions { outputs: outputs.collect(), ..weights(ReducedType::Bf16) };
        answers(&asked).iter().map(|output| output.datatype).collect::<Vec<_>>()
    };
    let (fp32, int64) = (Datatype::Fp32, Datatype::Int64);
    assert_eq!(outputs(&[]), [fp32, fp32, int64]);
    assert_eq!(outputs(&[("logits", 0, Datatype::Bf16)]), [Datatype::Bf16, fp32, int64]);
    let all = [("logits", 0, Datatype::Fp64), ("features", 1, Datatype::Fp16)];
    assert_eq!(outputs(&all), [Datatype::Fp64, Datatype::Fp16, int64]);

    // A name that the model gives wins over the place.
    let named = LoadOptions {
        outputs: vec![
            OutputType { name: "double".to_owned(), index: 0, datatype: Datatype::Bf16 },
            OutputType { name: "sum".to_owned(), index: 1, datatype: Datatype::Fp16 },
        ],
        ..weights(ReducedType::Bf16)
    };
    let got = run(&*load("fields", &named).unwrap(), &[2], &[1.0, 2.0]).unwrap();
    let got: Vec<_> = got.iter().map(|output| (output.name.as_deref().unwrap(), output.datatype)).collect();
    assert_eq!(got, [("sum", Datatype::Fp16), ("double", Datatype::Bf16)]);
}

#[test]
fn channels_last_leaves_answers_and_their_order() {
    let plain = answers(&LoadOptions::default());
    let got = answers(&channels_last());
    for index in [0, 1] {
        assert!(apart(&got[index], &plain[index]) <= 1e-5, "output {index}");
    }
    let both = Precision { weights: Some(ReducedType::Bf16), channels_last: true, ..Precision::default() };
    let got = answers(&precise(both));
    assert!(apart(&got[1], &plain[1]) < 0.05);
}

#[test]
fn autocast_computes_from_whole_weights_and_ends_with_its_forward() {
    let plain = answers(&LoadOptions::default());
    let got = answers(&autocast(ReducedType::Bf16));
    for index in [0, 1] {
        let apart = apart(&got[index], &plain[index]);
        assert!(apart > 1e-6 && apart < 0.05, "output {index} is {apart} apart");
    }
    // On the same thread: it must be off again, even after a failure.
    let model = load("convolutional", &autocast(ReducedType::Bf16)).unwrap();
    assert!(run(&*model, &[1], &[1.0]).is_err());
    let after = answers(&LoadOptions::default());
    assert_eq!(after[0].data, plain[0].data);
}

#[test]
fn optimised_or_not_frozen_the_answers_stay() {
    let plain = answers(&LoadOptions::default());
    for (freeze, for_inference) in
        [(Some(false), false), (Some(true), false), (None, true), (Some(true), true)]
    {
        let optimize = Optimize { freeze, for_inference: Some(for_inference) };
        let got = answers(&LoadOptions { optimize, ..LoadOptions::default() });
        for index in [0, 1] {
            assert!(apart(&got[index], &plain[index]) <= 1e-5, "{optimize:?}, output {index}");
        }
        assert_eq!(got[2].data, plain[2].data);
    }
}

#[test]
fn a_model_is_rewritten_for_inference_beside_itself() {
    let data = floats(IMAGE.iter().product());
    let plain = load("convolutional", &LoadOptions::default()).unwrap();
    let before = run(&*plain, &IMAGE, &data).unwrap();
    let other = plain.rewrite().unwrap();
    for _ in 0..3 {
        let got = run(&*other, &IMAGE, &data).unwrap();
        for index in [0, 1] {
            assert!(apart(&got[index], &before[index]) <= 1e-5, "output {index}");
        }
        assert_eq!(run(&*plain, &IMAGE, &data).unwrap()[0].data, before[0].data, "itself it stays as it was");
    }
    drop(plain);
    assert!(run(&*other, &IMAGE, &data).is_ok(), "the weights are its own, too");
    // What wasn't frozen has nothing to be rewritten.
    let optimize = Optimize { freeze: Some(false), for_inference: None };
    let free = load("convolutional", &LoadOptions { optimize, ..LoadOptions::default() }).unwrap();
    assert!(free.rewrite().is_err());
}

#[test]
fn weights_in_lists_are_converted_with_the_others() {
    let shape = [2, 5, 4];
    let data = floats(40);
    let plain = run(&*load("recurrent", &LoadOptions::default()).unwrap(), &shape, &data).unwrap();
    let got = run(&*load("recurrent", &weights(ReducedType::Bf16)).unwrap(), &shape, &data).unwrap();
    let apart = apart(&got[0], &plain[0]);
    assert!(apart > 1e-6 && apart < 0.05, "{apart}");
}

#[test]
fn a_file_in_half_precision_is_served_as_it_is() {
    let of = |name: &str, datatype, data: &[u8]| {
        let model = load(name, &LoadOptions::default()).unwrap();
        let input = BatchInput { name: "input", datatype, shape: &[1, 4], data };
        model.instance(1).unwrap().forward(&[input])
    };
    let halves: Vec<u8> =
        [1.0, 2.0, 3.0, 4.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
    let got = of("bf16", Datatype::Bf16, &halves).unwrap();
    assert_eq!((got[0].datatype, got[0].shape.as_slice()), (Datatype::Bf16, [1, 2].as_slice()));
    let halves: Vec<u8> =
        [1.0, 2.0, 3.0, 4.0].iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    assert_eq!(of("fp16", Datatype::Fp16, &halves).unwrap()[0].datatype, Datatype::Fp16);
    let wrong = of("bf16", Datatype::Fp32, bytemuck::cast_slice(&[1.0_f32, 2.0, 3.0, 4.0])).unwrap_err();
    assert!(wrong.to_string().contains("must have the same dtype"), "{wrong}");
}

// ---- memory

#[test]
fn no_answer_shares_the_input_s_memory() {
    for options in [channels_last(), weights(ReducedType::Bf16), autocast(ReducedType::Bf16)] {
        for name in ["views", "writes_input"] {
            let model = load(name, &options).unwrap();
            let mut instance = model.instance(1).unwrap();
            let mut data: Vec<f32> = vec![1.0, 2.0, 3.0, 4.0];
            let mut run = |data: &[f32]| {
                let data = bytemuck::cast_slice(data);
                instance
                    .forward(&[BatchInput { name: "x", datatype: Datatype::Fp32, shape: &[2, 2], data }])
                    .unwrap()
            };
            let outputs = run(&data);
            let before: Vec<Vec<f32>> = outputs.iter().map(values).collect();
            assert_eq!(data, [1.0, 2.0, 3.0, 4.0], "{name} wrote to its input");
            data.fill(9.0);
            assert_eq!(outputs.iter().map(values).collect::<Vec<_>>(), before, "{name}");
        }
    }
    // In this shape channels last and first are the same memory.
    let model = load("writes_input", &channels_last()).unwrap();
    let data = floats(4);
    let input = BatchInput {
        name: "x",
        datatype: Datatype::Fp32,
        shape: &[2, 2, 1, 1],
        data: bytemuck::cast_slice(&data),
    };
    model.instance(1).unwrap().forward(&[input]).unwrap();
    assert_eq!(data, floats(4));
}

#[test]
fn each_instance_of_a_stateful_module_keeps_its_own_state() {
    let model = load("gives_its_state", &weights(ReducedType::Bf16)).unwrap();
    let step = |instance: &mut Box<dyn cresset_backend::ModelInstance>| {
        let data = [1.0_f32, 2.0];
        let data = bytemuck::cast_slice(&data);
        let input = BatchInput { name: "x", datatype: Datatype::Fp32, shape: &[2], data };
        values(&instance.forward(&[input]).unwrap()[0])
    };
    let (mut one, mut other) = (model.instance(1).unwrap(), model.instance(1).unwrap());
    assert_eq!((step(&mut one), step(&mut one)), (vec![1.0, 2.0], vec![2.0, 4.0]));
    assert_eq!(step(&mut other), [1.0, 2.0]);
}

// ---- one switch for the process

#[test]
fn models_that_disagree_on_tf32_are_not_loaded_together() {
    let backend = LibtorchBackend::new();
    let path = file("convolutional");
    let parameters = Parameters::default();
    let load = |tf32| {
        let options = precise(Precision { tf32, ..Precision::default() });
        backend.load(&LoadRequest {
            path: &path,
            device: Device::Cpu,
            parameters: &parameters,
            overlapped: false,
            options: &options,
        })
    };
    let first = load(Some(true)).unwrap();
    let second = load(Some(true)).unwrap();
    let indifferent = load(None).unwrap();
    let refused = |tf32| load(tf32).err().unwrap().to_string();
    let expected = "[precision] tf32 = false: a model that is loaded asks for true, and libtorch has one switch \
                    for the whole process; let the models agree, or serve them apart";
    assert_eq!(refused(Some(false)), expected);
    let data = floats(IMAGE.iter().product());
    assert!(run(&*first, &IMAGE, &data).is_ok(), "the processors don't mind");
    drop(first);
    assert_eq!(refused(Some(false)), expected, "one of the two is left");
    drop(second);
    let opposite = load(Some(false)).unwrap();
    assert!(refused(Some(true)).starts_with("[precision] tf32 = true: "));
    drop((opposite, indifferent));
}

// ---- what a start says of it

/// Loading measures nothing, but two at once would share a small machine.
static ALONE: Mutex<()> = Mutex::new(());

const CONVOLUTIONAL: &str = "
    max_batch_size: 4
    input { name: 'x' data_type: TYPE_FP32 dims: [ 3, 16, 16 ] }
    output [ { name: 'logits' data_type: TYPE_FP32 dims: [ 10 ] },
             { name: 'features' data_type: TYPE_FP32 dims: [ 16, 8, 8 ] } ]";

fn serve(name: &str, config: &str, options: &LoadOptions) -> Result<ServedModel, String> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = ModelConfig::from_pbtxt(config, "m").unwrap();
    let source = ModelSource { options: options.clone(), ..ModelSource::new(file(name), config) };
    let resources = Resources::of_processors(1);
    let loaded =
        ServedModel::load(&LibtorchBackend::new(), &source, &resources, QueueBounds::of_requests(10));
    loaded.map(|loaded| loaded.model).map_err(|error| error.to_string())
}

fn note(name: &str, config: &str, options: &LoadOptions) -> Option<String> {
    let served = serve(name, config, options).unwrap();
    served.stop();
    served.precision_note().map(str::to_owned)
}

/// The two numbers of `…: answers differ by at most 0.013 (cosine 0.99997)`.
fn numbers(note: &str, what: &str) -> (f64, f64) {
    let rest =
        note.strip_prefix(&format!("{what}: answers differ by at most ")).unwrap_or_else(|| panic!("{note}"));
    let (absolute, cosine) = rest.strip_suffix(')').unwrap().split_once(" (cosine ").unwrap();
    (absolute.parse().unwrap(), cosine.parse().unwrap())
}

#[test]
fn the_difference_is_reported() {
    assert_eq!(note("convolutional", CONVOLUTIONAL, &LoadOptions::default()), None);

    let both = Precision { weights: Some(ReducedType::Bf16), channels_last: true, ..Precision::default() };
    let line = note("convolutional", CONVOLUTIONAL, &precise(both)).unwrap();
    let (absolute, cosine) = numbers(&line, "bf16 weights, channels last");
    // How large the answers are is the drawn inputs' matter; the cosine has no scale.
    assert!(absolute > 1e-5 && absolute.is_finite() && cosine > 0.999, "{line}");

    let line = note("convolutional", CONVOLUTIONAL, &autocast(ReducedType::Bf16)).unwrap();
    assert!(numbers(&line, "bf16 autocast").1 > 0.999, "{line}");

    let line = note("ordinary", "", &channels_last()).unwrap();
    assert_eq!(line, "channels last: answers not compared (config.pbtxt declares no inputs)");
}

#[test]
fn dimensions_that_vary_get_a_size_that_runs() {
    let config = "max_batch_size: 4 input { name: 'x' data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }";
    let line = note("convolutional", config, &weights(ReducedType::Bf16)).unwrap();
    assert!(numbers(&line, "bf16 weights").1 > 0.999, "{line}");
}

#[test]
fn optimising_for_inference_is_kept_where_answers_stay_equal() {
    let optimize = Optimize { freeze: None, for_inference: Some(true) };
    let asked = LoadOptions { optimize, ..LoadOptions::default() };
    let line = note("convolutional", CONVOLUTIONAL, &asked).unwrap();
    assert!(line.starts_with("optimised for inference: answers "), "{line}");
    // One that keeps state can't be.
    let config = "input { name: 'x' data_type: TYPE_FP32 dims: [ 2 ] }";
    assert_eq!(note("gives_its_state", config, &asked), None);
}

#[test]
fn a_module_with_datatypes_in_its_code_is_refused_with_what_to_do() {
    let config = "max_batch_size: 4 input { name: 'x' data_type: TYPE_FP32 dims: [ 4 ] }";
    let error = serve("baked", config, &weights(ReducedType::Bf16)).err().unwrap();
    assert!(
        error.starts_with(
            "cresset.toml: with bf16 weights the model fails, and without it doesn't: PyTorch execute"
        ),
        "{error}"
    );
    assert!(
        error.ends_with(
            "tracing writes datatypes into a model's code: use autocast = \"bf16\", or export the model in bf16"
        ),
        "{error}"
    );
    let line = note("baked", config, &autocast(ReducedType::Bf16)).unwrap();
    assert!(numbers(&line, "bf16 autocast").1 > 0.999, "{line}");
}
