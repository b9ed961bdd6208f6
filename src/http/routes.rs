//! The table of paths.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse, Route, guard};

use super::connection::HttpConnection;
use super::pages::PageRules;
use super::status::{HttpError, method_not_allowed, no_such_path};
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

/// Entries in the order in which they are tried. Each is added by what its
/// requests do.
#[derive(Default)]
struct Entries(Vec<Entry>);

impl Entries {
    /// A request that changes nothing.
    fn read(&mut self, path: &str, method: Method, handler: Route) {
        self.0.push(Entry { path: path.to_owned(), method, handler });
    }

    /// An inference. A page of others may ask for one: whether it reads the answer
    /// is CORS's matter.
    fn infer(&mut self, path: &str, method: Method, handler: Route) {
        self.read(path, method, handler);
    }

    /// A POST that changes the server's state: no page of others may send it.
    fn change(&mut self, path: &str, handler: Route) {
        self.read(path, Method::POST, handler.wrap(from_fn(from_no_other_page)));
    }
}

/// Refuses requests that a page of others may have sent.
async fn from_no_other_page(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.request().conn_data::<Arc<HttpConnection>>();
    let loopback = connection.is_none_or(|connection| connection.loopback());
    let rules = request.app_data::<Data<PageRules>>();
    match rules.map_or(Ok(()), |rules| rules.check(request.headers(), loopback)) {
        Ok(()) => next.call(request).await,
        // Answered here, and not given on as an error: the layers above add every
        // answer's headers and count it.
        Err(error) => Ok(request.error_response(HttpError(error))),
    }
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
    let mut entries = Entries::default();
    // Paths are tried in this order, each by a regular expression, so the
    // commonest come first.
    for model in MODEL {
        entries.infer(&format!("{model}/infer"), Method::POST, web::post().to(inference::model));
    }
    entries.read("/v2", Method::GET, get().to(metadata::server));
    // Before the models: a model of this name can't be reached, as with Triton.
    entries.read("/v2/models/stats", Method::GET, get().to(statistics::all));
    for model in MODEL {
        entries.read(model, Method::GET, get().to(metadata::model));
        entries.read(&format!("{model}/config"), Method::GET, get().to(metadata::config));
        entries.read(&format!("{model}/stats"), Method::GET, get().to(statistics::model));
        entries.read(&format!("{model}/ready"), Method::GET, get().to(health::model_ready));
    }
    // As KServe's own server has it.
    entries.read("/v2/models", Method::GET, get().to(kserve::models));
    entries.read("/v2/repository/index", Method::POST, web::post().to(repository::index));
    entries.read("/v2/logging", Method::GET, get().to(settings::log));
    entries.change("/v2/logging", web::post().to(settings::change_log));
    entries.read("/v2/trace/setting", Method::GET, get().to(settings::traces));
    entries.change("/v2/trace/setting", web::post().to(settings::change_traces));
    let traces = "/v2/models/{model}/trace/setting";
    entries.read(traces, Method::GET, get().to(settings::traces_of));
    entries.change(traces, web::post().to(settings::change_traces_of));
    let control = "/v2/repository/models/{model}";
    entries.change(&format!("{control}/load"), web::post().to(repository::load));
    entries.change(&format!("{control}/unload"), web::post().to(repository::unload));
    entries.read("/", Method::GET, get().to(kserve::alive));
    for kind in ["/v2/systemsharedmemory", "/v2/cudasharedmemory"] {
        for regions in [kind.to_owned(), format!("{kind}/region/{{region}}")] {
            entries.read(&format!("{regions}/status"), Method::GET, get().to(shared_memory::status));
            entries.change(&format!("{regions}/unregister"), web::post().to(shared_memory::unregister));
        }
    }
    entries.read("/v1/models", Method::GET, get().to(kserve::models));
    for model in ["/v1/models/{model}", "/v1/models/{model}/versions/{version}"] {
        // Before the model or version, which would otherwise end in it.
        entries.infer(&format!("{model}:predict"), Method::POST, web::post().to(kserve::predict));
        entries.infer(&format!("{model}:classify"), Method::POST, web::post().to(kserve::examples));
        entries.infer(&format!("{model}:regress"), Method::POST, web::post().to(kserve::examples));
        entries.infer(&format!("{model}:explain"), Method::POST, web::post().to(kserve::explain));
        entries.read(&format!("{model}/metadata"), Method::GET, get().to(tensorflow::metadata));
        entries.read(model, Method::GET, get().to(kserve::model));
    }
    entries.read("/ping", Method::GET, get().to(health::ping));
    // PUT is what `curl -T` sends.
    entries.infer("/predict", Method::POST, web::post().to(prediction::default_model));
    entries.infer("/predict", Method::PUT, web::put().to(prediction::default_model));
    for model in ["/predictions/{model}", "/predictions/{model}/{version}"] {
        entries.infer(model, Method::POST, web::post().to(prediction::model));
        entries.infer(model, Method::PUT, web::put().to(prediction::model));
    }
    let Entries(mut entries) = entries;
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
