//! The server: its addresses, its name, and its paths.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

/// A header of one's own.
#[derive(Debug, Clone)]
pub struct Header {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected NAME: VALUE, got '{text}'");
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().parse().map_err(|_| wrong())?;
        Ok(Self { name, value: value.trim().parse().map_err(|_| wrong())? })
    }
}

/// A server, by its URL; its name is resolved once.
#[derive(Debug)]
pub(super) struct Site {
    authority: String,
    host: HeaderValue,
    wire: Wire,
    /// Sent with every request.
    headers: Vec<Header>,
    /// The URL's own path without its last slash; empty for none.
    prefix: String,
    addresses: Vec<SocketAddr>,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    /// Only for gRPC.
    Http2,
}

impl Site {
    /// Reads a URL; `http://` may be left out, `grpc://` is HTTP/2.
    pub(super) fn resolve(url: &str, headers: Vec<Header>) -> Result<Self> {
        let (wire, authority, prefix) = split(url)?;
        let with_port = match (authority.port_u16(), wire) {
            (Some(_), _) => authority.to_string(),
            (None, Wire::Http1) => format!("{authority}:80"),
            (None, Wire::Http2) => format!("{authority}:8001"),
        };
        let addresses: Vec<_> =
            with_port.to_socket_addrs().with_context(|| format!("cannot resolve '{authority}'"))?.collect();
        Ok(Self {
            host: HeaderValue::from_str(authority.as_str())
                .with_context(|| format!("'{authority}' is no host name"))?,
            authority: authority.to_string(),
            wire,
            headers,
            prefix,
            addresses,
        })
    }

    /// The same server over gRPC.
    pub(super) fn over_grpc(self) -> Self {
        Self { wire: Wire::Http2, ..self }
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire
    }

    pub(super) fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The value of the Host header.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// All addresses of its name, to be tried in order.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// `host:port` as in the URL.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path on this server, as a request names it.
    pub(super) fn uri(&self, path: &str) -> Result<Uri> {
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        let full = format!("{}{slash}{path}", self.prefix);
        full.parse().with_context(|| format!("'{full}' is no path"))
    }

    /// The whole URL, for messages.
    pub(super) fn url(&self, uri: &Uri) -> String {
        format!("http://{}{uri}", self.authority)
    }

    /// The path of a plain body, depending on whether a path or a model is
    /// given.
    pub(super) fn body_path(&self, path: Option<&str>, model: Option<&str>) -> String {
        match (path, model) {
            (Some(path), _) => path.to_owned(),
            (None, Some(model)) => format!("/predictions/{model}"),
            (None, None) if self.prefix.is_empty() => "/predict".to_owned(),
            (None, None) => String::new(),
        }
    }
}

fn split(url: &str) -> Result<(Wire, hyper::http::uri::Authority, String)> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = whole.parse().with_context(|| format!("'{url}' is no URL"))?;
    let wire = match uri.scheme_str() {
        Some("http") => Wire::Http1,
        Some("grpc") => Wire::Http2,
        Some(_) | None => bail!("'{url}': only http:// and grpc:// URLs can be loaded"),
    };
    let authority = uri.authority().with_context(|| format!("'{url}' names no host"))?;
    if authority.as_str().contains('@') {
        bail!("'{url}': a user name in a URL isn't taken");
    }
    Ok((wire, authority.clone(), uri.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_behind_the_urls_own() {
        let bare = Site::resolve("127.0.0.1:8000", Vec::new()).unwrap();
        assert_eq!(bare.uri("/v2").unwrap(), "/v2");
        assert_eq!(bare.uri("predict").unwrap(), "/predict");
        let below = Site::resolve("http://127.0.0.1/models/", Vec::new()).unwrap();
        let uri = below.uri("/v2").unwrap();
        assert_eq!(uri, "/models/v2");
        assert_eq!(below.url(&uri), "http://127.0.0.1/models/v2");
        assert_eq!(below.addresses(), ["127.0.0.1:80".parse().unwrap()]);
        let grpc = Site::resolve("grpc://127.0.0.1", Vec::new()).unwrap();
        assert_eq!((grpc.wire(), grpc.addresses()), (Wire::Http2, &["127.0.0.1:8001".parse().unwrap()][..]));
    }

    #[test]
    fn a_body_goes_to_the_path_then_the_model_then_the_url() {
        let bare = Site::resolve("127.0.0.1:8000", Vec::new()).unwrap();
        assert_eq!(bare.body_path(Some("/x"), Some("m")), "/x");
        assert_eq!(bare.body_path(None, Some("m")), "/predictions/m");
        assert_eq!(bare.body_path(None, None), "/predict");
        let echo = Site::resolve("127.0.0.1:8000/echo", Vec::new()).unwrap();
        assert_eq!(echo.uri(&echo.body_path(None, None)).unwrap(), "/echo");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in ["https://127.0.0.1", "http://", "http://me@127.0.0.1", "http://a b", ""] {
            assert!(Site::resolve(url, Vec::new()).is_err(), "{url}");
        }
    }
}
