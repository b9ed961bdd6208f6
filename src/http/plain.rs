//! A plain body: as it came, or the parts of a form (`multipart/form-data`,
//! RFC 7578).

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use multer::Multipart;

use super::body;
use super::state::HttpState;
use crate::admission::{Permit, lent};
use crate::engine::{Part, Plain};
use crate::error::{Error, ErrorCode, Result};

/// More than any batch has rows.
const MOST_PARTS: usize = 1024;

/// A body that was read, and what its error says if it is damaged.
pub(super) struct Received {
    pub(super) plain: Plain,
    /// Whether it came as a form and without line breaks: `curl -d @file`
    /// removes them, and zeros with the rest of their lines.
    stripped: bool,
}

impl Received {
    /// The body, and a function that makes the client's error of the engine's.
    pub(super) fn split(self) -> (Plain, impl FnOnce(Error) -> Error) {
        let Self { plain, stripped } = self;
        (plain, move |error| if stripped { advised(error) } else { error })
    }
}

/// Reads the whole body of `request`. It is a form if its Content-Type says so,
/// with a boundary.
pub(super) async fn read(request: &HttpRequest, payload: Payload, state: &HttpState) -> Result<Received> {
    let body = body::read(request, payload, state).await?;
    let content_type = content_type(request);
    if body.is_empty() || !is_of(content_type, "multipart/form-data") {
        let form = is_of(content_type, "application/x-www-form-urlencoded");
        let stripped = form && !body.contains(&b'\n') && !is_text(&body);
        return Ok(Received { plain: Plain::Whole(body), stripped });
    }
    let boundary = match multer::parse_boundary(content_type) {
        Ok(boundary) if !boundary.is_empty() => boundary,
        // Clients put any Content-Type on a photograph.
        Ok(_) | Err(_) if !body.starts_with(b"--") => {
            return Ok(Received { plain: Plain::Whole(body), stripped: false });
        }
        Ok(_) | Err(_) => {
            return Err(Error::invalid(
                "Content-Type is multipart/form-data without a boundary: leave that header to the client's library, \
                 which knows the boundary that it has put into the body",
            ));
        }
    };
    // The parts are copies.
    let permit = Arc::new(state.admission.admit(body.len())?);
    let parts = move || parts(body, boundary, &permit).now_or_never();
    let parts = state.engine.pool().run(parts).await?;
    let parts = parts.ok_or_else(|| Error::internal("the form's reader waits for more than the body"))??;
    Ok(Received { plain: Plain::Parts(parts), stripped: false })
}

fn content_type(request: &HttpRequest) -> &str {
    request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a Content-Type is of this kind, whatever its parameters.
fn is_of(content_type: &str, kind: &str) -> bool {
    content_type.split(';').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(kind))
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}

/// The parts, all in the memory of `permit`. Never waits: the body is there.
async fn parts(body: Bytes, boundary: String, permit: &Arc<Permit>) -> Result<Vec<Part>> {
    let whole = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut form = Multipart::new(whole, boundary);
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        if parts.len() == MOST_PARTS {
            return Err(Error::invalid(format!("the form has more than {MOST_PARTS} parts")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(malformed)?;
        parts.push(Part { name, content: lent(bytes, Arc::clone(permit)) });
    }
    Ok(parts)
}

fn malformed(error: multer::Error) -> Error {
    let what = if let multer::Error::IncompleteStream = error {
        "it ends before its last boundary, or its boundary isn't the one in Content-Type".to_owned()
    } else if let multer::Error::IncompleteFieldData { field_name } = error {
        let name: String = field_name.unwrap_or_default().chars().take(40).collect();
        format!("the boundary doesn't come again behind the part '{name}'")
    } else {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    };
    Error::invalid(format!("the body isn't the multipart/form-data that its Content-Type says: {what}"))
}

fn advised(error: Error) -> Error {
    let said = error.code() != ErrorCode::InvalidArgument || error.message().contains("--data-binary");
    if said {
        return error;
    }
    Error::invalid(format!(
        "{}; it came as a form and without line breaks, as `curl -d` leaves it: send it with `curl --data-binary \
         @photo` or `curl -T photo`",
        error.message()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Admission;

    fn read(body: &str, boundary: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let permit = Arc::new(Admission::new(1 << 20).admit(body.len()).unwrap());
        let body = Bytes::copy_from_slice(body.as_bytes());
        let parts = parts(body, boundary.to_owned(), &permit).now_or_never().unwrap();
        let parts = parts.map_err(|error| error.to_string())?;
        Ok(parts.into_iter().map(|part| (part.name, part.content.to_vec())).collect())
    }

    #[test]
    fn parts_come_with_their_names_in_order() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.jpg\"\r\n\
                    Content-Type: image/jpeg\r\n\r\n\n--bytes\r\n--b\r\n\
                    Content-Disposition: form-data; name=x\r\n\r\n[1]\r\n--b\r\n\
                    Content-Disposition: attachment\r\n\r\n\r\n--b--\r\n";
        let expected = [("data", "\n--bytes"), ("x", "[1]"), ("", "")]
            .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        assert_eq!(read(body, "b"), Ok(expected.to_vec()));
        assert_eq!(read("--b--\r\n", "b"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_malformed_is_named() {
        let head = "--b\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n";
        for (body, what) in [
            ("", "ends before its last boundary"),
            ("hello", "ends before its last boundary"),
            ("--b", "ends before its last boundary"),
            ("--b\r\nContent-Disposition", "ends before its last boundary"),
            ("--other\r\n\r\nx\r\n--other--", "its boundary isn't the one in Content-Type"),
            ("--b\r\nno header\r\n\r\nx\r\n--b--", "failed to read headers: "),
            (head, "the boundary doesn't come again behind the part 'data'"),
            (&format!("{head}abc"), "the boundary doesn't come again behind the part 'data'"),
        ] {
            let message = read(body, "b").unwrap_err();
            let begins = "the body isn't the multipart/form-data that its Content-Type says: ";
            assert!(message.starts_with(begins) && message.contains(what), "{body:?}: {message}");
        }
        let many = "--b\r\nname: x\r\n\r\n\r\n".repeat(MOST_PARTS + 1) + "--b--";
        assert_eq!(read(&many, "b").unwrap_err(), "the form has more than 1024 parts");
    }

    #[test]
    fn a_content_type_is_of_its_kind_whatever_its_parameters() {
        assert!(is_of("Multipart/Form-Data; boundary=b", "multipart/form-data"));
        assert!(!is_of("multipart/mixed; boundary=b", "multipart/form-data"));
        assert!(!is_of("", "multipart/form-data"));
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics_or_waits(
            text in "[-b\r\na:;= \"\u{e9}]{0,80}",
        ) {
            let _ = read(&text, "b");
            let _ = read(&format!("--b\r\n{text}\r\n--b--"), "b");
        }
    }
}
