use std::sync::Arc;

use super::*;
use crate::transform::{Item, ItemKind, MadeRow, Postprocessor, Preprocessor, RowAnswer, TransformError};
use cresset_backend::{Argument, ArgumentKind, Signature};
use cresset_protocol::{Datatype, Tensor};

/// A preprocessor and a postprocessor that no release has: what they declare is all
/// that counts.
#[derive(Debug, PartialEq)]
struct Declared {
    inputs: Vec<MadeInput>,
    outputs: Vec<ReadOutput>,
}

const TEXT: ItemKind = ItemKind {
    table: "[transform.text]",
    name: "text",
    text: "a text",
    keys: &["text"],
    suffixes: &["txt"],
    recognise: |_| None,
    describe: |_| String::new(),
    refuse: |_| TransformError::Internal(String::new()),
};

impl Preprocessor for Declared {
    fn kind(&self) -> &'static ItemKind {
        &TEXT
    }

    fn inputs(&self) -> Vec<MadeInput> {
        self.inputs.clone()
    }

    fn preprocess(&self, _: Item) -> Result<Vec<MadeRow>, TransformError> {
        Ok(Vec::new())
    }

    fn equals(&self, _: &dyn Preprocessor) -> bool {
        false
    }
}

impl Postprocessor for Declared {
    fn table(&self) -> &'static str {
        "[transform.boxes]"
    }

    fn outputs(&self) -> Vec<ReadOutput> {
        self.outputs.clone()
    }

    fn postprocess(&self, _: &[&Tensor]) -> Result<Vec<Arc<dyn RowAnswer>>, TransformError> {
        Ok(Vec::new())
    }

    fn equals(&self, _: &dyn Postprocessor) -> bool {
        false
    }
}

fn made(name: &str, shape: &[i64]) -> MadeInput {
    let name = (!name.is_empty()).then(|| name.to_owned());
    MadeInput { name, datatype: Datatype::Int64, shape: shape.to_vec() }
}

fn read(name: &str, row: Option<&[i64]>) -> ReadOutput {
    let name = (!name.is_empty()).then(|| name.to_owned());
    ReadOutput { name, datatype: Datatype::Fp32, row: row.map(<[i64]>::to_vec), elements: "boxes" }
}

/// A model that takes `ids` and `mask`, and gives `boxes`.
fn check(inputs: &[MadeInput], outputs: &[ReadOutput]) -> Result<(), String> {
    let config = ModelConfig::from_pbtxt(
        r#"max_batch_size: 8
           input [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] },
                   { name: "mask" data_type: TYPE_INT64 dims: [ -1 ] } ]
           output [ { name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] },
                    { name: "classes" data_type: TYPE_INT64 dims: [ -1 ] } ]"#,
        "m",
    )
    .unwrap();
    let argument = |name: &str| Argument { name: name.into(), kind: ArgumentKind::Tensor, optional: false };
    let signature = Signature { arguments: vec![argument("ids"), argument("mask")], ..Signature::default() };
    let binding = Binding::new(&config, &signature).unwrap();
    let declared = || Arc::new(Declared { inputs: inputs.to_vec(), outputs: outputs.to_vec() });
    let before = (!inputs.is_empty()).then(|| declared() as Arc<dyn Preprocessor>);
    let behind = (!outputs.is_empty()).then(|| declared() as Arc<dyn Postprocessor>);
    check_transforms(&Transforms::new(before, behind), &config, &binding)
}

fn refused(inputs: &[MadeInput], outputs: &[ReadOutput]) -> String {
    check(inputs, outputs).unwrap_err()
}

#[test]
fn inputs_are_held_against_what_is_made() {
    let both = [made("ids", &[1, -1]), made("mask", &[1, -1])];
    check(&both, &[]).unwrap();
    insta::assert_snapshot!(refused(&both[..1], &[]), @"[transform.text]: the model takes more than one input");
    insta::assert_snapshot!(refused(&[made("", &[1, 9])], &[]), @"[transform.text] names no input, and the model has 2");
    insta::assert_snapshot!(refused(&[made("text", &[1, 9])], &[]), @"[transform.text] input = 'text': the model has no such input");
    insta::assert_snapshot!(
        refused(&[made("ids", &[1, 9]), made("mask", &[1, 9, 1])], &[]),
        @"[transform.text] makes INT64 [9, 1], but input 'mask' takes INT64 [-1]"
    );
    let floats = MadeInput { datatype: Datatype::Fp32, ..both[1].clone() };
    insta::assert_snapshot!(
        refused(&[both[0].clone(), floats], &[]),
        @"[transform.text] makes FP32 [-1], but input 'mask' takes INT64 [-1]"
    );
}

#[test]
fn outputs_are_held_against_what_is_read() {
    check(&[], &[read("", None)]).unwrap();
    check(&[], &[read("boxes", Some(&[-1, 4]))]).unwrap();
    insta::assert_snapshot!(refused(&[], &[read("scores", None)]), @"[transform.boxes] output = 'scores': the model has no such output");
    insta::assert_snapshot!(refused(&[], &[read("classes", None)]), @"[transform.boxes]: output 'classes' is INT64, and boxes are FP32");
    insta::assert_snapshot!(
        refused(&[], &[read("", Some(&[-1, 5]))]),
        @"[transform.boxes] reads FP32 [-1, 5], but output 'boxes' is FP32 [-1, 4]"
    );
}
