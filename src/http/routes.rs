//! Which path leads where.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Route, guard};

use super::status::{method_not_allowed, no_such_path};
use super::{health, inference, kserve, metadata, not_offered, prediction, repository, statistics};

/// A model, and a version of it.
const MODEL: [&str; 2] = ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"];

/// The inference listener's.
pub(super) fn inference(config: &mut ServiceConfig) {
    // Paths are tried in this order, each by a regular expression: what is
    // asked most comes first.
    for model in MODEL {
        route(config, &format!("{model}/infer"), Method::POST, web::post().to(inference::model));
    }
    probes(config);
    route(config, "/v2", Method::GET, get().to(metadata::server));
    // Before the models: none can be reached that has this name, as with Triton.
    route(config, "/v2/models/stats", Method::GET, get().to(statistics::all));
    for model in MODEL {
        route(config, model, Method::GET, get().to(metadata::model));
        route(config, &format!("{model}/config"), Method::GET, get().to(metadata::config));
        route(config, &format!("{model}/stats"), Method::GET, get().to(statistics::model));
        route(config, &format!("{model}/ready"), Method::GET, get().to(health::model_ready));
    }
    route(config, "/v2/repository/index", Method::POST, web::post().to(repository::index));
    let control = "/v2/repository/models/{model}";
    route(config, &format!("{control}/load"), Method::POST, web::post().to(repository::load));
    route(config, &format!("{control}/unload"), Method::POST, web::post().to(repository::unload));
    route(config, "/v1/models", Method::GET, get().to(kserve::models));
    // Before the model, whose name would otherwise end in it.
    route(config, "/v1/models/{model}:predict", Method::POST, web::post().to(kserve::predict));
    route(config, "/v1/models/{model}", Method::GET, get().to(kserve::model));
    route(config, "/ping", Method::GET, get().to(health::ping));
    route(config, "/predict", Method::POST, web::post().to(prediction::default_model));
    for model in ["/predictions/{model}", "/predictions/{model}/{version}"] {
        route(config, model, Method::POST, web::post().to(prediction::model));
    }
    not_offered::routes(config);
}

/// The metrics listener's.
pub(super) fn metrics(config: &mut ServiceConfig) {
    probes(config);
    route(config, "/metrics", Method::GET, get().to(health::metrics));
}

fn probes(config: &mut ServiceConfig) {
    route(config, "/v2/health/live", Method::GET, get().to(health::live));
    route(config, "/v2/health/ready", Method::GET, get().to(health::ready));
}

/// GET, and HEAD with it: what a load balancer or `curl -I` asks.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// One path, one method; any other is told which.
fn route(config: &mut ServiceConfig, path: &str, allowed: Method, handler: Route) {
    config.service(web::resource(path).route(handler).default_service(web::to(move || {
        let allowed = allowed.clone();
        async move { method_not_allowed(&allowed) }
    })));
}

/// The answer to every other path.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    no_such_path(&request)
}
