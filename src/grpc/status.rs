//! The one table of codes.

use tonic::{Code, Status};

use crate::error::{Error, ErrorCode};

/// The code of each class: Triton's, if its protocol knows the class, else as
/// in gRPC's own documents.
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

/// The deadline that the client set has passed. Clients look for the first
/// words, which are those of gRPC's own libraries.
pub(super) fn deadline_exceeded() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        "Deadline Exceeded: the request's deadline passed before it was answered",
    )
}

/// A stream that was ended between two requests because the server stops.
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

/// A call that isn't offered, of a service that is.
pub(super) fn not_offered(path: &str) -> Status {
    let call = path.rsplit('/').next().unwrap_or(path);
    Status::new(Code::Unimplemented, format!("{call} is not offered"))
}

/// A path that no service has.
pub(super) fn no_such_service(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("no such call: {path}"))
}

/// A health check of an unknown service.
pub(super) fn unknown_service(name: &str) -> Status {
    Status::new(Code::NotFound, format!("no such service: '{name}'"))
}

/// The code of a call whose client doesn't wait any more.
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
