//! The listeners and the servers behind them.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Request};
use actix_rt::net::TcpStream;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::Condition;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpMessage as _};

use super::connection::{Connections, HttpConnection, Stream};
use super::cors::AllowedOrigins;
use super::expect::Expectations;
use super::finish::{Guarded, mark, tell};
use super::pages::{AllowedHosts, PageRules};
use super::routes;
use super::state::{HttpState, REQUEST_ID, TRACE_PARENT};
use crate::admission::Admission;
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::listen::listen;
use crate::settings::HttpSettings;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);

/// How long the rest of a refused body is read and dropped. A client that reads
/// its answer after its last byte then gets it: if a connection is closed with
/// unread bytes, it is reset, and the answer may be lost.
const LINGER: Duration = Duration::from_secs(3);

/// Bound sockets; port 0 was replaced by a free one.
pub struct Listeners {
    /// Inference.
    pub http: TcpListener,
    /// Metrics and health on their own, so that many clients can't starve a
    /// probe or a scrape.
    pub metrics: TcpListener,
}

impl Listeners {
    /// Binds both addresses.
    ///
    /// # Errors
    /// An address can't be bound; the error says which, and why.
    pub fn bind(settings: &HttpSettings) -> anyhow::Result<Self> {
        let bind = |port: u16, flag| listen(SocketAddr::new(settings.host, port), flag);
        Ok(Self {
            http: bind(settings.http_port, "http-port")?,
            metrics: bind(settings.metrics_port, "metrics-port")?,
        })
    }
}

/// The running servers.
pub struct Servers {
    http: RunningServer,
    metrics: RunningServer,
}

/// One listener's server and its connections.
struct RunningServer {
    handle: ServerHandle,
    connections: Connections,
}

impl RunningServer {
    /// Accepts nothing more, ends the connections that are between requests
    /// at once and the others with their answers.
    async fn stop(&self) {
        self.connections.drain();
        self.handle.stop(true).await;
    }
}

impl Servers {
    /// Takes no more requests for inference, and finishes those in progress
    /// within the time given at the start.
    pub async fn stop_http(&self) {
        self.http.stop().await;
    }

    /// Ends the metrics listener: the last to go.
    pub async fn stop_metrics(&self) {
        self.metrics.stop().await;
    }
}

/// Starts both servers on the current actix system.
///
/// # Errors
/// The server can't listen on a bound socket.
pub fn serve(
    engine: Arc<Engine>,
    admission: Admission,
    listeners: Listeners,
    settings: &HttpSettings,
    origins: AllowedOrigins,
    hosts: AllowedHosts,
) -> std::io::Result<Servers> {
    let state = Data::new(HttpState {
        engine,
        admission,
        max_body: settings.max_input_size,
        body_timeout: Duration::from_secs(settings.body_timeout_secs),
        shows_metrics: settings.http_metrics,
    });
    let pages = Data::new(PageRules { origins: origins.clone(), hosts });
    let plan = |name, workers, exit_timeout_secs, routes, origins| Plan {
        name,
        workers,
        keep_alive: Duration::from_secs(settings.keep_alive_secs),
        stalled: Duration::from_secs(settings.body_timeout_secs),
        exit_timeout_secs,
        routes,
        origins,
        pages: pages.clone(),
    };
    let (threads, exit_timeout) = (settings.http_threads, settings.exit_timeout_secs);
    let inference = plan("inference", threads, exit_timeout, routes::inference, origins);
    // Pages in browsers don't ask for metrics.
    let metrics = plan("metrics", 1, 1, routes::metrics, AllowedOrigins::None);
    Ok(Servers {
        http: run(state.clone(), listeners.http, inference)?,
        metrics: run(state, listeners.metrics, metrics)?,
    })
}

/// How one listener is served.
struct Plan {
    name: &'static str,
    workers: usize,
    /// How long a kept connection may wait for its next request.
    keep_alive: Duration,
    /// How long a client may read nothing of its answer.
    stalled: Duration,
    exit_timeout_secs: u64,
    routes: fn(&mut ServiceConfig),
    origins: AllowedOrigins,
    pages: Data<PageRules>,
}

/// The framework's own server with another stream under it: see
/// [`super::connection`].
fn run(state: Data<HttpState>, listener: TcpListener, plan: Plan) -> std::io::Result<RunningServer> {
    let connections = Connections::new();
    let Plan { name, workers, keep_alive, stalled, exit_timeout_secs, routes, origins, pages } = plan;
    let open = connections.clone();
    let server = Server::build()
        .workers(workers)
        // Later than the server's own timeout, which tells a clean end from a
        // forced one.
        .shutdown_timeout(exit_timeout_secs + 5)
        .disable_signals()
        .listen(name, listener, move || {
            let (state, pages, open) = (state.clone(), pages.clone(), open.clone());
            let (expectations, known) = (Rc::new(Expectations::new()), state.clone());
            let app = app(state, pages, routes, origins.middleware())
                .into_factory()
                .map_err(|error| error.error_response());
            let http = HttpService::build()
                .keep_alive(keep_alive)
                .client_request_timeout(HEAD)
                .client_disconnect_timeout(LINGER)
                // A client that hangs up cancels its request: no answer is
                // computed that isn't read.
                .h1_allow_half_closed(false)
                .expect(fn_service(move |request: Request| {
                    std::future::ready(expectations.check(request, &known))
                }))
                .on_connect_ext(|stream: &Stream, data: &mut Extensions| {
                    data.insert(Arc::clone(stream.connection()));
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(move |socket: TcpStream| {
                let peer = socket.peer_addr().ok();
                let stream = open.open(socket);
                async move { Ok::<_, DispatchError>((stream, peer)) }
            })
            .and_then(http)
        })?
        .run();
    let running = RunningServer { handle: server.handle(), connections: connections.clone() };
    actix_web::rt::spawn(server);
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // Both, because the head of the next request counts too.
            let ended = connections.end_overdue(keep_alive + HEAD, stalled);
            if ended > 0 {
                tracing::debug!(connections = ended, "ended connections whose clients neither sent nor read");
            }
        }
    });
    Ok(running)
}

fn app(
    state: Data<HttpState>,
    pages: Data<PageRules>,
    routes: fn(&mut ServiceConfig),
    cors: Condition<Cors>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let app = App::new()
        .app_data(state)
        .app_data(pages)
        .configure(routes)
        .default_service(web::to(routes::not_found));
    // Inside the layer that counts answers, so that preflight requests count
    // too.
    app.wrap(cors).wrap_fn(|request, service| {
        use actix_web::dev::Service as _;
        let busy = request.request().conn_data::<Arc<HttpConnection>>().map(HttpConnection::begin);
        // HTTP has no header for a deadline. A request's own `timeout` bounds how long
        // it waits in the queue, and is the scheduler's.
        let headers = request.headers();
        let (context, id) = RequestContext::of_head(headers.get(REQUEST_ID), headers.get(TRACE_PARENT));
        request.extensions_mut().insert(context);
        let state = request.app_data::<Data<HttpState>>().cloned();
        let answer = service.call(request);
        async move {
            let mut response = answer.await?;
            if let Some(state) = &state {
                mark(response.response_mut().head_mut(), &id, state);
            }
            let (request, answer) = (response.request(), response.response());
            tell(answer.status(), &id, (request.method(), request.path()), || {
                answer.error().map(ToString::to_string).unwrap_or_default()
            });
            Ok(response.map_body(|_, body| Guarded::new(body, busy)))
        }
    })
}
