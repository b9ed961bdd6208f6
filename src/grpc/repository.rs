//! What is served, how it is configured, and what it has done.

use super::metadata::asked_version;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{
    InferBatchStatistics, InferStatistics, ModelConfigResponse, ModelStatistics as StatisticsMessage,
    ModelStatisticsResponse, RepositoryIndexResponse, StatisticDuration,
};
use crate::engine::Engine;
use crate::error::{Error, ErrorCode, Result};
use crate::protocol::{
    BatchStatistics, DurationStatistic, IndexRequest, IndexedModel, IndexedState, InferenceStatistics,
    ModelStatistics,
};

/// `RepositoryIndex`, of all repositories together.
pub(super) fn index(engine: &Engine, repository: &str, ready: bool) -> Result<RepositoryIndexResponse> {
    if !repository.is_empty() {
        // Triton's words.
        return Err(Error::new(
            ErrorCode::Unimplemented,
            "'repository_name' specification is not supported: leave the repository's name out",
        ));
    }
    let entry = |IndexedModel { name, version, state, reason }| {
        let state = match state {
            IndexedState::Ready => "READY",
            IndexedState::Unavailable => "UNAVAILABLE",
        };
        ModelIndex { name, version, state: state.to_owned(), reason }
    };
    let models = engine.repository_index(IndexRequest { ready }).into_iter().map(entry).collect();
    Ok(RepositoryIndexResponse { models })
}

/// `ModelConfig`.
pub(super) fn config(engine: &Engine, name: &str, version: &str) -> Result<ModelConfigResponse> {
    let config = engine.resolve(name, asked_version(version)?)?.config_message();
    Ok(ModelConfigResponse { config: Some(config) })
}

/// `ModelStatistics`: of every model where none is named.
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
