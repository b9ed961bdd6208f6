//! A model's metadata, as in TensorFlow Serving.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::{Map, Value, json};

use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::HttpResult;
use cresset_protocol::{Datatype, ModelMetadata, TensorMetadata};

/// `GET /v1/models/{model}[/versions/{version}]/metadata`.
pub(super) async fn metadata(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    let metadata = state.engine.model_metadata(&path.model, path.version)?;
    Ok(HttpResponse::Ok().json(described(&metadata)))
}

fn described(model: &ModelMetadata) -> Value {
    let signature = json!({
        "inputs": tensors(&model.inputs),
        "outputs": tensors(&model.outputs),
        "method_name": "tensorflow/serving/predict",
    });
    json!({
        // The newest, if the path names none.
        "model_spec": { "name": model.name, "signature_name": "", "version": model.versions.last() },
        "metadata": { "signature_def": { "signature_def": { "serving_default": signature } } },
    })
}

fn tensors(tensors: &[TensorMetadata]) -> Value {
    Value::Object(tensors.iter().map(|t| (t.name.clone(), tensor(t))).collect::<Map<_, _>>())
}

fn tensor(tensor: &TensorMetadata) -> Value {
    let datatype = tensor.datatype.parse::<Datatype>().ok();
    // Protobuf's JSON has 64-bit numbers as strings.
    let dims: Vec<_> =
        tensor.shape.iter().map(|size| json!({ "size": size.to_string(), "name": "" })).collect();
    json!({
        "name": tensor.name,
        "dtype": datatype.map_or("DT_INVALID", name),
        // Unknown if there is only a model file, which has no shapes.
        "tensor_shape": { "dim": dims, "unknown_rank": datatype.is_none() },
    })
}

/// TensorFlow's name for a datatype.
fn name(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "DT_BOOL",
        Datatype::Uint8 => "DT_UINT8",
        Datatype::Uint16 => "DT_UINT16",
        Datatype::Uint32 => "DT_UINT32",
        Datatype::Uint64 => "DT_UINT64",
        Datatype::Int8 => "DT_INT8",
        Datatype::Int16 => "DT_INT16",
        Datatype::Int32 => "DT_INT32",
        Datatype::Int64 => "DT_INT64",
        Datatype::Fp16 => "DT_HALF",
        Datatype::Bf16 => "DT_BFLOAT16",
        Datatype::Fp32 => "DT_FLOAT",
        Datatype::Fp64 => "DT_DOUBLE",
        Datatype::Bytes => "DT_STRING",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_told_as_far_as_it_is_known() {
        let known = TensorMetadata { name: "x".to_owned(), datatype: "FP32".to_owned(), shape: vec![-1, 3] };
        assert_eq!(
            tensor(&known),
            json!({"name": "x", "dtype": "DT_FLOAT", "tensor_shape":
                {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": false}})
        );
        let unknown = TensorMetadata { name: "x".to_owned(), datatype: String::new(), shape: Vec::new() };
        assert_eq!(
            tensor(&unknown),
            json!({"name": "x", "dtype": "DT_INVALID", "tensor_shape": {"dim": [], "unknown_rank": true}})
        );
    }
}
