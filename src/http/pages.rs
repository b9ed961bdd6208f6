//! Pages of others, in the browser of a person whose machine reaches this
//! server. A browser lets any page send some requests anywhere, and hides only
//! the answers. So a request that changes the server's state is refused if it
//! comes from such a page. There are two ways to know:
//!
//! - `Origin`: browsers send it with every POST. It must be the server's own, or
//!   one that `--cors-allow-origin` lets in.
//! - `Host`, on a loopback address: a page's own name can be made to lead to
//!   127.0.0.1 (DNS rebinding), and then its origin looks like the server's. An
//!   address can't be made to lead elsewhere, so it passes.
//!
//! Clients that are no browsers send no `Origin`, and proxies that forward to
//! another machine's address may send any `Host`: both pass.

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::http::uri::Authority;

use super::cors::AllowedOrigins;
use crate::error::{Error, ErrorCode, Result};

/// More of a header isn't quoted.
const LONGEST_QUOTE: usize = 200;

/// The names in `--allowed-hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    any: bool,
    /// In lower case.
    names: Vec<String>,
}

impl AllowedHosts {
    /// Reads the values of `--allowed-hosts`.
    ///
    /// # Errors
    /// A value is no name of a host; the error shows what one looks like.
    pub fn read(values: &[String]) -> anyhow::Result<Self> {
        let mut hosts = Self::default();
        // Compose files write an unset value as an empty one.
        for value in values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()) {
            match HostAndPort::read(value) {
                _ if value == "*" => hosts.any = true,
                Some(HostAndPort { host, port: None }) if !host.contains('*') => hosts.names.push(host),
                Some(_) | None => anyhow::bail!(
                    "--allowed-hosts={value}: expected the name of a host, such as models.example.com, without scheme, \
                     port and path; or '*' for all"
                ),
            }
        }
        Ok(hosts)
    }

    fn allow(&self, host: &str) -> bool {
        self.any || self.names.iter().any(|name| name == host)
    }
}

/// Which pages may change the server's state.
#[derive(Debug, Clone)]
pub(super) struct PageRules {
    pub(super) origins: AllowedOrigins,
    pub(super) hosts: AllowedHosts,
}

impl PageRules {
    /// Refuses a request that a page of others may have sent. `loopback` is whether
    /// it came to a loopback address.
    ///
    /// # Errors
    /// It did; the error says which setting lets it in.
    pub(super) fn check(&self, headers: &HeaderMap, loopback: bool) -> Result<()> {
        let hosts: Vec<Option<HostAndPort>> =
            headers.get_all(HOST).map(|host| HostAndPort::read(host.to_str().ok()?)).collect();
        let near = |host: &Option<HostAndPort>| {
            host.as_ref().is_some_and(|host| host.leads_here() || self.hosts.allow(&host.host))
        };
        if loopback && !hosts.iter().all(near) {
            return Err(refused(format!(
                "requests that change the server's state must not name the host {} at a loopback address: a page of \
                 others may have sent this one; if that is a name of this server, start it with --allowed-hosts and \
                 that name",
                quoted(headers, &HOST)
            )));
        }
        let own = hosts.first().and_then(Option::as_ref);
        let known = |origin: &str| {
            let (scheme, authority) = origin.split_once("://")?;
            let page = HostAndPort::read(authority)?;
            let is_own =
                own.is_some_and(|own| page.host == own.host && page.port(scheme) == own.port(scheme));
            Some(is_own || (!self.hosts.any && self.hosts.allow(&page.host)))
        };
        let good = |origin: &str| self.origins.allow(origin) || known(origin) == Some(true);
        if !headers.get_all(ORIGIN).all(|origin| origin.to_str().is_ok_and(good)) {
            return Err(refused(format!(
                "a page of the origin {} must not change the server's state: if it may, start the server with \
                 --cors-allow-origin and that origin; if it is the server's own behind a proxy, with --allowed-hosts \
                 and the name in it",
                quoted(headers, &ORIGIN)
            )));
        }
        Ok(())
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorCode::PermissionDenied, message)
}

/// A header for an error.
fn quoted(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> =
        headers.get_all(name).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let text: String = values.join(", ").chars().take(LONGEST_QUOTE).collect();
    format!("'{}'", text.escape_debug())
}

/// `Host`, or what stands behind an origin's scheme.
#[derive(Debug, PartialEq, Eq)]
struct HostAndPort {
    /// In lower case, and without the dot at its end that a full name may have.
    host: String,
    port: Option<u16>,
}

impl HostAndPort {
    fn read(text: &str) -> Option<Self> {
        let authority: Authority = text.trim().parse().ok().filter(|_| !text.contains('@'))?;
        let host = authority.host().to_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
        Some(Self { host, port: authority.port_u16() })
    }

    /// The port that is meant if the page is of this scheme.
    fn port(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
    }

    /// Whether no name server can make it lead to another machine's loopback
    /// address: it is an address itself, or a name that browsers don't look up.
    fn leads_here(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || self.host == "localhost" || self.host.ends_with(".localhost")
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn rules(origins: &[&str], hosts: &[&str]) -> PageRules {
        let owned = |values: &[&str]| values.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        PageRules {
            origins: AllowedOrigins::read(&owned(origins)).unwrap(),
            hosts: AllowedHosts::read(&owned(hosts)).unwrap(),
        }
    }

    /// The refusal, if there is one. Empty headers aren't sent.
    fn refusal(rules: &PageRules, host: &str, origin: &str, loopback: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if !value.is_empty() {
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let error = rules.check(&headers, loopback).err()?;
        assert_eq!(error.code(), ErrorCode::PermissionDenied);
        Some(error.message().to_owned())
    }

    #[test]
    fn clients_that_are_no_browsers_pass_at_every_address_that_they_are_given() {
        let rules = rules(&[], &[]);
        for host in
            ["localhost:8000", "LOCALHOST.", "127.0.0.1:8000", "[::1]:8000", "x.localhost", "10.1.2.3", ""]
        {
            assert_eq!(refusal(&rules, host, "", true), None, "{host}");
        }
        for host in ["models.example.com", "cresset.default.svc:80", "localhost", "not a host", ""] {
            assert_eq!(refusal(&rules, host, "", false), None, "{host}");
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_to_loopback_is_refused() {
        let none = rules(&[], &[]);
        for host in [
            "evil.example.com:8000",
            "localhost.evil.example.com",
            "notlocalhost",
            "127.0.0.1.evil.example.com",
            "localhost@evil.example.com",
            "a b",
        ] {
            let refused = refusal(&none, host, "", true).unwrap();
            assert!(refused.contains(host) && refused.contains("--allowed-hosts"), "{refused}");
            // Its origin looks like the server's.
            assert!(refusal(&none, host, &format!("http://{host}"), true).is_some(), "{host}");
        }
        let named = rules(&[], &["Models.Example.com"]);
        assert_eq!(refusal(&named, "models.example.COM:8000", "", true), None);
        assert!(refusal(&named, "evil.example.com", "", true).is_some());
        assert_eq!(refusal(&rules(&[], &["*"]), "evil.example.com", "", true), None);
        // A second header hides nothing.
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("localhost"));
        headers.append(HOST, HeaderValue::from_static("evil.example.com"));
        assert!(none.check(&headers, true).is_err());
    }

    #[test]
    fn a_page_of_another_origin_is_refused_at_every_address() {
        let none = rules(&[], &[]);
        for (host, origin) in [
            ("localhost:8000", "https://evil.example.com"),
            ("localhost:8000", "http://localhost:3000"),
            ("localhost:8000", "http://127.0.0.1:8000"),
            ("localhost:8000", "http://localhost"),
            ("localhost", "https://localhost:80"),
            ("localhost:8000", "null"),
            ("localhost:8000", "http://localhost:8000@evil.example.com"),
            ("localhost:8000", "localhost:8000"),
            ("", "http://localhost:8000"),
        ] {
            for loopback in [true, false] {
                let refused = refusal(&none, host, origin, loopback).unwrap();
                assert!(refused.contains(origin) && refused.contains("--cors-allow-origin"), "{refused}");
            }
        }
        for (host, origin) in [
            ("localhost:8000", "http://localhost:8000"),
            ("LocalHost:80", "http://localhost"),
            ("localhost", "http://localhost:80"),
            ("[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(refusal(&none, host, origin, true), None, "{host} {origin}");
        }
        // TLS ends in front of the server.
        assert_eq!(refusal(&none, "models.example.com", "https://models.example.com", false), None);
    }

    #[test]
    fn settings_let_pages_in() {
        let app = "https://app.example.com";
        for (rules, allowed) in [
            (rules(&[app], &[]), true),
            (rules(&["*"], &[]), true),
            (rules(&[], &["app.example.com"]), true),
            (rules(&["https://app.example.com:8443"], &[]), false),
            // All names of the server's, and no page's origin.
            (rules(&[], &["*"]), false),
        ] {
            assert_eq!(refusal(&rules, "127.0.0.1:8000", app, true).is_none(), allowed, "{rules:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_named_and_a_long_header_is_cut() {
        let read = |value: &str| AllowedHosts::read(&[value.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(read(" "), Ok(AllowedHosts::default()));
        for value in ["https://a.example.com", "a.example.com:80", "a/b", "*.example.com", "a b"] {
            let refused = read(value).unwrap_err();
            assert!(refused.starts_with(&format!("--allowed-hosts={value}: expected the name")), "{refused}");
        }
        let long = refusal(&rules(&[], &[]), &"x".repeat(5000), "", true).unwrap();
        assert!(long.len() < 1000, "{}", long.len());
    }
}
