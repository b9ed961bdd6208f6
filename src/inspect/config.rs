//! Writes the text of a configuration from the described inputs and the trial's
//! findings.

use std::fmt::Write as _;

use super::DescribedInput;
use super::trial::{Found, FoundOutput};
use crate::model_config::output_name;
use cresset_backend::ModelFormat;
use cresset_protocol::Datatype;

/// The fields of a configuration beside its tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    /// The format of the model's file.
    pub(super) format: &'static ModelFormat,
    /// If it is left out, the model's directory names the model.
    pub(super) name: Option<&'a str>,
    pub(super) filename: &'a str,
    /// Zero if dimension 0 is no batch.
    pub(super) max_batch_size: u32,
    pub(super) stateful: bool,
}

/// The whole text.
pub(super) fn text(header: Header<'_>, inputs: &[DescribedInput], found: &Found) -> String {
    let mut text = inputs_text(header, inputs);
    let outputs: Vec<String> = found
        .outputs
        .iter()
        .enumerate()
        .map(|(index, output)| {
            tensor(&wire_name(index, output), output.datatype, &output.dims, header.max_batch_size > 0)
        })
        .collect();
    list(&mut text, "output", &outputs);
    if header.stateful {
        text += "# It keeps state: one instance, and no batches across callers.\ninstance_group [ { count: 1 } ]\n";
    } else if header.max_batch_size > 0 {
        text += "dynamic_batching { }\n";
    }
    text
}

/// The text without outputs, which is enough to bind the inputs.
pub(super) fn inputs_text(header: Header<'_>, inputs: &[DescribedInput]) -> String {
    let mut text = String::new();
    if let Some(name) = header.name {
        // Writing to a String can't fail, here and below.
        let _ = writeln!(text, "name: {}", quoted(name));
    }
    let _ = writeln!(text, "platform: {}", quoted(header.format.names.platform));
    if header.filename != header.format.files.default_filename {
        let _ = writeln!(text, "default_model_filename: {}", quoted(header.filename));
    }
    let _ = writeln!(text, "max_batch_size: {}", header.max_batch_size);
    let batched = header.max_batch_size > 0;
    let listed: Vec<String> = inputs
        .iter()
        .map(|input| {
            let rows = usize::from(batched && !input.shared);
            tensor(&input.name, input.datatype, &input.dims[rows..], batched && !input.shared)
        })
        .collect();
    list(&mut text, "input", &listed);
    text
}

/// An output's name on the wire.
pub(super) fn wire_name(index: usize, output: &FoundOutput) -> String {
    output_name(index, output.name.as_deref())
}

fn list(text: &mut String, field: &str, entries: &[String]) {
    if !entries.is_empty() {
        let _ = writeln!(text, "{field} [\n{}\n]", entries.join(",\n"));
    }
}

/// One entry. A configuration's dims must not be empty, so a tensor without
/// dimensions behind the batch is reshaped. So is a string: Triton takes it in
/// this form only.
fn tensor(name: &str, datatype: Datatype, dims: &[i64], batched: bool) -> String {
    let kind = if datatype == Datatype::Bytes { "STRING" } else { datatype.name() };
    let empty = dims.is_empty() || (datatype == Datatype::Bytes && dims.iter().all(|dim| *dim == 1));
    let reshape = if batched && empty { " reshape { shape: [ ] }" } else { "" };
    let dims: Vec<String> = match dims {
        [] => vec!["1".to_owned()],
        dims => dims.iter().map(ToString::to_string).collect(),
    };
    format!("  {{ name: {} data_type: TYPE_{kind} dims: [ {} ]{reshape} }}", quoted(name), dims.join(", "))
}

/// A string of the text format.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_ascii_control() => {
                let _ = write!(quoted, "\\{:03o}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_config::ModelConfig;
    use cresset_backend::TORCH_SCRIPT;

    fn input(name: &str, datatype: Datatype, dims: &[i64]) -> DescribedInput {
        DescribedInput { name: name.to_owned(), datatype, dims: dims.to_vec(), shared: false }
    }

    fn output(name: Option<&str>, datatype: Datatype, dims: &[i64]) -> FoundOutput {
        FoundOutput { name: name.map(str::to_owned), datatype, dims: dims.to_vec() }
    }

    #[test]
    fn a_batching_model_s_text_is_read_back_as_meant() {
        let header = Header {
            format: &TORCH_SCRIPT,
            name: Some("m"),
            filename: "net.pt",
            max_batch_size: 8,
            stateful: false,
        };
        let inputs = [
            input("x", Datatype::Fp32, &[-1, 3, -1]),
            input("n", Datatype::Int64, &[-1]),
            input("w", Datatype::Bytes, &[-1, 1]),
        ];
        let outputs = vec![output(None, Datatype::Fp32, &[10]), output(Some("a.\"0\""), Datatype::Bf16, &[])];
        let found = Found { outputs, batch: Ok(()), notes: Vec::new() };
        let text = text(header, &inputs, &found);
        assert_eq!(
            text,
            r#"name: "m"
platform: "pytorch_libtorch"
default_model_filename: "net.pt"
max_batch_size: 8
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] },
  { name: "n" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } },
  { name: "w" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } }
]
output [
  { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "a.\"0\"" data_type: TYPE_BF16 dims: [ 1 ] reshape { shape: [ ] } }
]
dynamic_batching { }
"#
        );
        let config = ModelConfig::from_pbtxt(&text, "m").unwrap();
        assert_eq!((config.outputs[1].name.as_str(), config.warnings.len()), ("a.\"0\"", 0));
    }

    #[test]
    fn a_model_that_does_not_batch_has_whole_shapes() {
        let header = Header {
            format: &TORCH_SCRIPT,
            name: None,
            filename: "model.pt",
            max_batch_size: 0,
            stateful: true,
        };
        let found = Found {
            outputs: vec![output(None, Datatype::Int64, &[]), output(None, Datatype::Bytes, &[-1])],
            batch: Err("it isn't".to_owned()),
            notes: Vec::new(),
        };
        let text = text(header, &[input("x", Datatype::Fp32, &[-1, 4])], &found);
        assert!(text.contains("dims: [ -1, 4 ] }"), "{text}");
        assert!(text.contains(r#"{ name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ 1 ] }"#), "{text}");
        assert!(text.ends_with("instance_group [ { count: 1 } ]\n"), "{text}");
        ModelConfig::from_pbtxt(&text, "any").unwrap();
        assert_eq!(quoted("a\n\\"), r#""a\012\\""#);
    }
}
