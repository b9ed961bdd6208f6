//! Which web pages may call the server from a browser: cross-origin resource
//! sharing, as the Fetch standard has it.

use actix_cors::Cors;
use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, Uri};
use actix_web::middleware::Condition;

use super::inference::HEADER_LENGTH_NAME;
use super::state::REQUEST_ID;

/// For how long a browser needn't ask again, in seconds.
const MAX_AGE: usize = 3600;

/// The origins of the pages that may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// None; answers have no headers about origins.
    #[default]
    None,
    /// All origins.
    Any,
    /// These, as browsers write them.
    These(Vec<String>),
}

impl AllowedOrigins {
    /// Reads the values of `--cors-allow-origin`.
    ///
    /// # Errors
    /// A value is no origin; the error shows what one looks like.
    pub fn read(values: &[String]) -> anyhow::Result<Self> {
        // Compose files write an unset value as an empty one.
        let values: Vec<&str> =
            values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
        match values[..] {
            [] => Ok(Self::None),
            ["*"] => Ok(Self::Any),
            _ if values.contains(&"*") => {
                anyhow::bail!(
                    "--cors-allow-origin=* lets in the pages of all origins and stands alone: remove the others"
                )
            }
            _ => values.into_iter().map(checked).collect::<anyhow::Result<_>>().map(Self::These),
        }
    }

    /// Whether pages of this origin may call, as a browser writes it.
    pub(super) fn allow(&self, origin: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::These(origins) => origins.iter().any(|known| known == origin),
        }
    }

    /// The middleware that answers browsers. Each worker of a listener has its
    /// own.
    pub(super) fn middleware(&self) -> Condition<Cors> {
        let cors = Cors::default()
            .allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
            .allow_any_header()
            .expose_headers([HEADER_LENGTH_NAME, REQUEST_ID, RETRY_AFTER])
            .max_age(MAX_AGE);
        match self {
            Self::None => Condition::new(false, cors),
            Self::Any => Condition::new(true, cors.allow_any_origin().send_wildcard()),
            Self::These(origins) => {
                Condition::new(true, origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)))
            }
        }
    }
}

fn checked(value: &str) -> anyhow::Result<String> {
    origin(value).ok_or_else(|| {
        anyhow::anyhow!(
            "--cors-allow-origin={value}: expected an origin, scheme://host or scheme://host:port without a path, \
             such as https://app.example.com; or '*' for all"
        )
    })
}

/// An origin as a browser sends it: lower case, without its scheme's default
/// port.
fn origin(value: &str) -> Option<String> {
    let (scheme, authority) = value.split_once("://")?;
    if authority.contains(['/', '?', '#', '@', '*']) {
        return None;
    }
    let uri: Uri = value.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    let port = match authority.strip_prefix(host)? {
        "" => None,
        behind => Some(behind.strip_prefix(':')?.parse::<u16>().ok()?),
    };
    let (scheme, host) = (scheme.to_lowercase(), host.to_lowercase());
    Some(match (scheme.as_str(), port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<AllowedOrigins, String> {
        let values: Vec<String> = values.iter().copied().map(str::to_owned).collect();
        AllowedOrigins::read(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        assert_eq!(read(&[]), Ok(AllowedOrigins::None));
        assert_eq!(read(&["", " "]), Ok(AllowedOrigins::None));
        assert_eq!(read(&["*"]), Ok(AllowedOrigins::Any));
        for (value, written) in [
            ("https://app.example.com", "https://app.example.com"),
            (" HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://localhost:443", "http://localhost:443"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(read(&[value]), Ok(AllowedOrigins::These(vec![written.to_owned()])), "{value}");
        }
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for value in [
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://*.example.com",
            "https://",
            "https://:443",
            "https://app.example.com:",
            "https://app.example.com:99999",
            "https://app example.com",
            "null",
        ] {
            let refused = read(&["https://good.example.com", value]).unwrap_err();
            assert!(
                refused.starts_with(&format!("--cors-allow-origin={value}: expected an origin")),
                "{refused}"
            );
        }
        assert!(read(&["*", "https://app.example.com"]).unwrap_err().contains("stands alone"));
    }
}
