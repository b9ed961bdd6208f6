//! Paths of Triton and other servers that aren't served. Each answers that it
//! isn't offered; an unknown path is not found.

use actix_web::web::{self, ServiceConfig};

use super::status::{HttpError, HttpResult};
use crate::error::{Error, ErrorCode};

const SHARED_MEMORY: &str =
    "the shared memory extensions are not offered: tensors travel in requests and answers";
const GENERATE: &str = "the generate extension is not offered: a request has exactly one response";
const REPOSITORY: &str = "'repository_name' specification is not supported: leave the repository's name out";
const MANAGEMENT: &str = "TorchServe's management API (and SageMaker's multi-model paths, which are the same) is not \
    offered: POST /v2/repository/index lists models, and POST /v2/repository/models/{model}/load and /unload change them \
    with --model-control-mode=explicit";
const EXPLANATIONS: &str = "explainers are not offered: a model answers /predictions/{model}";
const SAGEMAKER: &str = "the paths of Amazon SageMaker are not offered";

/// By path, for every method.
const PATHS: [(&str, &str); 14] = [
    ("/v2/models/{model}/generate", GENERATE),
    ("/v2/models/{model}/generate_stream", GENERATE),
    ("/v2/models/{model}/versions/{version}/generate", GENERATE),
    ("/v2/models/{model}/versions/{version}/generate_stream", GENERATE),
    ("/v2/systemsharedmemory/region/{region}/register", SHARED_MEMORY),
    ("/v2/cudasharedmemory/region/{region}/register", SHARED_MEMORY),
    ("/v2/repository/{repository}/index", REPOSITORY),
    ("/v2/repository/{repository}/models/{model}/{action}", REPOSITORY),
    ("/explanations/{model}", EXPLANATIONS),
    ("/explanations/{model}/{version}", EXPLANATIONS),
    ("/invocations", SAGEMAKER),
    ("/models", MANAGEMENT),
    ("/models/{model}", MANAGEMENT),
    ("/models/{model}/invoke", SAGEMAKER),
];

/// Those paths, in their order.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    PATHS.iter().map(|(path, _)| *path)
}

/// The inference listener's.
pub(super) fn routes(config: &mut ServiceConfig) {
    for (path, reason) in PATHS {
        let answer = move || async move {
            let error = Error::new(ErrorCode::Unimplemented, reason);
            HttpResult::Err(HttpError::from(error))
        };
        config.service(web::resource(path).default_service(web::to(answer)));
    }
}
