use super::*;
use crate::model_settings::ModelSettings;
use cresset_backend::{Argument, ArgumentKind, Signature};

const CONFIG: &str = r#"
    max_batch_size: 8
    input [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] },
            { name: "features" data_type: TYPE_FP16 dims: [ 2, -1, -1 ] },
            { name: "mask" data_type: TYPE_BOOL dims: [ 1, -1 ] },
            { name: "count" data_type: TYPE_INT32 dims: [ 1 ] reshape { shape: [ ] } },
            { name: "scale" data_type: TYPE_FP32 dims: [ 4 ] } ]
    output [ { name: "tokens" data_type: TYPE_FP32 dims: [ -1, 3, -1 ] },
             { name: "pooled" data_type: TYPE_FP32 dims: [ 3 ] } ]
    dynamic_batching { }
"#;

/// A model of these five inputs, with these settings.
fn made(config: &str, settings: &str) -> Result<Batching, String> {
    let config = ModelConfig::from_pbtxt(config, "m").unwrap();
    let argument =
        |name: &str| Argument { name: name.to_owned(), kind: ArgumentKind::Tensor, optional: false };
    let arguments = config.inputs.iter().map(|input| argument(&input.name)).collect();
    let binding = Binding::new(&config, &Signature { arguments, ..Signature::default() }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(SETTINGS_FILENAME), settings).unwrap();
    let settings = ModelSettings::read(directory.path()).unwrap().batching;
    Batching::new(&settings, &config, &binding, None).map_err(|error| error.to_string())
}

fn refused(settings: &str) -> String {
    made(CONFIG, settings).unwrap_err()
}

#[test]
fn names_become_places() {
    let settings = "[padding]\nmask = \"mask\"\n[padding.inputs]\nids = { value = 7 }\nfeatures = { dimension = 1, value = 1.5 }\n";
    let padding = made(CONFIG, settings).unwrap().padding.unwrap();
    let expected = [
        Fill::Padded { dimension: 1, element: vec![7, 0, 0, 0, 0, 0, 0, 0] },
        Fill::Padded { dimension: 2, element: f16::from_f32(1.5).to_le_bytes().to_vec() },
        Fill::Mask { dimension: 2, datatype: Datatype::Bool },
        Fill::AsSent,
        Fill::AsSent,
    ];
    assert_eq!(padding.inputs, expected);
    let varies = CutBack { name: "tokens".to_owned(), dimensions: vec![1, 3], rule: CutRule::Varies };
    assert_eq!(padding.outputs, [varies], "those that are configured to vary");

    let settings = "[padding]\nlength = \"count\"\ninputs.ids = {}\noutputs.tokens = 2\n";
    let padding = made(CONFIG, settings).unwrap().padding.unwrap();
    assert_eq!(padding.inputs[3], Fill::Length { datatype: Datatype::Int32 });
    let named = CutBack { name: "tokens".to_owned(), dimensions: vec![3], rule: CutRule::Named };
    assert_eq!(padding.outputs, [named]);
    assert_eq!(
        made(CONFIG, "[padding]\nunmarked = true\ninputs.ids = {}\noutputs = {}\n")
            .unwrap()
            .padding
            .unwrap()
            .outputs,
        []
    );
}

#[test]
fn names_that_the_model_has_no_place_for_are_placed() {
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"attention\"\ninputs.ids = {}\n"),
        @"cresset.toml, line 2: [padding] names input 'attention': the model takes 'ids', 'features', 'mask', 'count', 'scale'"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.ids = { dimension = 1 }\n"),
        @"cresset.toml, line 3: dimension is 1, but input 'ids' has dims [-1]: 0 to 0 was expected"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.features = { dimension = 0 }\n"),
        @"cresset.toml, line 3: dimension 0 of input 'features' is 2 in config.pbtxt: one that varies, -1, was expected"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.features = {}\n"),
        @"cresset.toml, line 3: input 'features' has dims [2, -1, -1] with 2 that vary: 'dimension' says which is padded"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.count = {}\n"),
        @"cresset.toml, line 3: input 'count' is reshaped by config.pbtxt, and can't be padded"
    );
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"scale\"\ninputs.ids = {}\n"),
        @"cresset.toml, line 2: input 'scale' has dims [4] with 0 that vary: 'dimension' says which is padded"
    );
    insta::assert_snapshot!(
        refused("[padding]\nlength = \"scale\"\ninputs.ids = {}\n"),
        @"cresset.toml, line 2: length input 'scale' has dims [4]: one number for each row, [ 1 ], was expected"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.ids = { value = 0.5 }\n"),
        @"cresset.toml, line 3: value of input 'ids' is 0.5, which is no INT64"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.ids = {}\noutputs.logits = 0\n"),
        @"cresset.toml, line 4: [padding.outputs] names 'logits': the model has no such output"
    );
    insta::assert_snapshot!(
        refused("[padding]\nunmarked = true\ninputs.ids = {}\noutputs.tokens = [0, 1]\n"),
        @"cresset.toml, line 4: [padding.outputs] tokens is 1, but output 'tokens' has dims [-1, 3, -1]: the place of one that varies, -1, was expected"
    );
    let of_floats = CONFIG.replace("TYPE_INT32", "TYPE_FP32");
    insta::assert_snapshot!(
        made(&of_floats, "[padding]\nlength = \"count\"\ninputs.ids = {}\n").unwrap_err(),
        @"cresset.toml, line 2: length input 'count' is of FP32: whole numbers of 32 or 64 bits were expected"
    );
}

#[test]
fn what_is_about_batches_needs_them() {
    let single = CONFIG.replace("dynamic_batching { }", "");
    insta::assert_snapshot!(
        made(&single, "\n[padding]\nunmarked = true\ninputs.ids = {}\n").unwrap_err(),
        @"cresset.toml, line 2: [padding] is about batches, and the model has none: config.pbtxt has no dynamic_batching"
    );
    insta::assert_snapshot!(
        made(&single, "[batching]\nmax_elements = 9\n").unwrap_err(),
        @"cresset.toml: [batching] max_elements is about batches, and the model has none: config.pbtxt has no dynamic_batching"
    );
    insta::assert_snapshot!(
        made(&single, "[batching]\nsplit_large_requests = true\n").unwrap_err(),
        @"cresset.toml: [batching] split_large_requests is about batches, and the model has none: config.pbtxt has no dynamic_batching"
    );
    assert!(made(&single, "").is_ok());
}

#[test]
fn an_element_is_of_its_type_or_none() {
    let of = |datatype, value| element(datatype, value);
    assert_eq!(of(Datatype::Bool, Number::Whole(1)), Some(vec![1]));
    assert_eq!(of(Datatype::Bool, Number::Whole(2)), None);
    assert_eq!(of(Datatype::Uint8, Number::Whole(-1)), None);
    assert_eq!(of(Datatype::Int8, Number::Whole(-1)), Some(vec![255]));
    assert_eq!(of(Datatype::Int16, Number::Whole(1 << 15)), None);
    assert_eq!(of(Datatype::Int32, Number::Real(1.0)), None);
    assert_eq!(of(Datatype::Bf16, Number::Whole(1)), Some(vec![0x80, 0x3f]));
    assert_eq!(
        of(Datatype::Fp32, Number::Real(f64::NEG_INFINITY)),
        Some(f32::NEG_INFINITY.to_le_bytes().to_vec())
    );
    assert_eq!(of(Datatype::Fp64, Number::Whole(3)), Some(3_f64.to_le_bytes().to_vec()));
    assert_eq!(of(Datatype::Bytes, Number::Whole(0)), None);
}

#[test]
fn rows_are_as_large_as_their_largest_input() {
    let settings = "[batching]\nmax_elements = 100\n[padding]\nmask = \"mask\"\n[padding.inputs]\nids = {}\nfeatures = { dimension = 1 }\n";
    let batching = made(CONFIG, settings).unwrap();
    let tensor = |shape: &[i64]| Tensor {
        name: Arc::from("x"),
        datatype: Datatype::Int64,
        shape: shape.to_vec(),
        data: bytes::Bytes::new(),
    };
    let inputs = [tensor(&[2, 9]), tensor(&[2, 2, 9, 5]), tensor(&[2, 1, 9]), tensor(&[2]), tensor(&[2, 4])];
    assert_eq!(batching.row_size(&inputs, 9), RowSize { length: 9, per_length: 10, fixed: 4 });
    let unlimited = made(CONFIG, "").unwrap();
    assert_eq!(unlimited.row_size(&inputs, 0), RowSize::default());
}

#[test]
fn a_request_is_cut_into_parts_only_where_that_is_asked_for() {
    let size = |fixed| RowSize { length: 0, per_length: 0, fixed };
    let refusing = made(CONFIG, "[batching]\nmax_elements = 100\n").unwrap();
    assert_eq!(refusing.rows_of_parts(9, 8, &size(1)), None);
    let splitting = made(CONFIG, "[batching]\nsplit_large_requests = true\n").unwrap();
    assert_eq!(
        [8, 9, 1000].map(|rows| splitting.rows_of_parts(rows, 8, &size(1000))),
        [None, Some(8), Some(8)]
    );
    let both = made(CONFIG, "[batching]\nsplit_large_requests = true\nmax_elements = 100\n").unwrap();
    assert_eq!(
        [(3, 40), (2, 40), (2, 200)].map(|(rows, fixed)| both.rows_of_parts(rows, 8, &size(fixed))),
        [Some(2), None, Some(1)]
    );
}
