//! `ModelInfer` and `ModelStreamInfer`.

use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt as _};
use tonic::Status;

use super::body::Lease;
use super::metadata::asked_version;
use super::proto::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use super::{decode, encode, status};
use crate::admission::Permit;
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::error::Result;

/// How many requests of one stream are worked on at a time: enough to fill a
/// batch, and no more than their answers' memory is worth.
const AT_A_TIME: usize = 64;

/// Answers one request; `permit` covers its memory. Dropping the future cancels
/// it.
///
/// The name of the model is in the message, and the framework gives only
/// complete messages. So a request for an unknown or overloaded model is
/// refused after its message was read, not before as over HTTP; but before its
/// tensors are.
pub(super) async fn infer(
    engine: &Engine,
    context: RequestContext,
    message: ModelInferRequest,
    permit: Permit,
) -> Result<ModelInferResponse> {
    let version = asked_version(&message.model_version)?;
    let model = engine.admit(&message.model_name, version)?;
    let request = decode::request(message, permit)?;
    let response = engine.infer(context, &model, request).await?;
    Ok(encode::response(response))
}

/// Answers requests as they come, several at a time and in their order. A
/// request's error is answered in its place. An error of the stream itself ends
/// it, after the answers to all earlier requests.
pub(super) fn stream(
    engine: Arc<Engine>,
    context: RequestContext,
    requests: impl Stream<Item = Result<ModelInferRequest, Status>>,
    lease: Lease,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> {
    requests
        .map(move |message| {
            // All bytes since the last message belong to this one.
            let permit = lease.take();
            let (engine, context) = (Arc::clone(&engine), context.clone());
            async move { Ok::<_, Status>(answer(&engine, context, message?, permit).await) }
        })
        .buffered(AT_A_TIME)
}

async fn answer(
    engine: &Engine,
    context: RequestContext,
    message: ModelInferRequest,
    permit: Permit,
) -> ModelStreamInferResponse {
    let id = context.id.clone();
    // Tells a client which of its requests an error is about.
    let about = ModelInferResponse {
        model_name: message.model_name.clone(),
        model_version: message.model_version.clone(),
        id: message.id.clone(),
        ..ModelInferResponse::default()
    };
    match infer(engine, context, message, permit).await {
        Ok(response) => {
            ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
        }
        Err(error) => {
            if status::is_server_error(status::code(error.code())) {
                tracing::warn!(request = %id, model = about.model_name, %error, "request of a stream failed");
            }
            ModelStreamInferResponse {
                error_message: error.message().to_owned(),
                infer_response: Some(about),
            }
        }
    }
}
