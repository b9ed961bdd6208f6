//! Browsers: which pages may call, and the answers to them.

use reqwest::{Client, Method, Response};
use serde_json::json;

use crate::server::{Server, checkout, command};

const PAGE: &str = "https://app.example.com";

fn start(arguments: &[&str]) -> Server {
    Server::start(&checkout("tests/models"), arguments)
}

/// What a browser asks before it sends JSON for a page.
async fn preflight(url: &str, origin: &str) -> Response {
    let request = Client::new().request(Method::OPTIONS, url).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let request =
        request.header("access-control-request-headers", "content-type,inference-header-content-length");
    request.send().await.unwrap()
}

async fn send(method: Method, url: &str, origin: &str, body: &'static str) -> Response {
    Client::new().request(method, url).header("origin", origin).body(body).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// The words of a list, in the order of the alphabet.
fn words(response: &Response, name: &str) -> Vec<String> {
    let mut words: Vec<_> = header(response, name)
        .unwrap_or_default()
        .split(',')
        .map(|word| word.trim().to_lowercase())
        .collect();
    words.sort_unstable();
    words
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_let_in_is_told_all() {
    let server = start(&[
        "--cors-allow-origin=HTTPS://App.example.com:443",
        "--cors-allow-origin=http://localhost:3000",
    ]);
    let infer = server.url("/v2/models/identity/infer");
    let asked = preflight(&infer, PAGE).await;
    assert_eq!(asked.status(), 200);
    assert_eq!(header(&asked, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(words(&asked, "access-control-allow-methods"), ["get", "head", "post", "put"]);
    assert_eq!(
        words(&asked, "access-control-allow-headers"),
        ["content-type", "inference-header-content-length"]
    );
    assert_eq!(header(&asked, "access-control-max-age"), Some("3600"));
    assert!(words(&asked, "vary").contains(&"origin".to_owned()), "{asked:?}");

    const GOOD: &str = r#"{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
    // Errors too: a page must be able to read why.
    for (method, path, body, status) in [
        (Method::POST, "/v2/models/identity/infer", GOOD, 200),
        (Method::POST, "/v2/models/identity/infer", "{", 400),
        (Method::POST, "/v2/models/nope/infer", GOOD, 404),
        (Method::GET, "/nowhere", "", 404),
        (Method::DELETE, "/v2", "", 405),
        (Method::POST, "/invocations", "", 501),
        (Method::POST, "/v2/repository/models/identity/load", "", 503),
    ] {
        let answer = send(method, &server.url(path), PAGE, body).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "{path}");
        let exposed = words(&answer, "access-control-expose-headers");
        assert_eq!(exposed, ["inference-header-content-length", "retry-after", "x-request-id"], "{path}");
        assert!(words(&answer, "vary").contains(&"origin".to_owned()), "{path}");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
    }
    let other = send(Method::GET, &server.url("/v2"), "http://localhost:3000", "").await;
    assert_eq!(header(&other, "access-control-allow-origin"), Some("http://localhost:3000"));
}

#[tokio::test]
async fn other_pages_are_told_nothing() {
    let server = Server::start_with(&checkout("tests/models"), &[], |command| {
        command.env("CRESSET_CORS_ALLOW_ORIGIN", "https://app.example.com,http://localhost:3000");
    });
    let second = send(Method::GET, &server.url("/v2"), "http://localhost:3000", "").await;
    assert_eq!(header(&second, "access-control-allow-origin"), Some("http://localhost:3000"));
    for origin in
        ["https://evil.example.com", "http://app.example.com", "https://app.example.com:8443", "null"]
    {
        let asked = preflight(&server.url("/v2"), origin).await;
        assert_eq!(
            (asked.status().as_u16(), header(&asked, "access-control-allow-origin")),
            (400, None),
            "{origin}"
        );
        let answer = send(Method::GET, &server.url("/v2"), origin, "").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (200, None));
        // A cache must not give this to pages that are allowed.
        assert!(words(&answer, "vary").contains(&"origin".to_owned()), "{answer:?}");
    }
    let metrics = format!("http://{}/metrics", server.metrics);
    let answer = send(Method::GET, &metrics, PAGE, "").await;
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn all_pages_may_be_let_in_and_without_the_flag_none_are() {
    let server = start(&["--cors-allow-origin=*"]);
    let asked = preflight(&server.url("/predict"), PAGE).await;
    assert_eq!((asked.status().as_u16(), header(&asked, "access-control-allow-origin")), (200, Some("*")));
    let answer = send(Method::GET, &server.url("/v2"), "null", "").await;
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    drop(server);

    let server = start(&[]);
    let asked = preflight(&server.url("/v2"), PAGE).await;
    assert_eq!(asked.status(), 405);
    let answer = send(Method::GET, &server.url("/v2"), PAGE, "").await;
    let said =
        answer.headers().keys().any(|name| name.as_str().starts_with("access-control") || name == "vary");
    assert!(!said, "{answer:?}");
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["name"], json!("cresset"));
}

#[test]
fn what_is_no_origin_ends_the_start() {
    let output = command(&checkout("tests/models"), &["--cors-allow-origin=https://app.example.com/page"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--cors-allow-origin=https://app.example.com/page: expected an origin"), "{text}");
}
