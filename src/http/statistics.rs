//! The statistics of models, by Triton's statistics extension.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::HttpResult;
use cresset_protocol::Statistics;

/// `GET /v2/models/stats`.
pub(super) async fn all(state: Data<HttpState>) -> HttpResponse {
    HttpResponse::Ok().json(Statistics { model_stats: state.engine.statistics() })
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`.
pub(super) async fn model(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    let model_stats = state.engine.model_statistics(&path.model, path.version)?;
    Ok(HttpResponse::Ok().json(Statistics { model_stats }))
}
