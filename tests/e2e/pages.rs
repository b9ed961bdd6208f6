//! Pages of others in a browser on the operator's machine: they change nothing.

use std::net::{IpAddr, UdpSocket};

use reqwest::header::{HOST, ORIGIN};
use reqwest::{Client, Method, Response};
use tempfile::TempDir;

use crate::server::{Server, checkout, post};

const PAGE: &str = "https://evil.example.com";

/// A repository of `fails` and `identity`, of which nothing is loaded.
fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
    let explicit = ["--model-control-mode=explicit"];
    Server::start_with(&checkout("tests/models"), &[&explicit, arguments].concat(), |command| {
        command.envs(environment.iter().copied());
    })
}

const LOAD: &str = "/v2/repository/models/identity/load";

async fn send(url: &str, method: Method, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().request(method, url).header("content-type", "text/plain");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The status and the text of an answer to a POST.
async fn told(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = send(&server.url(path), Method::POST, headers).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Whether the model that [`LOAD`] loads is there.
async fn is_loaded(server: &Server) -> bool {
    let (status, _) = crate::server::get(&server.url("/v2/models/identity/ready")).await;
    status == 200
}

#[tokio::test]
async fn every_path_that_changes_something_refuses_pages_of_others() {
    let server = start(&[], &[]);
    let rebound = format!("evil.example.com:{}", server.http.port());
    let mut refused = Vec::new();
    for (method, path) in cresset::http::paths() {
        let Some(method) = method.filter(|method| method != "GET") else { continue };
        let filled = ["model", "version", "region"].iter().fold(path.clone(), |path, part| {
            path.replace(&format!("{{{part}}}"), if *part == "version" { "1" } else { "identity" })
        });
        let method: Method = method.parse().unwrap();
        let mut statuses = Vec::new();
        for headers in
            [vec![("origin", PAGE)], vec![("host", &*rebound), ("origin", &*format!("http://{rebound}"))]]
        {
            let answer = send(&server.url(&filled), method.clone(), &headers).await;
            assert!(answer.headers().contains_key("x-request-id"), "{path}");
            statuses.push(answer.status().as_u16());
        }
        match &statuses[..] {
            [403, 403] => refused.push(path),
            other => {
                // Inference is for CORS to decide, and the index changes nothing.
                let asks = path.ends_with("/infer")
                    || path.starts_with("/v1/models/")
                    || path.starts_with("/predict")
                    || path == "/v2/repository/index";
                assert!(asks && !other.contains(&403), "{method} {path}: {other:?}");
            }
        }
    }
    assert_eq!(
        refused,
        [
            "/v2/logging",
            "/v2/trace/setting",
            "/v2/models/{model}/trace/setting",
            "/v2/repository/models/{model}/load",
            "/v2/repository/models/{model}/unload",
            "/v2/systemsharedmemory/unregister",
            "/v2/systemsharedmemory/region/{region}/unregister",
            "/v2/cudasharedmemory/unregister",
            "/v2/cudasharedmemory/region/{region}/unregister",
        ]
    );
    assert!(!is_loaded(&server).await);
}

#[tokio::test]
async fn a_refusal_says_what_to_set_and_that_lets_the_request_in() {
    let server = start(&[], &[]);
    let (status, text) = told(&server, LOAD, &[("origin", PAGE)]).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains(PAGE) && text.contains("--cors-allow-origin"), "{text}");
    let (status, text) = told(&server, LOAD, &[("host", "models.example.com")]).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("'models.example.com'") && text.contains("--allowed-hosts"), "{text}");
    assert!(!is_loaded(&server).await);
    // The server's own page, and clients that are no browsers, by each of its names.
    let port = server.http.port();
    let own = format!("http://{}", server.http);
    for headers in [
        vec![(ORIGIN.as_str(), own)],
        vec![(HOST.as_str(), format!("localhost:{port}"))],
        vec![(HOST.as_str(), format!("[::1]:{port}"))],
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let (status, text) = told(&server, LOAD, &headers).await;
        assert_eq!(status, 200, "{headers:?}: {text}");
    }
    assert_eq!(post(&server.url(LOAD), "").await.0, 200);
    assert!(is_loaded(&server).await);
    drop(server);

    let named = start(&[], &[("CRESSET_ALLOWED_HOSTS", "models.example.com,other.example.com")]);
    for headers in [("host", "models.example.com:80"), ("origin", "https://other.example.com")] {
        assert_eq!(told(&named, LOAD, &[headers]).await.0, 200, "{headers:?}");
    }
    assert_eq!(told(&named, LOAD, &[("host", "evil.example.com")]).await.0, 403);
    drop(named);

    let with_page = start(&["--cors-allow-origin=https://app.example.com"], &[]);
    assert_eq!(told(&with_page, LOAD, &[("origin", "https://app.example.com")]).await.0, 200);
    assert_eq!(told(&with_page, LOAD, &[("origin", PAGE)]).await.0, 403);
}

#[tokio::test]
async fn a_proxy_may_forward_any_host_to_an_address_of_the_machine() {
    const TRACES: &str = "/v2/trace/setting";
    let root = TempDir::new().unwrap();
    let server = Server::start(root.path(), &["--host=0.0.0.0", "--model-control-mode=explicit"]);
    let url = |address: IpAddr| format!("http://{address}:{}{TRACES}", server.http.port());
    let ingress = [("host", "models.example.com")];
    // Whatever the server listens on, this is how a browser here reaches it.
    let here = send(&url([127, 0, 0, 1].into()), Method::POST, &ingress).await;
    assert_eq!(here.status(), 403);
    // A machine without a network has no other address.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_err() {
        return;
    }
    let other = url(socket.local_addr().unwrap().ip());
    assert_eq!(send(&other, Method::POST, &ingress).await.status(), 200);
    assert_eq!(send(&other, Method::POST, &[("origin", PAGE)]).await.status(), 403);
}
