//! The metadata of the server and its models.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::HttpResult;

/// `GET /v2`.
pub(super) async fn server(state: Data<HttpState>) -> HttpResponse {
    HttpResponse::Ok().json(state.engine.metadata())
}

/// `GET /v2/models/{model}[/versions/{version}]`.
pub(super) async fn model(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    Ok(HttpResponse::Ok().json(state.engine.model_metadata(&path.model, path.version)?))
}

/// `GET /v2/models/{model}[/versions/{version}]/config`.
pub(super) async fn config(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    let json = state.engine.model_config(&path.model, path.version)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(json))
}
