//! The backend over libtorch, against tiny modules: `tests/models` (as they
//! are served) and `tests/backend` (each odd in one way;
//! `scripts/models/backend_fixtures.py` makes them).

#![cfg(feature = "libtorch")]
// Helpers of tests are tests too; clippy only sees the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cresset_backend::{
    Accelerators, Argument, ArgumentKind, Backend, BackendError, BatchInput, BatchOutput, Device, Drive,
    HostBatch, HostBuffer, HostInput, LoadOptions, LoadRequest, Model, Parameters, Scalar, TORCH_SCRIPT,
};
use cresset_libtorch::{LibtorchBackend, intra_op_threads};
use cresset_protocol::Datatype;

fn backend() -> &'static LibtorchBackend {
    static BACKEND: OnceLock<LibtorchBackend> = OnceLock::new();
    BACKEND.get_or_init(LibtorchBackend::new)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A served model by its name, or one of `tests/backend`.
fn file(name: &str) -> PathBuf {
    let served = root().join("models").join(name).join("1/model.pt");
    if served.exists() { served } else { root().join("backend").join(format!("{name}.pt")) }
}

fn load_with(path: &Path, parameters: &[(&str, &str)]) -> Result<Arc<dyn Model>, BackendError> {
    let texts = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parameters = TORCH_SCRIPT.read_parameters(texts).unwrap();
    backend().load(&LoadRequest {
        path,
        device: Device::Cpu,
        parameters: &parameters,
        overlapped: false,
        options: &LoadOptions::default(),
    })
}

fn load(name: &str) -> Arc<dyn Model> {
    load_with(&file(name), &[]).unwrap()
}

fn fp32<'a>(name: &'a str, shape: &'a [i64], data: &'a [f32]) -> BatchInput<'a> {
    BatchInput { name, datatype: Datatype::Fp32, shape, data: bytemuck::cast_slice(data) }
}

/// Runs a fresh instance once.
fn run(model: &dyn Model, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
    model.instance(1).unwrap().forward(inputs)
}

/// Runs `name` on one FP32 input.
fn run_on(name: &str, shape: &[i64], data: &[f32]) -> Result<Vec<BatchOutput>, BackendError> {
    run(&*load(name), &[fp32(first(name), shape, data)])
}

/// The name of a model's first argument.
fn first(name: &str) -> &'static str {
    match name {
        "identity" => "INPUT0",
        "mlp" => "input",
        _ => "x",
    }
}

fn floats(output: &BatchOutput) -> Vec<f32> {
    assert_eq!(output.datatype, Datatype::Fp32);
    bytemuck::pod_collect_to_vec(&output.data)
}

fn names(outputs: &[BatchOutput]) -> Vec<Option<&str>> {
    outputs.iter().map(|output| output.name.as_deref()).collect()
}

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32]) {
    let most = expected.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    assert_eq!(got.len(), expected.len());
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * most, "{got:?} is not {expected:?}");
    }
}

// ---- what a file tells

fn tensor(name: &str) -> Argument {
    Argument { name: name.to_owned(), kind: ArgumentKind::Tensor, optional: false }
}

#[test]
fn a_file_tells_its_arguments() {
    assert_eq!(load("multi_io").signature().arguments, [tensor("vector"), tensor("matrix"), tensor("scale")]);
    assert_eq!(load("mlp").signature().arguments, [tensor("input")]);
    let dict = load("dict_input");
    assert_eq!(dict.signature().arguments[0].kind, ArgumentKind::Dict(Box::new(ArgumentKind::Tensor)));
    assert_eq!(load("words").signature().arguments[0].kind, ArgumentKind::Strings);
    assert_eq!(
        load("optionals").signature().arguments,
        [
            tensor("x"),
            Argument { optional: true, ..tensor("mask") },
            Argument { name: "scale".to_owned(), kind: ArgumentKind::Scalar(Scalar::Float), optional: true },
            Argument { name: "flip".to_owned(), kind: ArgumentKind::Scalar(Scalar::Bool), optional: true },
        ]
    );
}

#[test]
fn a_module_that_changes_itself_is_found_out_and_its_attribute_named() {
    for (name, reason) in [
        ("stateful", "forward changes its attribute 'count' in place"),
        ("in_place", "forward changes its attribute 'count' in place"),
        ("keeps_input", "forward sets its attribute 'last'"),
        ("list_element", "forward changes its attribute 'held' in place"),
        ("dict_element", "forward changes its attribute 'held' in place"),
        ("gives_its_state", "forward changes its attribute 'state' in place"),
        ("sets_attribute", "forward sets its attribute 'counter.calls'"),
        ("remembers", "forward changes its attribute 'seen' in place"),
        ("forked", "forward changes its attribute 'count' in place"),
    ] {
        assert_eq!(load(name).signature().stateful.as_deref(), Some(reason), "{name}");
    }
}

#[test]
fn a_module_that_does_not_is_shared() {
    for name in [
        "ordinary",
        "multi_io",
        "tokens",
        "dynamic",
        "mlp",
        "busy",
        "no_config",
        "fails",
        "identity",
        "dict_input",
        "writes_input",
        "views",
        "nested",
        "fields",
        "optionals",
        "modes",
        "raises",
    ] {
        assert_eq!(load(name).signature().stateful, None, "{name}");
    }
    for name in ["simple", "efficientnet_lite0"] {
        let path = root().join("../models").join(name).join("1/model.pt");
        assert_eq!(load_with(&path, &[]).unwrap().signature().stateful, None, "{name}");
    }
}

// ---- files that can't be loaded

fn refusal(path: &Path) -> String {
    match load_with(path, &[]) {
        Err(BackendError::Load { message, detail }) => {
            let folder = path.parent().unwrap().to_string_lossy().into_owned();
            assert!(!message.contains(&folder) && !message.contains('\n'), "{message}");
            assert!(!detail.is_empty());
            message
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was loaded", path.display()),
    }
}

#[test]
fn a_file_that_is_no_torchscript_is_refused_with_what_it_is() {
    let export = "export the model with torch.jit.trace or torch.jit.script";
    assert_eq!(refusal(&file("nowhere")), "the model file can't be read: entity not found");
    assert_eq!(
        refusal(&file("state_dict")),
        format!(
            "not a TorchScript file: it holds no code, as after torch.save of a module or a state_dict; {export}"
        )
    );
    assert_eq!(
        refusal(&file("old_state_dict")),
        format!("not a TorchScript file: it is a pickle, as torch.save writes; {export}")
    );
    let unknown = refusal(&file("unknown_operator"));
    assert!(
        unknown.starts_with("can't be loaded: unknown operator nowhere::complex: if a library brings it"),
        "{unknown}"
    );
}

#[test]
fn truncated_empty_and_random_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    let whole = std::fs::read(file("mlp")).unwrap();
    for length in [4, 5, 64, 1000, whole.len() / 2, whole.len() - 22, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let refused = refusal(&path);
        let expected = "the model file 'model.pt' is truncated or damaged: the zip archive ";
        assert!(refused.starts_with(expected) && refused.contains("copy it again"), "{length}: {refused}");
    }
    std::fs::write(&path, "").unwrap();
    assert_eq!(refusal(&path), "not a TorchScript file: it is empty: was it copied to its end?");
    let mut random = fastrand::Rng::with_seed(1);
    let mut noise = || random.u8(..);
    for length in [1, 3, 4, 100, 5000] {
        std::fs::write(&path, (0..length).map(|_| noise()).collect::<Vec<u8>>()).unwrap();
        assert!(refusal(&path).starts_with("not a TorchScript file"), "{length}");
    }
    for round in 0..40 {
        // The code, the pickles and the directory of a small archive, with
        // some bytes changed: an error or a module, never the end.
        let mut bytes = std::fs::read(file("ordinary")).unwrap();
        for _ in 0..=round / 4 {
            let place = (usize::from(noise()) << 8 | usize::from(noise())) % bytes.len();
            bytes[place] = noise();
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(model) = load_with(&path, &[]) {
            let _ = run(&*model, &[fp32("x", &[1, 2, 1], &[1.0, 2.0])]);
        }
    }
}

/// One bit of a file is flipped, at each of `places`. Each such file is refused,
/// or answers as before: the bit was in no entry.
fn flip(path: &Path, inputs: &[BatchInput<'_>], places: impl Iterator<Item = (usize, u8)>) -> [usize; 2] {
    let whole = std::fs::read(path).unwrap();
    let answered = |path: &Path| -> Result<Vec<_>, BackendError> {
        let outputs = run(&*load_with(path, &[])?, inputs)?;
        Ok(outputs.into_iter().map(|output| (output.datatype, output.shape, output.data)).collect())
    };
    let answers = answered(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let flipped = folder.path().join("model.pt");
    let [mut refused, mut answering] = [0, 0];
    for (place, bit) in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << bit;
        std::fs::write(&flipped, &bytes).unwrap();
        match answered(&flipped) {
            Ok(same) => {
                assert!(same == answers, "{}: other answers with bit {bit} of byte {place}", path.display());
                answering += 1;
            }
            Err(BackendError::Load { .. }) => refused += 1,
            Err(other) => panic!("{}: bit {bit} of byte {place}: {other}", path.display()),
        }
    }
    [refused, answering]
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let mut random = fastrand::Rng::with_seed(16);
    let rows = [1.0_f32, 2.0, 3.0, 4.0];
    let dynamic = fp32("x", &[2, 2], &rows);
    // Every byte of a small file, directory and all.
    let small = file("dynamic");
    let bytes = std::fs::metadata(&small).unwrap().len() as usize;
    let [refused, answering] = flip(&small, &[dynamic], (0..bytes).map(|place| (place, random.u8(..8))));
    assert!(refused > bytes / 4 && answering > 0, "{refused} refused, {answering} answering");
    // Weights of a file of the usual size.
    let large = root().join("../models/efficientnet_lite0/1/model.pt");
    let bytes = std::fs::metadata(&large).unwrap().len() as usize;
    let pixels: Vec<f32> = (0..3 * 224 * 224).map(|pixel| (pixel % 255) as f32 / 255.0).collect();
    let picture = fp32("x", &[1, 3, 224, 224], &pixels);
    let places: Vec<_> = (0..300).map(|_| (random.usize(..bytes), random.u8(..8))).collect();
    let [refused, answering] = flip(&large, &[picture], places.into_iter());
    assert!(refused > 250, "{refused} refused, {answering} answering");
}

// ---- answers

#[test]
fn answers_are_what_the_formulas_say() {
    let outputs = run(
        &*load("no_config"),
        &[fp32("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), fp32("y", &[2, 1], &[10.0, 20.0])],
    )
    .unwrap();
    assert_eq!(outputs[0].shape, [2, 2]);
    assert_eq!(floats(&outputs[0]), [11.0, 12.0, 23.0, 24.0]);

    let outputs = run_on("dynamic", &[1, 4], &[1.0, 2.0, 3.0, 6.0]).unwrap();
    assert_eq!(
        (outputs[0].shape.as_slice(), outputs[1].shape.as_slice()),
        ([1, 4].as_slice(), [1, 3].as_slice())
    );
    assert_close(&floats(&outputs[0]), &[0.75, 2.25, 4.5, 9.0]);
    assert_close(&floats(&outputs[1]), &[3.0, 6.0, 1.0]);
    assert_eq!(names(&outputs), [None, None]);
}

#[test]
fn a_dictionary_is_filled_by_name_and_not_by_order() {
    let outputs = run(
        &*load("dict_input"),
        &[fp32("tensors.right", &[1, 2], &[1.0, 2.0]), fp32("tensors.left", &[1, 2], &[10.0, 20.0])],
    )
    .unwrap();
    assert_eq!(floats(&outputs[0]), [12.0, 24.0]);
    let error = run(&*load("dict_input"), &[fp32("tensors.left", &[1, 2], &[1.0, 2.0])]).unwrap_err();
    assert!(
        matches!(&error, BackendError::Execute { message, .. } if message.contains("right")),
        "{error:?}"
    );
}

#[test]
fn answers_equal_python_s() {
    for name in ["multi_io", "tokens", "dynamic"] {
        let text = std::fs::read_to_string(root().join(format!("references/{name}.json"))).unwrap();
        let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
        let model = load(name);
        let mut instance = model.instance(1).unwrap();
        for case in reference["cases"].as_array().unwrap() {
            let inputs: Vec<_> = case["inputs"].as_array().unwrap().iter().map(Reference::new).collect();
            let inputs: Vec<_> = inputs.iter().map(Reference::input).collect();
            let outputs = instance.forward(&inputs).unwrap();
            for (output, expected) in outputs.iter().zip(case["outputs"].as_array().unwrap()) {
                let expected = Reference::new(expected);
                assert_eq!((&output.shape, output.datatype), (&expected.shape, expected.datatype));
                if expected.datatype == Datatype::Fp32 {
                    assert_close(&floats(output), &bytemuck::pod_collect_to_vec::<u8, f32>(&expected.data));
                } else {
                    assert_eq!(output.data, expected.data);
                }
            }
        }
    }
}

/// A tensor of `tests/references`.
struct Reference {
    name: String,
    datatype: Datatype,
    shape: Vec<i64>,
    data: Vec<u8>,
}

impl Reference {
    #[allow(clippy::cast_possible_truncation)]
    fn new(value: &serde_json::Value) -> Self {
        let datatype = value["datatype"].as_str().unwrap().parse().unwrap();
        let numbers = value["data"].as_array().unwrap().iter();
        let data = if datatype == Datatype::Fp32 {
            numbers.flat_map(|number| (number.as_f64().unwrap() as f32).to_le_bytes()).collect()
        } else {
            numbers.flat_map(|number| number.as_i64().unwrap().to_le_bytes()).collect()
        };
        let shape = value["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        Self { name: value["name"].as_str().unwrap().to_owned(), datatype, shape, data }
    }

    fn input(&self) -> BatchInput<'_> {
        BatchInput { name: &self.name, datatype: self.datatype, shape: &self.shape, data: &self.data }
    }
}

#[test]
fn every_container_is_taken_apart_in_order() {
    let outputs = run_on("nested", &[1], &[1.0]).unwrap();
    assert_eq!(
        names(&outputs),
        [
            None,
            Some("1.b.0"),
            Some("1.b.1.0"),
            Some("1.b.1.1"),
            Some("1.a.0"),
            Some("2.left"),
            Some("2.right"),
            None,
            None,
            None
        ]
    );
    let values: Vec<f32> = outputs[..7].iter().flat_map(floats).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let numbers: Vec<_> = outputs[7..].iter().map(|o| (o.datatype, o.shape.len(), o.data.to_vec())).collect();
    assert_eq!(numbers[0], (Datatype::Int64, 0, 1_i64.to_le_bytes().to_vec()));
    assert_eq!(numbers[1], (Datatype::Fp64, 0, 0.5_f64.to_le_bytes().to_vec()));
    assert_eq!(numbers[2], (Datatype::Bool, 0, vec![1]));

    let outputs = run_on("fields", &[2], &[1.0, 2.0]).unwrap();
    assert_eq!(names(&outputs), [Some("sum"), Some("double")]);
    assert_eq!((outputs[0].shape.len(), floats(&outputs[0])), (0, vec![3.0]));
}

#[test]
fn every_datatype_comes_out_and_goes_in() {
    let outputs = run_on("datatypes", &[3], &[0.0, 1.0, 2.0]).unwrap();
    let datatypes: Vec<_> = outputs.iter().map(|output| output.datatype).collect();
    let all: Vec<_> = Datatype::all().filter(|datatype| *datatype != Datatype::Bytes).collect();
    assert_eq!(datatypes, all);
    let model = load("datatypes");
    for output in &outputs[1..] {
        assert_eq!(output.data.len(), 3 * output.datatype.size().unwrap());
        let input = BatchInput { name: "x", datatype: output.datatype, shape: &[3], data: &output.data };
        let again = run(&*model, &[input]).unwrap();
        assert_eq!(floats(&again[11]), [0.0, 1.0, 2.0], "{}", output.datatype);
    }
}

// ---- strings

/// Strings as they stand on the wire.
fn wire(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|s| [&u32::try_from(s.len()).unwrap().to_le_bytes()[..], s].concat()).collect()
}

fn words<'a>(shape: &'a [i64], data: &'a [u8]) -> BatchInput<'a> {
    BatchInput { name: "words", datatype: Datatype::Bytes, shape, data }
}

#[test]
fn strings_go_in_and_come_out_whatever_their_bytes() {
    let model = load("echo");
    for strings in [
        &[&b"one"[..], b"", "\u{1f525}".as_bytes(), b"\xff\xfe\0\x80", &[b'a'; 70_000]][..],
        &[b"alone"],
        &[],
    ] {
        let data = wire(strings);
        let count = i64::try_from(strings.len()).unwrap();
        let outputs = run(&*model, &[words(&[count, 1], &data)]).unwrap();
        assert_eq!((outputs[0].datatype, &outputs[0].shape[..]), (Datatype::Bytes, &[count][..]));
        assert_eq!(outputs[0].data, data);
    }
    let outputs = run_on("text", &[1], &[0.0]).unwrap();
    assert_eq!((outputs[0].data.to_vec(), &outputs[0].shape[..]), (wire(&[b"a", b"b"]), &[2][..]));
}

#[test]
fn strings_stand_beside_tensors_and_in_containers() {
    let data = wire(&[b"ab", b"c", b""]);
    let inputs = [words(&[3], &data), fp32("x", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])];
    let outputs = run(&*load("words_and_numbers"), &inputs).unwrap();
    assert_eq!(names(&outputs), [None, Some("1.backwards")]);
    assert_eq!(floats(&outputs[0]), [2.0, 4.0, 3.0, 4.0, 0.0, 0.0]);
    assert_eq!(outputs[1].data, wire(&[b"ba", b"c", b""]));

    let outputs = run_on("scalars", &[2], &[1.5, 2.0]).unwrap();
    let given: Vec<_> =
        outputs.iter().map(|output| (output.datatype, output.shape.len(), output.data.to_vec())).collect();
    assert_eq!(
        given,
        [
            (Datatype::Int64, 0, 2_i64.to_le_bytes().to_vec()),
            (Datatype::Fp64, 0, 3.5_f64.to_le_bytes().to_vec()),
            (Datatype::Bool, 0, vec![1]),
            (Datatype::Bytes, 0, wire(&[b"of 2"])),
        ]
    );
}

#[test]
fn tensors_stand_beside_a_dictionary() {
    let x = fp32("x", &[2], &[1.0, 2.0]);
    let (left, right) =
        (fp32("tensors.left", &[2], &[10.0, 20.0]), fp32("tensors.right", &[2], &[0.5, 0.25]));
    let y = fp32("y", &[1], &[7.0]);
    for inputs in [[x, left, right, y], [right, y, left, x]] {
        let outputs = run(&*load("beside_dict"), &inputs).unwrap();
        assert_eq!(names(&outputs), [Some("sum"), Some("y")]);
        assert_eq!((floats(&outputs[0]), floats(&outputs[1])), (vec![12.0, 22.5], vec![7.0]));
    }
    assert_eq!(
        failure("beside_dict", &[x, left, right]),
        "PyTorch execute failure: forward() is missing value for argument 'y'"
    );
    assert!(failure("beside_dict", &[x, y]).contains("left"));
}

#[test]
fn empty_tensors_pass_through() {
    let outputs = run_on("identity", &[0, 4], &[]).unwrap();
    assert_eq!((outputs[0].shape.as_slice(), outputs[0].data.len()), ([0, 4].as_slice(), 0));
    let outputs = run(&*load("mlp"), &[fp32("input", &[0, 784], &[])]).unwrap();
    assert_eq!((outputs[0].shape.as_slice(), outputs[0].data.len()), ([0, 10].as_slice(), 0));
}

#[test]
fn arguments_with_defaults_may_be_left_out() {
    assert_eq!(floats(&run_on("optionals", &[2], &[1.0, 2.0]).unwrap()[0]), [2.0, 4.0]);
    let both = [fp32("x", &[2], &[1.0, 2.0]), fp32("mask", &[2], &[0.0, 1.0])];
    assert_eq!(floats(&run(&*load("optionals"), &both).unwrap()[0]), [0.0, 2.0]);
}

// ---- memory

#[test]
fn outputs_stay_as_they_are_when_the_buffer_is_written_again() {
    for name in ["identity", "views", "writes_input"] {
        let model = load(name);
        let mut instance = model.instance(1).unwrap();
        let mut buffer = HostBuffer::within(instance.host_memory());
        fill(&mut buffer, &[1.0, 2.0, 3.0, 4.0]);
        let input = BatchInput { data: buffer.as_slice(), ..fp32(first(name), &[2, 2], &[]) };
        let outputs = instance.forward(&[input]).unwrap();
        let before: Vec<_> = outputs.iter().map(floats).collect();
        match name {
            "identity" => assert_eq!(before, [vec![1.0, 2.0, 3.0, 4.0]]),
            "writes_input" => assert_eq!(before, [vec![2.0, 3.0, 4.0, 5.0]]),
            _ => assert_eq!(
                before,
                [
                    vec![3.0, 4.0],
                    vec![1.0, 3.0, 2.0, 4.0],
                    vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
                    vec![5.0, 6.0]
                ]
            ),
        }
        assert_eq!(
            buffer.as_slice(),
            bytemuck::cast_slice::<f32, u8>(&[1.0, 2.0, 3.0, 4.0]),
            "{name} wrote to its input"
        );
        fill(&mut buffer, &[9.0; 4]);
        assert_eq!(outputs.iter().map(floats).collect::<Vec<_>>(), before, "{name}");
    }
}

fn fill(buffer: &mut HostBuffer, values: &[f32]) {
    buffer.begin(values.len() * 4);
    buffer.extend(bytemuck::cast_slice(values));
}

#[test]
fn outputs_outlive_the_model_and_may_be_dropped_anywhere() {
    let outputs = {
        let model = load("ordinary");
        run(&*model, &[fp32("x", &[1, 2, 1], &[1.0, 2.0])]).unwrap()
    };
    backend().release_memory();
    let data = outputs[0].data.clone();
    drop(outputs);
    std::thread::spawn(move || assert_eq!(data.len(), 16)).join().unwrap();
}

#[test]
fn a_changing_attribute_that_is_handed_out_is_copied() {
    let model = load("gives_its_state");
    let mut instance = model.instance(1).unwrap();
    let first = instance.forward(&[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
    let second = instance.forward(&[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
    assert_eq!(floats(&first[0]), [1.0, 2.0]);
    assert_eq!(floats(&second[0]), [2.0, 4.0]);
}

#[test]
fn each_instance_of_a_stateful_module_has_its_own_state() {
    let model = load("stateful");
    let (mut one, mut other) = (model.instance(1).unwrap(), model.instance(1).unwrap());
    let step = |instance: &mut Box<dyn cresset_backend::ModelInstance>| {
        floats(&instance.forward(&[fp32("x", &[1, 1], &[0.0])]).unwrap()[0])[0]
    };
    assert_eq!((step(&mut one), step(&mut one), step(&mut other), step(&mut one)), (1.0, 2.0, 1.0, 3.0));
}

#[test]
fn a_module_that_keeps_its_input_keeps_a_copy() {
    let model = load("keeps_input");
    let mut instance = model.instance(1).unwrap();
    let mut buffer = HostBuffer::within(instance.host_memory());
    let mut answers = Vec::new();
    for value in [1.0, 2.0, 3.0] {
        fill(&mut buffer, &[value; 4]);
        let input =
            BatchInput { name: "x", datatype: Datatype::Fp32, shape: &[1, 4], data: buffer.as_slice() };
        answers.push(floats(&instance.forward(&[input]).unwrap()[0]));
    }
    assert_eq!(answers[1..], [vec![1.0; 4], vec![2.0; 4]], "what came before, not what overwrote it");
}

// ---- failures of forward

fn failure(name: &str, inputs: &[BatchInput<'_>]) -> String {
    match run(&*load(name), inputs) {
        Err(BackendError::Execute { message, detail }) => {
            assert!(!message.contains('\n') && detail.len() + 30 >= message.len(), "{message} / {detail}");
            message
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_failed_forward_says_why_in_one_line() {
    let zeros = [0.0; 785];
    assert_eq!(
        failure("mlp", &[fp32("input", &[1, 785], &zeros)]),
        "PyTorch execute failure: RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x785 and 784x512)"
    );
    let longs = vec![0_u8; 784 * 8];
    let input = BatchInput { name: "input", datatype: Datatype::Int64, shape: &[1, 784], data: &longs };
    assert_eq!(
        failure("mlp", &[input]),
        "PyTorch execute failure: RuntimeError: mat1 and mat2 must have the same dtype, but got Long and Float"
    );
    assert_eq!(
        failure("no_config", &[fp32("x", &[1], &[1.0])]),
        "PyTorch execute failure: forward() is missing value for argument 'y'"
    );
    assert_eq!(
        failure("identity", &[fp32("INPUT0", &[1], &[1.0]), fp32("y", &[1], &[1.0])]),
        "PyTorch execute failure: forward takes no 'y'"
    );
    assert_eq!(
        failure("raises", &[fp32("x", &[1], &[-1.0])]),
        "PyTorch execute failure: builtins.ValueError: the sum is below zero and here is more"
    );
    assert_eq!(
        failure("fails", &[fp32("x", &[1, 4], &[-1.0; 4])]),
        "PyTorch execute failure: RuntimeError: start out of range (expected to be in range of [-1, 1], but got 4)"
    );
}

#[test]
fn what_cannot_be_sent_is_named() {
    let x = [fp32("x", &[2], &[1.0, 2.0])];
    assert_eq!(failure("nothing", &x), "PyTorch execute failure: output '1' is None, which can't be sent");
    assert_eq!(
        failure("complex", &x),
        "PyTorch execute failure: output 0 is of type ComplexFloat, which can't be sent"
    );
    assert_eq!(failure("sparse", &x), "PyTorch execute failure: an output that is sparse is not supported");
}

#[test]
fn inputs_that_cannot_be_tensors_never_reach_libtorch() {
    let bytes = BatchInput { name: "INPUT0", datatype: Datatype::Bytes, shape: &[1], data: &[0; 4] };
    assert_eq!(
        failure("identity", &[bytes]),
        "PyTorch execute failure: 'INPUT0' of forward takes no strings"
    );
    for (shape, data) in [(&[1][..], &[0; 3][..]), (&[2], &[0; 4]), (&[1], &[9, 0, 0, 0, 1]), (&[-1], &[])] {
        let message =
            failure("echo", &[BatchInput { name: "words", datatype: Datatype::Bytes, shape, data }]);
        assert!(message.starts_with("input 'words' of type BYTES and shape"), "{message}");
    }
    assert!(
        failure("echo", &[fp32("words", &[1], &[1.0])]).ends_with("'words' of forward is of type List[str]")
    );
    for shape in [&[2][..], &[-1], &[i64::MAX, i64::MAX], &[0]] {
        let message = failure("identity", &[fp32("INPUT0", shape, &[1.0])]);
        assert!(message.starts_with("input 'INPUT0' of type FP32 and shape"), "{message}");
    }
}

#[test]
fn an_instance_goes_on_after_a_failure() {
    let model = load("fails");
    let mut instance = model.instance(1).unwrap();
    for _ in 0..5 {
        assert!(instance.forward(&[fp32("x", &[1, 4], &[-1.0; 4])]).is_err());
        let outputs = instance.forward(&[fp32("x", &[1, 4], &[1.0; 4])]).unwrap();
        assert_eq!(floats(&outputs[0]), [1.0; 4]);
    }
}

// ---- settings and threads

#[test]
fn no_gradients_whichever_mode() {
    let flags = |parameters: &[(&str, &str)]| {
        let model = load_with(&file("modes"), parameters).unwrap();
        let mut instance = model.instance(1).unwrap();
        // The third run goes through the optimised graph.
        let runs = (0..4).map(|_| {
            let outputs = instance.forward(&[fp32("x", &[1, 2], &[1.0, 2.0])]).unwrap();
            outputs.iter().map(|output| output.data[0]).collect::<Vec<u8>>()
        });
        let mut runs: Vec<_> = runs.collect();
        runs.dedup();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    };
    assert_eq!(flags(&[]), [0, 0, 1], "gradients off, none wanted, InferenceMode");
    assert_eq!(flags(&[("INFERENCE_MODE", "false")]), [0, 0, 0]);
    assert_eq!(flags(&[("DISABLE_OPTIMIZED_EXECUTION", "true")]), [0, 0, 1]);
}

#[test]
fn every_executor_gives_the_same_answers() {
    let x: Vec<f32> = (0_u16..784).map(|i| f32::from(i % 17) / 17.0).collect();
    let answers = |parameters: &[(&str, &str)]| {
        let model = load_with(&file("mlp"), parameters).unwrap();
        let mut instance = model.instance(1).unwrap();
        (0..4)
            .map(|_| floats(&instance.forward(&[fp32("input", &[1, 784], &x)]).unwrap()[0]))
            .collect::<Vec<_>>()
    };
    let expected = answers(&[]).remove(0);
    for parameters in [
        &[][..],
        &[("DISABLE_OPTIMIZED_EXECUTION", "true")],
        &[("ENABLE_JIT_EXECUTOR", "false")],
        &[("ENABLE_JIT_PROFILING", "false")],
        &[("ENABLE_TENSOR_FUSER", "true")],
    ] {
        for answer in answers(parameters) {
            assert_close(&answer, &expected);
        }
    }
    let error = load_with(&file("mlp"), &[("INTRA_OP_THREAD_COUNT", "1025")]).err().unwrap();
    assert!(matches!(error, BackendError::Load { .. }));
}

#[test]
fn an_instance_sets_the_threads_of_its_thread() {
    let model = load_with(&file("identity"), &[]).unwrap();
    let overridden = load_with(&file("identity"), &[("INTRA_OP_THREAD_COUNT", "3")]).unwrap();
    let count = |model: Arc<dyn Model>, threads| {
        let on_its_thread = move || {
            let _instance = model.instance(threads).unwrap();
            intra_op_threads()
        };
        std::thread::spawn(on_its_thread).join().unwrap()
    };
    assert_eq!(count(Arc::clone(&model), 2), 2);
    assert_eq!(count(model, 0), 1);
    assert_eq!(count(overridden, 1), 3);
}

/// The others' numbers are in between what a thread sets and what it has.
#[test]
fn an_instance_keeps_its_threads_whatever_others_set() {
    let model = load_with(&file("identity"), &[]).unwrap();
    let all_set = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for threads in 1..=8 {
            let (model, all_set) = (Arc::clone(&model), &all_set);
            scope.spawn(move || {
                let _instance = model.instance(threads).unwrap();
                all_set.wait();
                assert_eq!(intra_op_threads(), threads);
            });
        }
    });
}

#[test]
fn two_instances_share_a_module_from_two_threads() {
    let model = load("multi_io");
    let workers: Vec<_> = (0_u16..2)
        .map(|worker| {
            let model = Arc::clone(&model);
            std::thread::spawn(move || {
                let mut instance = model.instance(1).unwrap();
                for round in 0_u16..300 {
                    let rows = i64::from(round % 4 + 1);
                    let v = f32::from(worker * 1000 + round);
                    let n = usize::from(round % 4 + 1);
                    let outputs = instance
                        .forward(&[
                            fp32("vector", &[rows, 4], &vec![v; n * 4]),
                            fp32("matrix", &[rows, 2, 3], &vec![2.0; n * 6]),
                            fp32("scale", &[rows, 1], &vec![3.0; n]),
                        ])
                        .unwrap();
                    assert_eq!(outputs[1].shape, [rows, 2, 3]);
                    assert!(floats(&outputs[1]).iter().all(|value| *value == 6.0 + v), "{worker} {round}");
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

// ---- the machine

#[test]
fn says_what_it_is_and_which_accelerators_there_are() {
    assert_eq!(backend().description(), "libtorch 2.11.0");
    let missing = u32::MAX;
    let request = LoadRequest {
        path: &file("identity"),
        device: Device::cuda(missing),
        parameters: &Parameters::default(),
        overlapped: false,
        options: &LoadOptions::default(),
    };
    let error = backend().load(&request).err().unwrap();
    assert!(matches!(error, BackendError::Device { .. }), "{error:?}");
    match backend().accelerators() {
        Accelerators::Found { count, .. } => assert!(count > 0),
        Accelerators::None(reason) => {
            assert!(reason.contains("driver") || reason.contains("libtorch"), "{reason}");
            assert_eq!(error.to_string(), format!("device cuda:{missing} can't be used: {reason}"));
        }
    }
    if !driver_is_here() {
        let Accelerators::None(reason) = backend().accelerators() else { panic!("there is no driver") };
        assert!(reason.starts_with("no NVIDIA driver (libcuda.so.1 was not found)"), "{reason}");
    }
}

/// Whether the loader can find a driver, asked in another way.
fn driver_is_here() -> bool {
    Path::new("/proc/driver/nvidia").exists()
        || std::process::Command::new("ldconfig")
            .arg("-p")
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("libcuda.so.1"))
}

// ---- stages that overlap

fn overlapped(name: &str) -> Arc<dyn Model> {
    let request = LoadRequest {
        path: &file(name),
        device: Device::Cpu,
        parameters: &Parameters::default(),
        overlapped: true,
        options: &LoadOptions::default(),
    };
    backend().load(&request).unwrap()
}

fn host(inputs: &[BatchInput<'_>]) -> HostBatch {
    let copied = |input: &BatchInput<'_>| {
        let mut data = HostBuffer::new();
        data.extend(input.data);
        let (name, datatype, shape) = (Arc::from(input.name), input.datatype, input.shape.to_vec());
        HostInput { name, datatype, shape, data }
    };
    HostBatch { inputs: inputs.iter().map(copied).collect() }
}

#[test]
fn launched_batches_give_what_forward_gives() {
    let x = [1.0, -2.0, 3.5, 0.25];
    for name in ["identity", "views", "writes_input", "nested", "fields", "gives_its_state"] {
        let (shape, x): (&[i64], &[f32]) = if name == "views" { (&[2, 2], &x) } else { (&[2], &x[..2]) };
        let input = [fp32(first(name), shape, x)];
        let expected = run(&*load(name), &input).unwrap();
        let mut instance = overlapped(name).instance(1).unwrap();
        assert_eq!(instance.drive(), Drive::Overlapped);
        let (outputs, _) = instance.launch(host(&input)).unwrap().land();
        let outputs = outputs.unwrap();
        let seen = |outputs: &[BatchOutput]| -> Vec<_> {
            outputs.iter().map(|o| (o.name.clone(), o.datatype, o.shape.clone(), o.data.clone())).collect()
        };
        assert_eq!(seen(&outputs), seen(&expected), "{name}");
    }
}

#[test]
fn a_launched_batch_shares_no_memory_with_its_outputs() {
    let mut instance = overlapped("identity").instance(1).unwrap();
    let first = instance.launch(host(&[fp32("INPUT0", &[1, 2], &[1.0, 2.0])])).unwrap();
    let second = instance.launch(host(&[fp32("INPUT0", &[1, 2], &[3.0, 4.0])])).unwrap();
    let (outputs, mut batch) = first.land();
    let outputs = outputs.unwrap();
    batch.inputs[0].data.begin(8);
    batch.inputs[0].data.extend(&[0xFF; 8]);
    assert_eq!(floats(&outputs[0]), [1.0, 2.0]);
    assert_eq!(floats(&second.land().0.unwrap()[0]), [3.0, 4.0]);
}

#[test]
fn a_batch_that_fails_at_its_launch_says_what_forward_says() {
    let wrong = [fp32("input", &[1, 3], &[1.0, 2.0, 3.0])];
    let expected = run(&*load("mlp"), &wrong).unwrap_err();
    let mut instance = overlapped("mlp").instance(1).unwrap();
    let Err(error) = instance.launch(host(&wrong)) else { panic!("launched") };
    assert_eq!(error.to_string(), expected.to_string());
    // It goes on.
    let right = vec![0.5; 784];
    let outputs = instance.launch(host(&[fp32("input", &[1, 784], &right)])).unwrap().land().0.unwrap();
    assert_eq!(outputs[0].shape, [1, 10]);
    // A flight that is dropped ends by itself.
    drop(instance.launch(host(&[fp32("input", &[1, 784], &right)])).unwrap());
}

// ---- devices that a file names

fn load_on(name: &str, device: Device) -> Result<Arc<dyn Model>, BackendError> {
    backend().load(&LoadRequest {
        path: &file(name),
        device,
        parameters: &Parameters::default(),
        overlapped: false,
        options: &LoadOptions::default(),
    })
}

#[test]
fn a_device_that_a_trace_wrote_down_gives_way_to_the_one_that_is_used() {
    let model = load("traced_on_gpu");
    assert_eq!(
        model.signature().notes,
        [
            "its code names cuda:0, where it was traced or scripted; it runs on cpu, which was put in that place"
        ]
    );
    // Twice the input, 0 and 1, a buffer of 1 and a constant of 10.
    let mut instance = model.instance(1).unwrap();
    for _ in 0..3 {
        let outputs = instance.forward(&[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
        assert_close(&floats(&outputs[0]), &[13.0, 16.0]);
    }
    // As it was exported, without freezing.
    let plain = load_with(&file("traced_on_gpu"), &[("DISABLE_OPTIMIZED_EXECUTION", "true")]).unwrap();
    let outputs = run(&*plain, &[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
    assert_close(&floats(&outputs[0]), &[13.0, 16.0]);
}

/// Writes the checksum of this entry of a zip archive anew; the entry is stored
/// as it is.
fn checked_anew(bytes: &mut [u8], name: &[u8]) {
    let number = |bytes: &[u8], at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // Its place in the list of entries: the name stands there for the second time.
    let entry = bytes.windows(name.len()).rposition(|part| part == name).unwrap() - 46;
    let (length, head) = (number(bytes, entry + 24, 4), number(bytes, entry + 42, 4));
    let data = head + 30 + number(bytes, head + 26, 2) + number(bytes, head + 28, 2);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[data..data + length]);
    bytes[entry + 16..entry + 20].copy_from_slice(&crc.sum().to_le_bytes());
}

#[test]
fn a_device_of_a_kind_that_this_server_does_not_find_gives_way_as_well() {
    // The same length, so that the archive stays whole.
    let mut bytes = std::fs::read(file("traced_on_gpu")).unwrap();
    let (from, to) = (br#""cuda:0""#, br#""xpu:0" "#);
    let places: Vec<usize> = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(from)).collect();
    assert!(!places.is_empty(), "its code isn't compressed");
    for start in places {
        bytes[start..start + to.len()].copy_from_slice(to);
    }
    checked_anew(&mut bytes, b"traced_on_gpu/code/__torch__.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traced_on_xpu.pt");
    std::fs::write(&path, bytes).unwrap();
    let model = load_with(&path, &[]).unwrap();
    assert!(
        model.signature().notes[0].starts_with("its code names xpu:0, "),
        "{:?}",
        model.signature().notes
    );
    let outputs = run(&*model, &[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
    assert_close(&floats(&outputs[0]), &[13.0, 16.0]);
}

#[test]
fn a_script_that_names_gpus_runs_without_them_wherever_it_was_saved() {
    for name in ["scripted_for_gpu", "saved_on_gpu"] {
        let model = load(name);
        assert_eq!(
            model.signature().notes,
            ["its code names cuda, cuda:1, cuda:3, where it was traced or scripted; \
              it runs on cpu, which was put in that place"],
            "{name}"
        );
        let outputs = run(&*model, &[fp32("x", &[2], &[1.0, 2.0])]).unwrap();
        assert_close(&floats(&outputs[0]), &[6.0, 9.0]);
        let outputs = run(&*model, &[fp32("x", &[2], &[-1.0, -2.0])]).unwrap();
        assert_close(&floats(&outputs[0]), &[1.0, -1.0]);
    }
}

#[test]
fn a_file_that_names_what_it_runs_on_has_no_notes() {
    for name in ["on_processors", "mlp", "forked", "ordinary"] {
        assert_eq!(load(name).signature().notes, [""; 0], "{name}");
    }
}

#[test]
fn a_model_that_places_itself_is_read_as_it_was_saved() {
    let input = [fp32("x", &[2], &[1.0, 2.0])];
    let moved = load_on("on_processors", Device::AsSaved).unwrap();
    assert_close(&floats(&run(&*moved, &input).unwrap()[0]), &[2.0, 3.0]);

    if !matches!(backend().accelerators(), Accelerators::None(_)) {
        return;
    }
    // Nothing is put in place of what it names.
    let traced = load_on("traced_on_gpu", Device::AsSaved).unwrap();
    assert_eq!(traced.signature().notes, [""; 0]);
    assert!(run(&*traced, &input).is_err(), "there is no cuda:0");
    let Err(error) = load_on("saved_on_gpu", Device::AsSaved) else {
        panic!("its weights are on cuda:0");
    };
    assert!(error.to_string().contains("KIND_MODEL"), "{error}: {}", error.detail());
}

#[test]
fn memory_that_no_tensor_is_in_can_be_given_back_at_any_time() {
    backend().release_memory();
    assert_eq!(backend().device_memory().len(), backend().accelerators().devices().len());
    assert!(backend().vector_level().is_some_and(|level| !level.is_empty()));
    let cleaned = load_with(&file("identity"), &[("ENABLE_CACHE_CLEANING", "true")]).unwrap();
    let outputs = run(&*cleaned, &[fp32("INPUT0", &[1], &[1.0])]).unwrap();
    assert_eq!(floats(&outputs[0]), [1.0]);
}
