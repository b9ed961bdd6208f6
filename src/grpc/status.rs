//! The one table of codes.

use tonic::{Code, Status};

use crate::error::{Error, ErrorCode};

/// The code of each class, as Triton's protocol has them where it knows the
/// class, else as gRPC's own documents use them.
pub(super) fn code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::RequestTimeout => Code::DeadlineExceeded,
        ErrorCode::PayloadTooLarge => Code::ResourceExhausted,
        ErrorCode::UnsupportedMediaType | ErrorCode::Unimplemented => Code::Unimplemented,
        ErrorCode::Internal => Code::Internal,
        ErrorCode::Unavailable => Code::Unavailable,
    }
}

/// An error as this surface answers it.
pub(super) fn failed(error: &Error) -> Status {
    Status::new(code(error.code()), error.message())
}

/// Whether it is the server's fault, and worth a line in its log.
pub(super) fn is_server_error(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss)
}

/// The client gave its request a time, and it is over. The first words are
/// those of gRPC's own libraries, which clients look for.
pub(super) fn deadline_exceeded() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        "Deadline Exceeded: the request's deadline passed before it was answered",
    )
}

/// A stream that the server's stop ends between two requests.
pub(super) fn stopping() -> Status {
    Status::new(
        Code::Unavailable,
        "the server is stopping: what it read of this stream is answered, what isn't was not read",
    )
}

/// A client that went away in the middle of its request.
pub(super) fn broken_off() -> Status {
    Status::new(Code::Cancelled, "the request broke off before its end")
}

/// A call of a protocol that is served, and isn't itself.
pub(super) fn not_offered(path: &str) -> Status {
    let call = path.rsplit('/').next().unwrap_or(path);
    Status::new(Code::Unimplemented, format!("{call} is not offered"))
}

/// A path that no service has.
pub(super) fn no_such_service(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("no such call: {path}"))
}

/// A health check of something that has none.
pub(super) fn unknown_service(name: &str) -> Status {
    Status::new(Code::NotFound, format!("no such service: '{name}'"))
}

/// The code of a call that nobody waits for any more.
pub(super) const CANCELLED: Code = Code::Cancelled;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_message() {
        let status = failed(&Error::not_found("Request for unknown model: 'x' is not found"));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "Request for unknown model: 'x' is not found");
    }
}
