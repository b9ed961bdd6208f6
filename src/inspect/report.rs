//! The findings, as text for people.

use std::fmt::Write as _;
use std::path::Path;

use super::DescribedInput;
use super::config::wire_name;
use super::trial::{Found, FoundOutput};
use cresset_backend::{Argument, DeclaredTensor, Fact, Model};
use cresset_protocol::Datatype;

/// The model file's description of itself.
pub(super) fn of_file(file: &Path, model: &dyn Model) -> String {
    let signature = model.signature();
    // Writing to a String can't fail, here and below.
    let mut text = format!("{}: {}\n\nforward takes\n", file.display(), model.format().name);
    if signature.arguments.is_empty() {
        text += "  nothing\n";
    }
    for Argument { name, kind, optional } in &signature.arguments {
        let default = if *optional { ", may be left out" } else { "" };
        let _ = writeln!(text, "  {name}: {kind}{default}");
    }
    declared(&mut text, "it declares of its inputs", &signature.inputs);
    declared(&mut text, "it declares of its outputs", &signature.outputs);
    let state = signature.stateful.as_deref().map_or_else(
        || "keeps none: instances share it".to_owned(),
        |why| {
            format!(
                "{why}: it has one instance, whose state all callers share, and their requests aren't batched"
            )
        },
    );
    let devices = match signature.notes.as_slice() {
        [] => "none is written into its code".to_owned(),
        notes => notes.join("; "),
    };
    let _ = writeln!(text, "\nstate: {state}");
    for Fact { label, text: fact } in model.facts() {
        let _ = writeln!(text, "{label}: {fact}");
    }
    let _ = writeln!(text, "devices: {devices}");
    text
}

/// The declared datatypes and shapes, if the file has them.
fn declared(text: &mut String, heading: &str, tensors: &[DeclaredTensor]) {
    if !tensors.is_empty() {
        let _ = writeln!(text, "{heading}");
    }
    for tensor in tensors {
        let _ = writeln!(text, "  {}: {tensor}", tensor.name);
    }
}

/// The results of the trial.
pub(super) fn of_trial(inputs: &[DescribedInput], found: &Found, warning: Option<&str>) -> String {
    let mut text = "\ninputs\n".to_owned();
    for DescribedInput { name, datatype, dims, .. } in inputs {
        let _ = writeln!(text, "  {name}: {datatype} {dims:?}");
    }
    text += "outputs\n";
    let batch = found.batch.is_ok().then_some(-1);
    for (index, output) in found.outputs.iter().enumerate() {
        let dims: Vec<i64> = batch.into_iter().chain(output.dims.iter().copied()).collect();
        let _ = writeln!(text, "  {}: {} {dims:?}", wire_name(index, output), output.datatype);
    }
    let batch = match &found.batch {
        Ok(()) => "dimension 0: rows have the same answers alone and together".to_owned(),
        Err(why) => format!("none: {why}"),
    };
    let _ = writeln!(text, "batch: {batch}");
    let triton = inputs.iter().filter_map(|input| refused_by_triton(input.datatype, &input.name));
    let triton = triton.chain(found.outputs.iter().enumerate().filter_map(|(index, output)| {
        let name = wire_name(index, output);
        refused_by_triton(output.datatype, &name)
            .or_else(|| refused_as_output(output, batch_rank(found), &name))
    }));
    for note in found.notes.iter().cloned().chain(warning.map(str::to_owned)).chain(triton) {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn batch_rank(found: &Found) -> usize {
    usize::from(found.batch.is_ok())
}

fn refused_by_triton(datatype: Datatype, name: &str) -> Option<String> {
    let refused = matches!(datatype, Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64 | Datatype::Bf16);
    refused
        .then(|| format!("'{name}' is {datatype}, which Triton's PyTorch backend refuses; it is served here"))
}

fn refused_as_output(output: &FoundOutput, batch: usize, name: &str) -> Option<String> {
    let what = if output.name.is_some() {
        "a value of a container"
    } else if output.dims.len() + batch == 0 {
        "a number"
    } else {
        return None;
    };
    Some(format!("'{name}' is {what}, which Triton's PyTorch backend refuses; it is served here"))
}
