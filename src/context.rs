//! The context of a request, which goes with it from its surface to its answer.
//!
//! Each surface makes it from the request's head. It goes on to the responder, so
//! that every line of the log about a request can name the request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A request's context.
///
/// A clone copies no text. Each row of a plain request, each message of a stream
/// and each part of a split request has a clone.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    /// The request's name in the log and in its answer.
    pub id: RequestId,
    /// The caller.
    pub principal: Principal,
    /// When the client gives up; `None` if the client didn't say. The scheduler
    /// refuses a request that can't be answered by then.
    pub deadline: Option<Instant>,
    /// The span that the client is in, if it sent one.
    pub trace: Option<TraceParent>,
    /// Whether it belongs to a request of which another part was queued before.
    /// The bound on waiting (`--max-queue-wait`) is for the first part.
    pub follows: bool,
}

impl RequestContext {
    /// The context for the values of [`RequestId::HEADER`] and
    /// [`TraceParent::HEADER`] in a request's head, and the name as a value for the
    /// head of its answer. The surface adds the deadline.
    #[must_use]
    pub fn of_head<V>(id: Option<&V>, trace_parent: Option<&V>) -> (Self, V)
    where
        V: AsRef<[u8]> + Clone + From<u64>,
    {
        // A clone shares the header's memory.
        let given = id.and_then(|value| Some((RequestId::given(value.as_ref())?, value.clone())));
        let (id, shown) = given.unwrap_or_else(|| {
            let number = next_number();
            (RequestId::Made(number), V::from(number))
        });
        let trace = trace_parent.and_then(|value| TraceParent::parse(value.as_ref()));
        (Self { id, principal: Principal::Anonymous, deadline: None, trace, follows: false }, shown)
    }
}

/// A request's name: the client's, or a number that the server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    /// The client's own.
    Given(Arc<str>),
    /// The server's; zero for a request that came through no surface.
    Made(u64),
}

impl RequestId {
    /// The header, or the key of gRPC's metadata, that carries it.
    pub const HEADER: &str = "x-request-id";

    /// The client's name for its request; `None` if it isn't valid: printable, and
    /// 128 bytes at most.
    #[must_use]
    pub fn given(header: &[u8]) -> Option<Self> {
        const LONGEST: usize = 128;
        let printable = |byte: &u8| *byte == b'\t' || (b' '..=b'~').contains(byte);
        let valid = header.len() <= LONGEST && header.iter().all(printable);
        str::from_utf8(header).ok().filter(|_| valid).map(|id| Self::Given(Arc::from(id)))
    }
}

/// The next number: no other request of this process has it.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for RequestId {
    fn default() -> Self {
        Self::Made(0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => f.write_str(id),
            Self::Made(number) => number.fmt(f),
        }
    }
}

/// The caller of a request. There are no keys yet, so all callers are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Principal {
    /// A client that showed no key.
    #[default]
    Anonymous,
}

/// A span of a trace, as `traceparent` names it (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zeros.
    pub trace_id: [u8; 16],
    /// The span; not all zeros.
    pub parent_id: [u8; 8],
    /// The lowest bit says that the trace is recorded.
    pub flags: u8,
}

impl TraceParent {
    /// The header, or the key of gRPC's metadata, that carries it.
    pub const HEADER: &str = "traceparent";

    /// Reads `00-<trace id>-<parent id>-<flags>`, in lower-case hexadecimal. A
    /// later version than 00 may have more fields, which aren't read. Anything else
    /// gives `None`: a wrong `traceparent` fails no request.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let mut fields = header.split(|byte| *byte == b'-');
        let mut field = || fields.next();
        let [version] = hexadecimal(field()?)?;
        let parent = Self {
            trace_id: hexadecimal(field()?)?,
            parent_id: hexadecimal(field()?)?,
            flags: hexadecimal::<1>(field()?)?[0],
        };
        let more = field().is_some();
        let valid = match version {
            0 => !more,
            u8::MAX => false,
            _ => true,
        };
        (valid && parent.trace_id != [0; 16] && parent.parent_id != [0; 8]).then_some(parent)
    }
}

/// Exactly `N` bytes, each as two digits.
fn hexadecimal<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_id_is_the_clients_if_it_can_be_one() {
        let shown = |header: &[u8]| RequestId::given(header).map(|id| id.to_string());
        assert_eq!(shown(b"seen again").unwrap(), "seen again");
        assert_eq!(shown(&[b'x'; 128]).unwrap(), "x".repeat(128));
        for wrong in [&[b'x'; 129][..], b"a\nb", "é".as_bytes()] {
            assert_eq!(shown(wrong), None);
        }
    }

    #[test]
    fn a_head_shows_the_client_s_id_or_a_number_of_its_own() {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        let (context, shown) = RequestContext::of_head(Some(&value("mine")), None);
        assert_eq!((context.id.to_string(), shown), ("mine".to_owned(), value("mine")));
        let mut made: Vec<RequestId> = Vec::new();
        for given in [Some("x".repeat(129)), Some("é".to_owned()), None] {
            let given = given.map(|text| value(&text));
            let (RequestContext { id, .. }, shown) = RequestContext::of_head(given.as_ref(), None);
            assert!(matches!(id, RequestId::Made(1..)), "{id:?}");
            assert!(!made.contains(&id), "{id} twice");
            assert_eq!(shown, value(&id.to_string()));
            made.push(id);
        }
    }

    #[test]
    fn a_trace_parent_is_read_as_it_is_written_and_not_otherwise() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        const SPAN: &str = "b7ad6b7169203331";
        let read = |text: String| TraceParent::parse(text.as_bytes());
        let expected = TraceParent {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes(),
            parent_id: 0xb7ad_6b71_6920_3331_u64.to_be_bytes(),
            flags: 1,
        };
        assert_eq!(read(format!("00-{TRACE}-{SPAN}-01")), Some(expected));
        assert_eq!(read(format!("01-{TRACE}-{SPAN}-01")), Some(expected), "a later version");
        assert_eq!(read(format!("01-{TRACE}-{SPAN}-01-more")), Some(expected));
        for wrong in [
            String::new(),
            "-".repeat(3),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
        ] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
    }
}
