//! The service: each call to its resource.

use std::sync::Arc;

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::body::Lease;
use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::{
    CudaSharedMemoryStatusRequest, CudaSharedMemoryStatusResponse, CudaSharedMemoryUnregisterRequest,
    CudaSharedMemoryUnregisterResponse, LogSettingsRequest, LogSettingsResponse, ModelConfigRequest,
    ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse,
    ModelStreamInferResponse, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse, SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse,
    SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse, TraceSettingRequest,
    TraceSettingResponse,
};
use super::status::failed;
use super::{inference, metadata, repository, settings};
use crate::context::RequestContext;
use crate::engine::Engine;

/// The calls that are answered. [`super::call`] refuses all others, before the
/// service is asked.
pub(super) const OFFERED: [&str; 18] = [
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "ModelInfer",
    "ModelStreamInfer",
    "TraceSetting",
    "LogSettings",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryUnregister",
];

/// `inference.GRPCInferenceService`.
pub(super) struct Service {
    pub(super) engine: Arc<Engine>,
}

#[async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.engine.ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.get_ref();
        let ready = metadata::model_ready(&self.engine, name, version).map_err(|error| failed(&error))?;
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(metadata::server(&self.engine)))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.get_ref();
        let model = metadata::model(&self.engine, name, version);
        model.map(Response::new).map_err(|error| failed(&error))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.get_ref();
        let config = repository::config(&self.engine, name, version);
        config.map(Response::new).map_err(|error| failed(&error))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let ModelStatisticsRequest { name, version } = request.get_ref();
        let statistics = repository::statistics(&self.engine, name, version);
        statistics.map(Response::new).map_err(|error| failed(&error))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let index = repository::index(&self.engine, request.into_inner()).await;
        index.map(Response::new).map_err(|error| failed(&error))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let loaded = repository::load(&self.engine, request.into_inner()).await;
        loaded.map(Response::new).map_err(|error| failed(&error))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let unloaded = repository::unload(&self.engine, request.into_inner()).await;
        unloaded.map(Response::new).map_err(|error| failed(&error))
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Result<Response<TraceSettingResponse>, Status> {
        let shown = settings::traces(&self.engine, request.into_inner());
        shown.map(Response::new).map_err(|error| failed(&error))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        let shown = settings::log(&self.engine, request.into_inner());
        shown.map(Response::new).map_err(|error| failed(&error))
    }

    // No region is ever registered, so none is listed. To unregister one is no
    // error, as with Triton.
    async fn system_shared_memory_status(
        &self,
        _: Request<SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<SystemSharedMemoryStatusResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<SystemSharedMemoryUnregisterResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<CudaSharedMemoryStatusResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<CudaSharedMemoryUnregisterResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let (permit, context) = (Lease::of(&request)?.take(), context_of(&request));
        let response = inference::infer(&self.engine, context, request.into_inner(), permit).await;
        response.map(Response::new).map_err(|error| failed(&error))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<BoxStream<ModelStreamInferResponse>>, Status> {
        let (lease, context) = (Lease::of(&request)?, context_of(&request));
        let answers = inference::stream(Arc::clone(&self.engine), context, request.into_inner(), lease);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The context of a request: it was given one with its body.
fn context_of<T>(request: &Request<T>) -> RequestContext {
    request.extensions().get().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::grpc::proto::DESCRIPTORS;

    #[test]
    fn every_call_that_is_offered_is_one() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let service = pool.get_service_by_name("inference.GRPCInferenceService").unwrap();
        let calls: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
        assert_eq!(calls.len(), 20);
        assert!(OFFERED.iter().all(|offered| calls.iter().any(|call| call == offered)), "{calls:?}");
    }
}
