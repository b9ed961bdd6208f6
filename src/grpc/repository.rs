//! The repository, configurations and statistics.

use super::metadata::asked_version;
use super::proto::model_repository_parameter::ParameterChoice;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{
    InferBatchStatistics, InferStatistics, ModelConfigResponse, ModelStatistics as StatisticsMessage,
    ModelStatisticsResponse, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    StatisticDuration,
};
use crate::engine::Engine;
use crate::error::{Error, ErrorCode, Result};
use cresset_protocol::{
    BatchStatistics, DurationStatistic, IndexRequest, IndexedModel, InferenceStatistics, LoadParameters,
    ModelStatistics, ParameterValue, UnloadParameters,
};

/// `RepositoryIndex`.
pub(super) async fn index(
    engine: &Engine,
    request: RepositoryIndexRequest,
) -> Result<RepositoryIndexResponse> {
    one_repository(&request.repository_name)?;
    let entry = |IndexedModel { name, version, state, reason }| {
        let state = state.name().to_owned();
        ModelIndex { name, version, state, reason }
    };
    let index = engine.repository_index(IndexRequest { ready: request.ready }).await?;
    Ok(RepositoryIndexResponse { models: index.into_iter().map(entry).collect() })
}

/// `RepositoryModelLoad`.
pub(super) async fn load(
    engine: &Engine,
    request: RepositoryModelLoadRequest,
) -> Result<RepositoryModelLoadResponse> {
    one_repository(&request.repository_name)?;
    let parameters = request.parameters.into_iter().map(|(name, parameter)| {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::StringParam(text)) => ParameterValue::Text(text),
            Some(ParameterChoice::BytesParam(_)) => ParameterValue::File,
            Some(ParameterChoice::BoolParam(_) | ParameterChoice::Int64Param(_)) | None => {
                ParameterValue::Other
            }
        };
        (name, value)
    });
    engine.load_model(&request.model_name, LoadParameters::read(parameters)?).await?;
    Ok(RepositoryModelLoadResponse {})
}

/// `RepositoryModelUnload`.
pub(super) async fn unload(
    engine: &Engine,
    request: RepositoryModelUnloadRequest,
) -> Result<RepositoryModelUnloadResponse> {
    one_repository(&request.repository_name)?;
    let parameters = request.parameters.into_iter().map(|(name, parameter)| {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Some(value),
            Some(
                ParameterChoice::StringParam(_)
                | ParameterChoice::BytesParam(_)
                | ParameterChoice::Int64Param(_),
            )
            | None => None,
        };
        (name, value)
    });
    engine.unload_model(&request.model_name, UnloadParameters::read(parameters)?).await?;
    Ok(RepositoryModelUnloadResponse {})
}

/// All directories of models are one repository. In Triton's words.
fn one_repository(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let message = "'repository_name' specification is not supported: leave the repository's name out";
    Err(Error::new(ErrorCode::Unimplemented, message))
}

/// `ModelConfig`.
pub(super) fn config(engine: &Engine, name: &str, version: &str) -> Result<ModelConfigResponse> {
    let config = engine.resolve(name, asked_version(version)?)?.config_message();
    Ok(ModelConfigResponse { config: Some(config) })
}

/// `ModelStatistics`: of every model if none is named.
pub(super) fn statistics(engine: &Engine, name: &str, version: &str) -> Result<ModelStatisticsResponse> {
    let statistics = match name {
        "" => engine.statistics(),
        name => engine.model_statistics(name, asked_version(version)?)?,
    };
    Ok(ModelStatisticsResponse { model_stats: statistics.into_iter().map(model).collect() })
}

fn model(statistics: ModelStatistics) -> StatisticsMessage {
    StatisticsMessage {
        name: statistics.name,
        version: statistics.version,
        last_inference: statistics.last_inference,
        inference_count: statistics.inference_count,
        execution_count: statistics.execution_count,
        inference_stats: Some(inference(&statistics.inference_stats)),
        batch_stats: statistics.batch_stats.iter().map(batch).collect(),
        ..StatisticsMessage::default()
    }
}

fn inference(statistics: &InferenceStatistics) -> InferStatistics {
    InferStatistics {
        success: duration(statistics.success),
        fail: duration(statistics.fail),
        queue: duration(statistics.queue),
        compute_input: duration(statistics.compute_input),
        compute_infer: duration(statistics.compute_infer),
        compute_output: duration(statistics.compute_output),
        cache_hit: duration(statistics.cache_hit),
        cache_miss: duration(statistics.cache_miss),
    }
}

fn batch(statistics: &BatchStatistics) -> InferBatchStatistics {
    InferBatchStatistics {
        batch_size: statistics.batch_size,
        compute_input: duration(statistics.compute_input),
        compute_infer: duration(statistics.compute_infer),
        compute_output: duration(statistics.compute_output),
    }
}

fn duration(statistic: DurationStatistic) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: statistic.count, ns: statistic.ns })
}
