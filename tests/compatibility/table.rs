//! The protocols' tables: a line for each path, call and field, with its probe
//! and what comes of it. The page is made of them; `tests/e2e` sends the
//! probes to a server of `tests/models` whose default model is `identity`.

/// What comes of it, and how or why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Served(&'static str),
    Refused(&'static str),
}

use Fate::{Refused, Served};

/// Method, path as the page shows it; the probe's path and body, its status
/// and a part of its answer; the fate.
pub(crate) type Endpoint = (&'static str, &'static str, &'static str, &'static str, u16, &'static str, Fate);

const INFER: &str = r#"{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
const ANSWER: &str = r#""data":[1.0,2.0]"#;
const ONE_RESPONSE: &str = "a request has exactly one response";
const NO_TRACE: &str = "off, and nothing else is taken: durations stand in the statistics and the metrics";
const NO_SHARED: &str = "tensors travel in requests and answers";
const NO_REGIONS: &str = "no region is ever registered";
const NO_REPOSITORY: &str = "models go by their own names: leave the repository's out";
const NO_MANAGEMENT: &str = "TorchServe's management API: models are listed and changed by `/v2/repository`";
const NO_EXAMPLES: &str = "tf.Example is TensorFlow's own: `:predict` takes tensors";
const NO_EXPLAINERS: &str = "explainers are not offered: a model answers `:predict`";
const NO_CLOUD: &str = "paths of a cloud's own are not offered";

#[rustfmt::skip]
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/v2", "/v2", "", 200, "schedule_policy", Served("the server, and the extensions that are there")),
    ("GET", "/v2/health/live", "/v2/health/live", "", 200, r#"{"live":true}"#, Served("the process answers")),
    ("GET", "/v2/health/ready", "/v2/health/ready", "", 200, r#"{"ready":true}"#, Served("every model answers; else 400, as with Triton")),
    ("GET", "/v2/models", "/v2/models", "", 200, r#"{"models":["#, Served("the names of the models that answer, as KServe's server lists them")),
    ("GET", "/v2/models/{model}", "/v2/models/identity", "", 200, "pytorch_libtorch", Served("metadata")),
    ("GET", "/v2/models/{model}/versions/{version}", "/v2/models/identity/versions/1", "", 200, "pytorch_libtorch", Served("of one version")),
    ("GET", "/v2/models/{model}/ready", "/v2/models/identity/ready", "", 200, "", Served("whether it answers")),
    ("GET", "/v2/models/{model}/versions/{version}/ready", "/v2/models/identity/versions/1/ready", "", 200, "", Served("of one version")),
    ("GET", "/v2/models/{model}/config", "/v2/models/identity/config", "", 200, "max_batch_size", Served("what is in effect")),
    ("GET", "/v2/models/{model}/versions/{version}/config", "/v2/models/identity/versions/1/config", "", 200, "max_batch_size", Served("of one version")),
    ("GET", "/v2/models/{model}/stats", "/v2/models/identity/stats", "", 200, "inference_stats", Served("statistics")),
    ("GET", "/v2/models/{model}/versions/{version}/stats", "/v2/models/identity/versions/1/stats", "", 200, "inference_stats", Served("of one version")),
    ("GET", "/v2/models/stats", "/v2/models/stats", "", 200, "inference_stats", Served("of all models")),
    ("POST", "/v2/models/{model}/infer", "/v2/models/identity/infer", INFER, 200, ANSWER, Served("inference; JSON and binary tensors")),
    ("POST", "/v2/models/{model}/versions/{version}/infer", "/v2/models/identity/versions/1/infer", INFER, 200, ANSWER, Served("by one version")),
    ("POST", "/v2/models/{model}/generate", "/v2/models/identity/generate", "{}", 501, "generate", Refused(ONE_RESPONSE)),
    ("POST", "/v2/models/{model}/versions/{version}/generate", "/v2/models/identity/versions/1/generate", "{}", 501, "generate", Refused(ONE_RESPONSE)),
    ("POST", "/v2/models/{model}/generate_stream", "/v2/models/identity/generate_stream", "{}", 501, "generate", Refused(ONE_RESPONSE)),
    ("POST", "/v2/models/{model}/versions/{version}/generate_stream", "/v2/models/identity/versions/1/generate_stream", "{}", 501, "generate", Refused(ONE_RESPONSE)),
    ("GET", "/v2/models/{model}/trace/setting", "/v2/models/identity/trace/setting", "", 200, r#""trace_level":["OFF"]"#, Served(NO_TRACE)),
    ("POST", "/v2/models/{model}/trace/setting", "/v2/models/identity/trace/setting", r#"{"trace_level":["OFF"]}"#, 200, r#""trace_level":["OFF"]"#, Served(NO_TRACE)),
    ("GET", "/v2/trace/setting", "/v2/trace/setting", "", 200, r#""trace_level":["OFF"]"#, Served(NO_TRACE)),
    ("POST", "/v2/trace/setting", "/v2/trace/setting", r#"{"trace_level":"OFF"}"#, 200, r#""trace_level":["OFF"]"#, Served(NO_TRACE)),
    ("GET", "/v2/logging", "/v2/logging", "", 200, "log_verbose_level", Served("what is logged")),
    ("POST", "/v2/logging", "/v2/logging", r#"{"log_info":true}"#, 200, r#""log_info":true"#, Served("levels, on a loopback address; the file by `--log-file`")),
    ("POST", "/v2/repository/index", "/v2/repository/index", "", 200, r#""state":"READY""#, Served("every model, whether it answers, and why not")),
    ("POST", "/v2/repository/{repository}/index", "/v2/repository/mine/index", "", 501, "repository_name", Refused(NO_REPOSITORY)),
    ("POST", "/v2/repository/models/{model}/load", "/v2/repository/models/identity/load", "", 200, "", Served("with `--model-control-mode=explicit`: anew what was changed")),
    ("POST", "/v2/repository/models/{model}/unload", "/v2/repository/models/mlp/unload", "", 200, "", Served("with `--model-control-mode=explicit`: when its last request was answered")),
    ("POST", "/v2/repository/{repository}/models/{model}/load", "/v2/repository/mine/models/identity/load", "", 501, "repository_name", Refused(NO_REPOSITORY)),
    ("POST", "/v2/repository/{repository}/models/{model}/unload", "/v2/repository/mine/models/identity/unload", "", 501, "repository_name", Refused(NO_REPOSITORY)),
    ("GET", "/v2/systemsharedmemory/status", "/v2/systemsharedmemory/status", "", 200, "[]", Served(NO_REGIONS)),
    ("GET", "/v2/systemsharedmemory/region/{region}/status", "/v2/systemsharedmemory/region/r/status", "", 200, "[]", Served(NO_REGIONS)),
    ("POST", "/v2/systemsharedmemory/region/{region}/register", "/v2/systemsharedmemory/region/r/register", "{}", 501, "shared memory", Refused(NO_SHARED)),
    ("POST", "/v2/systemsharedmemory/unregister", "/v2/systemsharedmemory/unregister", "", 200, "", Served(NO_REGIONS)),
    ("POST", "/v2/systemsharedmemory/region/{region}/unregister", "/v2/systemsharedmemory/region/r/unregister", "", 200, "", Served(NO_REGIONS)),
    ("GET", "/v2/cudasharedmemory/status", "/v2/cudasharedmemory/status", "", 200, "[]", Served(NO_REGIONS)),
    ("GET", "/v2/cudasharedmemory/region/{region}/status", "/v2/cudasharedmemory/region/r/status", "", 200, "[]", Served(NO_REGIONS)),
    ("POST", "/v2/cudasharedmemory/region/{region}/register", "/v2/cudasharedmemory/region/r/register", "{}", 501, "shared memory", Refused(NO_SHARED)),
    ("POST", "/v2/cudasharedmemory/unregister", "/v2/cudasharedmemory/unregister", "", 200, "", Served(NO_REGIONS)),
    ("POST", "/v2/cudasharedmemory/region/{region}/unregister", "/v2/cudasharedmemory/region/r/unregister", "", 200, "", Served(NO_REGIONS)),
    ("POST", "/invocations", "/invocations", "{}", 501, "SageMaker", Refused(NO_CLOUD)),
    ("GET", "/models", "/models", "", 501, "TorchServe's management", Refused(NO_MANAGEMENT)),
    ("POST", "/models", "/models", "{}", 501, "TorchServe's management", Refused(NO_MANAGEMENT)),
    ("GET", "/models/{model}", "/models/identity", "", 501, "TorchServe's management", Refused(NO_MANAGEMENT)),
    ("DELETE", "/models/{model}", "/models/identity", "", 501, "TorchServe's management", Refused(NO_MANAGEMENT)),
    ("POST", "/models/{model}/invoke", "/models/identity/invoke", "{}", 501, "SageMaker", Refused(NO_CLOUD)),
    ("GET", "/v1/models", "/v1/models", "", 200, "identity", Served("KServe v1: the models' names")),
    ("GET", "/v1/models/{model}", "/v1/models/identity", "", 200, r#""state":"AVAILABLE""#, Served("KServe v1 and TensorFlow Serving: which of its versions answer")),
    ("GET", "/v1/models/{model}/metadata", "/v1/models/identity/metadata", "", 200, "DT_FLOAT", Served("TensorFlow Serving: metadata")),
    ("POST", "/v1/models/{model}:predict", "/v1/models/identity:predict", r#"{"instances":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("KServe v1 and TensorFlow Serving: inference, `instances` or `inputs`")),
    ("POST", "/v1/models/{model}:classify", "/v1/models/identity:classify", "{}", 501, "tf.Example", Refused(NO_EXAMPLES)),
    ("POST", "/v1/models/{model}:regress", "/v1/models/identity:regress", "{}", 501, "tf.Example", Refused(NO_EXAMPLES)),
    ("POST", "/v1/models/{model}:explain", "/v1/models/identity:explain", "{}", 501, "explainers", Refused(NO_EXPLAINERS)),
    ("GET", "/v1/models/{model}/versions/{version}", "/v1/models/identity/versions/1", "", 200, r#""state":"AVAILABLE""#, Served("TensorFlow Serving: whether it answers")),
    ("GET", "/v1/models/{model}/versions/{version}/metadata", "/v1/models/identity/versions/1/metadata", "", 200, "DT_FLOAT", Served("TensorFlow Serving: metadata of one version")),
    ("POST", "/v1/models/{model}/versions/{version}:predict", "/v1/models/identity/versions/1:predict", r#"{"inputs":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("TensorFlow Serving: inference by one version, `instances` or `inputs`")),
    ("POST", "/v1/models/{model}/versions/{version}:classify", "/v1/models/identity/versions/1:classify", "{}", 501, "tf.Example", Refused(NO_EXAMPLES)),
    ("POST", "/v1/models/{model}/versions/{version}:regress", "/v1/models/identity/versions/1:regress", "{}", 501, "tf.Example", Refused(NO_EXAMPLES)),
    ("POST", "/v1/models/{model}/versions/{version}:explain", "/v1/models/identity/versions/1:explain", "{}", 501, "explainers", Refused(NO_EXPLAINERS)),
    ("POST", "/explanations/{model}", "/explanations/identity", "{}", 501, "explainers", Refused(NO_EXPLAINERS)),
    ("POST", "/explanations/{model}/{version}", "/explanations/identity/1", "{}", 501, "explainers", Refused(NO_EXPLAINERS)),
    ("GET", "/ping", "/ping", "", 200, "Healthy", Served("TorchServe: health")),
    ("POST", "/predictions/{model}", "/predictions/identity", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("TorchServe: inference")),
    ("POST", "/predictions/{model}/{version}", "/predictions/identity/1", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("TorchServe: by one version")),
    ("GET", "/", "/", "", 200, r#"{"status":"alive"}"#, Served("KServe's first protocol: the server lives")),
    ("GET", "/health", "/health", "", 200, r#"{"ready":true}"#, Served("as `/v2/health/ready`, but 503 in place of 400")),
    ("GET", "/healthz", "/healthz", "", 200, r#"{"live":true}"#, Served("as `/v2/health/live`")),
    ("GET", "/metrics", "/metrics", "", 200, "nv_inference_request_success", Served("Prometheus, on the metrics port and, unless `--http-metrics=false`, on the inference port")),
    ("POST", "/predict", "/predict", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("inference by the default model: photographs, or plain JSON")),
    ("PUT", "/predictions/{model}", "/predictions/identity", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("the same: `curl -T` sends it")),
    ("PUT", "/predictions/{model}/{version}", "/predictions/identity/1", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("the same")),
    ("PUT", "/predict", "/predict", r#"{"INPUT0":[[1,2]]}"#, 200, "[[1.0,2.0]]", Served("the same")),
];

/// A call or a field of a request; the call and the request of its probe, as
/// text; the code and a part of the answer, or of its message; the fate.
pub(crate) type Asked = (&'static str, &'static str, &'static str, i32, &'static str, Fate);

const OK: i32 = 0;
const INVALID: i32 = 3;
const NOT_FOUND: i32 = 5;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

const GRPC_INFER: &str = "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 2] contents { fp32_contents: [1, 2] } }";

#[rustfmt::skip]
pub(crate) const CALLS: &[Asked] = &[
    ("ServerLive", "ServerLive", "", OK, "true", Served("the process answers")),
    ("ServerReady", "ServerReady", "", OK, "true", Served("every model answers")),
    ("ModelReady", "ModelReady", "name: 'identity'", OK, "true", Served("whether it answers")),
    ("ServerMetadata", "ServerMetadata", "", OK, "schedule_policy", Served("the server, and the extensions that are there")),
    ("ModelMetadata", "ModelMetadata", "name: 'identity'", OK, "pytorch_libtorch", Served("metadata")),
    ("ModelInfer", "ModelInfer", GRPC_INFER, OK, "OUTPUT0", Served("one request, one response")),
    ("ModelStreamInfer", "ModelStreamInfer", GRPC_INFER, OK, "OUTPUT0", Served("responses in the order of the requests")),
    ("ModelConfig", "ModelConfig", "name: 'identity'", OK, "max_batch_size", Served("what is in effect")),
    ("ModelStatistics", "ModelStatistics", "name: 'identity'", OK, "inference_stats", Served("statistics")),
    ("RepositoryIndex", "RepositoryIndex", "", OK, "READY", Served("every model, whether it answers, and why not")),
    ("RepositoryModelLoad", "RepositoryModelLoad", "model_name: 'identity'", OK, "", Served("with `--model-control-mode=explicit`: anew what was changed")),
    ("RepositoryModelUnload", "RepositoryModelUnload", "model_name: 'mlp'", OK, "", Served("with `--model-control-mode=explicit`: when its last request was answered")),
    ("SystemSharedMemoryStatus", "SystemSharedMemoryStatus", "", OK, "", Served(NO_REGIONS)),
    ("SystemSharedMemoryRegister", "SystemSharedMemoryRegister", "name: 'r'", UNIMPLEMENTED, "not offered", Refused(NO_SHARED)),
    ("SystemSharedMemoryUnregister", "SystemSharedMemoryUnregister", "name: 'r'", OK, "", Served(NO_REGIONS)),
    ("CudaSharedMemoryStatus", "CudaSharedMemoryStatus", "", OK, "", Served(NO_REGIONS)),
    ("CudaSharedMemoryRegister", "CudaSharedMemoryRegister", "name: 'r'", UNIMPLEMENTED, "not offered", Refused(NO_SHARED)),
    ("CudaSharedMemoryUnregister", "CudaSharedMemoryUnregister", "name: 'r'", OK, "", Served(NO_REGIONS)),
    ("TraceSetting", "TraceSetting", "", OK, "OFF", Served(NO_TRACE)),
    ("LogSettings", "LogSettings", "", OK, "log_verbose_level", Served("levels, on a loopback address; the file by `--log-file`")),
];

const REGION: &str = "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 2]
    parameters { key: 'shared_memory_region' value { string_param: 'r' } } }";
const ONE_CLASS: &str = "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 2] contents { fp32_contents: [1, 2] } }
    outputs { name: 'OUTPUT0' parameters { key: 'classification' value { int64_param: 1 } } }";
const AS_BYTES: &str = "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 1] } raw_input_contents: '\\000\\000\\000\\000'";
const WRONG_TYPE: &str = "no parameter has this type; if a number is meant, the answer says so";

/// Of the calls that are answered; those of the others go with their call.
#[rustfmt::skip]
pub(crate) const FIELDS: &[Asked] = &[
    ("ModelReadyRequest.name", "ModelReady", "name: 'nope'", OK, "", Served("the model's")),
    ("ModelReadyRequest.version", "ModelReady", "name: 'identity' version: 'x'", NOT_FOUND, "no version", Served("empty for the newest")),
    ("ModelMetadataRequest.name", "ModelMetadata", "name: 'nope'", NOT_FOUND, "nope", Served("the model's")),
    ("ModelMetadataRequest.version", "ModelMetadata", "name: 'identity' version: '7'", NOT_FOUND, "7", Served("empty for all of them")),
    ("ModelInferRequest.model_name", "ModelInfer", "model_name: 'nope'", NOT_FOUND, "nope", Served("the model's")),
    ("ModelInferRequest.model_version", "ModelInfer", "model_name: 'identity' model_version: '7'", NOT_FOUND, "7", Served("empty for the newest")),
    ("ModelInferRequest.id", "ModelInfer", "id: 'mine' model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 1] contents { fp32_contents: 1 } }", OK, "mine", Served("handed back")),
    ("ModelInferRequest.parameters", "ModelInfer", "model_name: 'identity' parameters { key: 'priority' value { int64_param: -1 } }", INVALID, "priority", Served("`priority` and `timeout` (microseconds); others are arguments of `forward` that are numbers or strings")),
    ("ModelInferRequest.inputs", "ModelInfer", "model_name: 'identity'", INVALID, "INPUT0", Served("all of the model's")),
    ("ModelInferRequest.InferInputTensor.name", "ModelInfer", "model_name: 'identity' inputs { name: 'z' datatype: 'FP32' shape: [1, 1] contents { fp32_contents: 1 } }", INVALID, "'z'", Served("checked")),
    ("ModelInferRequest.InferInputTensor.datatype", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP99' shape: [1, 1] }", INVALID, "FP99", Served("checked")),
    ("ModelInferRequest.InferInputTensor.shape", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 3] contents { fp32_contents: 1 } }", INVALID, "3 elements", Served("checked")),
    ("ModelInferRequest.InferInputTensor.parameters", "ModelInfer", REGION, INVALID, "shared memory", Served("`shared_memory_region` is refused")),
    ("ModelInferRequest.InferInputTensor.contents", "ModelInfer", GRPC_INFER, OK, "OUTPUT0", Served("if the request has no raw contents")),
    ("InferTensorContents.bool_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'BOOL' shape: [1, 1] contents { bool_contents: true } }", INVALID, "is 'BOOL'", Served("BOOL")),
    ("InferTensorContents.int_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'INT16' shape: [1, 1] contents { int_contents: 1 } }", INVALID, "is 'INT16'", Served("INT8, INT16, INT32")),
    ("InferTensorContents.int64_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'INT64' shape: [1, 1] contents { int64_contents: 1 } }", INVALID, "is 'INT64'", Served("INT64")),
    ("InferTensorContents.uint_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'UINT8' shape: [1, 1] contents { uint_contents: 1 } }", INVALID, "is 'UINT8'", Served("UINT8, UINT16, UINT32")),
    ("InferTensorContents.uint64_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'UINT64' shape: [1, 1] contents { uint64_contents: 1 } }", INVALID, "is 'UINT64'", Served("UINT64")),
    ("InferTensorContents.fp32_contents", "ModelInfer", GRPC_INFER, OK, "OUTPUT0", Served("FP32")),
    ("InferTensorContents.fp64_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'FP64' shape: [1, 1] contents { fp64_contents: 1 } }", INVALID, "is 'FP64'", Served("FP64")),
    ("InferTensorContents.bytes_contents", "ModelInfer", "model_name: 'identity' inputs { name: 'INPUT0' datatype: 'BYTES' shape: [1, 1] contents { bytes_contents: 'x' } }", INVALID, "is 'BYTES'", Served("BYTES")),
    ("ModelInferRequest.outputs", "ModelInfer", ONE_CLASS, OK, "BYTES", Served("which, in this order; none for all")),
    ("ModelInferRequest.InferRequestedOutputTensor.name", "ModelInfer", "model_name: 'identity' outputs { name: 'z' }", INVALID, "'z'", Served("checked")),
    ("ModelInferRequest.InferRequestedOutputTensor.parameters", "ModelInfer", ONE_CLASS, OK, "BYTES", Served("`classification`: the best classes in the tensor's place")),
    ("ModelInferRequest.raw_input_contents", "ModelInfer", AS_BYTES, OK, "OUTPUT0", Served("one for each input, in their order")),
    ("InferParameter.bool_param", "ModelInfer", "model_name: 'identity' parameters { key: 'priority' value { bool_param: true } }", INVALID, "invalid value type", Refused(WRONG_TYPE)),
    ("InferParameter.int64_param", "ModelInfer", "model_name: 'identity' parameters { key: 'timeout' value { int64_param: -1 } }", INVALID, "timeout", Served("of every parameter")),
    ("InferParameter.string_param", "ModelInfer", REGION, INVALID, "shared memory", Refused(WRONG_TYPE)),
    ("InferParameter.double_param", "ModelInfer", "model_name: 'identity' parameters { key: 'timeout' value { double_param: 1 } }", INVALID, "invalid value type", Refused(WRONG_TYPE)),
    ("InferParameter.uint64_param", "ModelInfer", "model_name: 'identity' parameters { key: 'timeout' value { uint64_param: 60000000 } } inputs { name: 'INPUT0' datatype: 'FP32' shape: [1, 1] contents { fp32_contents: 1 } }", OK, "OUTPUT0", Served("of every parameter")),
    ("ModelConfigRequest.name", "ModelConfig", "name: 'nope'", NOT_FOUND, "nope", Served("the model's")),
    ("ModelConfigRequest.version", "ModelConfig", "name: 'identity' version: '7'", NOT_FOUND, "7", Served("empty for the newest")),
    ("ModelStatisticsRequest.name", "ModelStatistics", "name: 'nope'", NOT_FOUND, "nope", Served("empty for all models")),
    ("ModelStatisticsRequest.version", "ModelStatistics", "name: 'identity' version: '7'", NOT_FOUND, "7", Served("empty for all of them")),
    ("RepositoryIndexRequest.repository_name", "RepositoryIndex", "repository_name: 'mine'", UNIMPLEMENTED, "repository_name", Refused(NO_REPOSITORY)),
    ("RepositoryModelLoadRequest.repository_name", "RepositoryModelLoad", "repository_name: 'mine' model_name: 'identity'", UNIMPLEMENTED, "repository_name", Refused(NO_REPOSITORY)),
    ("RepositoryModelLoadRequest.model_name", "RepositoryModelLoad", "model_name: 'nope'", INTERNAL, "nope", Served("the model's")),
    ("RepositoryModelLoadRequest.parameters", "RepositoryModelLoad", "model_name: 'identity' parameters { key: 'config' value { string_param: '{' } }", INVALID, "config", Served("`config`: in the file's place until the next load")),
    ("RepositoryModelUnloadRequest.repository_name", "RepositoryModelUnload", "repository_name: 'mine' model_name: 'identity'", UNIMPLEMENTED, "repository_name", Refused(NO_REPOSITORY)),
    ("RepositoryModelUnloadRequest.model_name", "RepositoryModelUnload", "model_name: 'nope'", OK, "", Served("the model's; one that isn't there is no error")),
    ("RepositoryModelUnloadRequest.parameters", "RepositoryModelUnload", "model_name: 'nope' parameters { key: 'unload_dependents' value { bool_param: true } }", OK, "", Served("`unload_dependents`: nothing depends on a model here")),
    ("ModelRepositoryParameter.bool_param", "RepositoryModelUnload", "model_name: 'nope' parameters { key: 'unload_dependents' value { bool_param: false } }", OK, "", Served("`unload_dependents`")),
    ("ModelRepositoryParameter.int64_param", "RepositoryModelLoad", "model_name: 'identity' parameters { key: 'config' value { int64_param: 1 } }", INVALID, "config", Refused(WRONG_TYPE)),
    ("ModelRepositoryParameter.string_param", "RepositoryModelLoad", "model_name: 'identity' parameters { key: 'config' value { string_param: '[]' } }", INVALID, "config", Served("`config`")),
    ("ModelRepositoryParameter.bytes_param", "RepositoryModelLoad", "model_name: 'identity' parameters { key: 'file:1/model.pt' value { bytes_param: 'x' } }", UNIMPLEMENTED, "file", Refused("a model's files come from its directory")),
    ("TraceSettingRequest.settings", "TraceSetting", "settings { key: 'trace_level' value { value: 'TIMESTAMPS' } }", INVALID, "there are no traces", Refused("but for what is there: off")),
    ("TraceSettingRequest.SettingValue.value", "TraceSetting", "settings { key: 'trace_level' value { value: 'OFF' } }", OK, "OFF", Served("the level OFF")),
    ("TraceSettingRequest.model_name", "TraceSetting", "model_name: 'nope'", NOT_FOUND, "is not found", Served("it must be served")),
    ("LogSettingsRequest.settings", "LogSettings", "settings { key: 'log_info' value { bool_param: true } }", OK, "log_info", Served("levels, on a loopback address")),
    ("LogSettingsRequest.SettingValue.bool_param", "LogSettings", "settings { key: 'log_warning' value { bool_param: true } }", OK, "log_warning", Served("log_info, log_warning, log_error")),
    ("LogSettingsRequest.SettingValue.uint32_param", "LogSettings", "settings { key: 'log_verbose_level' value { uint32_param: 0 } }", OK, "log_verbose_level", Served("log_verbose_level")),
    ("LogSettingsRequest.SettingValue.string_param", "LogSettings", "settings { key: 'log_file' value { string_param: '/tmp/l' } }", INVALID, "log file location", Refused("but for the file and the form that are there")),
    ("RepositoryIndexRequest.ready", "RepositoryIndex", "ready: true", OK, "READY", Served("only what answers")),
    ("SystemSharedMemoryStatusRequest.name", "SystemSharedMemoryStatus", "name: 'r'", OK, "", Served("passed over: no region is ever registered")),
    ("SystemSharedMemoryUnregisterRequest.name", "SystemSharedMemoryUnregister", "name: 'r'", OK, "", Served("passed over: no region is ever registered")),
    ("CudaSharedMemoryStatusRequest.name", "CudaSharedMemoryStatus", "name: 'r'", OK, "", Served("passed over: no region is ever registered")),
    ("CudaSharedMemoryUnregisterRequest.name", "CudaSharedMemoryUnregister", "name: 'r'", OK, "", Served("passed over: no region is ever registered")),
];
