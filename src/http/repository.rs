//! The model repository: what it holds, and loading and unloading.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::body;
use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::HttpResult;
use cresset_protocol::{IndexRequest, LoadParameters, UnloadParameters};

/// `POST /v2/repository/index`, with or without a body.
pub(super) async fn index(state: Data<HttpState>, request: HttpRequest, payload: Payload) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    let asked = IndexRequest::from_json(&body)?;
    Ok(HttpResponse::Ok().json(state.engine.repository_index(asked).await?))
}

/// `POST /v2/repository/models/{model}/load`.
pub(super) async fn load(
    state: Data<HttpState>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    state.engine.load_model(&path.model, LoadParameters::from_json(&body)?).await?;
    Ok(HttpResponse::Ok().finish())
}

/// `POST /v2/repository/models/{model}/unload`.
pub(super) async fn unload(
    state: Data<HttpState>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    state.engine.unload_model(&path.model, UnloadParameters::from_json(&body)?).await?;
    Ok(HttpResponse::Ok().finish())
}
