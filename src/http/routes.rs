//! The table of paths.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Route, guard};

use super::status::{method_not_allowed, no_such_path};
use super::{
    health, inference, kserve, metadata, not_offered, prediction, repository, settings, shared_memory,
    statistics, tensorflow,
};

/// The paths to models, but for `/predict`, in the router's notation.
pub(super) const TO_MODELS: [&str; 6] = [
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
    "/predictions/{model}",
    "/predictions/{model}/{version}",
    "/v1/models/{model}:predict",
    "/v1/models/{model}/versions/{version}:predict",
];

/// A path, a method, and its handler. A path with several methods has an entry
/// for each, one behind the other. The answer to any other method lists them.
struct Entry {
    path: String,
    method: Method,
    handler: Route,
}

/// The inference listener's.
pub(super) fn inference(config: &mut ServiceConfig) {
    register(config, of_inference());
    not_offered::routes(config);
}

/// The metrics listener's.
pub(super) fn metrics(config: &mut ServiceConfig) {
    register(config, of_metrics());
}

/// Every path, in the router's notation and order, with its method; without a
/// method if it isn't offered.
#[must_use]
pub fn paths() -> Vec<(Option<String>, String)> {
    let own = of_inference().into_iter().chain(of_metrics());
    let own = own.map(|Entry { path, method, .. }| (Some(method.to_string()), path));
    own.chain(not_offered::paths().map(|path| (None, path.to_owned()))).collect()
}

fn of_inference() -> Vec<Entry> {
    const MODEL: [&str; 2] = ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"];
    let mut entries = Vec::new();
    let mut add =
        |path: &str, method, handler| entries.push(Entry { path: path.to_owned(), method, handler });
    // Paths are tried in this order, each by a regular expression, so the
    // commonest come first.
    for model in MODEL {
        add(&format!("{model}/infer"), Method::POST, web::post().to(inference::model));
    }
    add("/v2", Method::GET, get().to(metadata::server));
    // Before the models: a model of this name can't be reached, as with Triton.
    add("/v2/models/stats", Method::GET, get().to(statistics::all));
    for model in MODEL {
        add(model, Method::GET, get().to(metadata::model));
        add(&format!("{model}/config"), Method::GET, get().to(metadata::config));
        add(&format!("{model}/stats"), Method::GET, get().to(statistics::model));
        add(&format!("{model}/ready"), Method::GET, get().to(health::model_ready));
    }
    // As KServe's own server has it.
    add("/v2/models", Method::GET, get().to(kserve::models));
    add("/v2/repository/index", Method::POST, web::post().to(repository::index));
    add("/v2/logging", Method::GET, get().to(settings::log));
    add("/v2/logging", Method::POST, web::post().to(settings::change_log));
    add("/v2/trace/setting", Method::GET, get().to(settings::traces));
    add("/v2/trace/setting", Method::POST, web::post().to(settings::change_traces));
    let traces = "/v2/models/{model}/trace/setting";
    add(traces, Method::GET, get().to(settings::traces_of));
    add(traces, Method::POST, web::post().to(settings::change_traces_of));
    let control = "/v2/repository/models/{model}";
    add(&format!("{control}/load"), Method::POST, web::post().to(repository::load));
    add(&format!("{control}/unload"), Method::POST, web::post().to(repository::unload));
    add("/", Method::GET, get().to(kserve::alive));
    for kind in ["/v2/systemsharedmemory", "/v2/cudasharedmemory"] {
        for regions in [kind.to_owned(), format!("{kind}/region/{{region}}")] {
            add(&format!("{regions}/status"), Method::GET, get().to(shared_memory::status));
            add(&format!("{regions}/unregister"), Method::POST, web::post().to(shared_memory::unregister));
        }
    }
    add("/v1/models", Method::GET, get().to(kserve::models));
    for model in ["/v1/models/{model}", "/v1/models/{model}/versions/{version}"] {
        // Before the model or version, which would otherwise end in it.
        add(&format!("{model}:predict"), Method::POST, web::post().to(kserve::predict));
        add(&format!("{model}:classify"), Method::POST, web::post().to(kserve::examples));
        add(&format!("{model}:regress"), Method::POST, web::post().to(kserve::examples));
        add(&format!("{model}:explain"), Method::POST, web::post().to(kserve::explain));
        add(&format!("{model}/metadata"), Method::GET, get().to(tensorflow::metadata));
        add(model, Method::GET, get().to(kserve::model));
    }
    add("/ping", Method::GET, get().to(health::ping));
    // PUT is what `curl -T` sends.
    add("/predict", Method::POST, web::post().to(prediction::default_model));
    add("/predict", Method::PUT, web::put().to(prediction::default_model));
    for model in ["/predictions/{model}", "/predictions/{model}/{version}"] {
        add(model, Method::POST, web::post().to(prediction::model));
        add(model, Method::PUT, web::put().to(prediction::model));
    }
    entries.extend(probes());
    entries.push(metrics_by(get().to(health::metrics_too)));
    entries
}

fn of_metrics() -> Vec<Entry> {
    let mut entries = probes();
    entries.push(metrics_by(get().to(health::metrics)));
    entries
}

fn metrics_by(handler: Route) -> Entry {
    Entry { path: "/metrics".to_owned(), method: Method::GET, handler }
}

fn probes() -> Vec<Entry> {
    let probe = |path: &str, handler| Entry { path: path.to_owned(), method: Method::GET, handler };
    vec![
        probe("/v2/health/live", get().to(health::live)),
        probe("/v2/health/ready", get().to(health::ready)),
        probe("/health", get().to(health::health)),
        probe("/healthz", get().to(health::live)),
    ]
}

/// GET, and HEAD with it, which load balancers and `curl -I` send.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn register(config: &mut ServiceConfig, entries: Vec<Entry>) {
    let mut entries = entries.into_iter().peekable();
    while let Some(Entry { path, method, handler }) = entries.next() {
        let mut resource = web::resource(path.as_str()).route(handler);
        let mut allowed = vec![method];
        while let Some(Entry { method, handler, .. }) = entries.next_if(|next| next.path == path) {
            resource = resource.route(handler);
            allowed.push(method);
        }
        config.service(resource.default_service(web::to(move || {
            let allowed = allowed.clone();
            async move { method_not_allowed(&allowed) }
        })));
    }
}

/// The answer to every other path.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    no_such_path(&request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_to_models_are_served_by_post() {
        let paths = paths();
        for path in TO_MODELS {
            assert!(paths.contains(&(Some("POST".to_owned()), path.to_owned())), "{path}");
        }
    }
}
