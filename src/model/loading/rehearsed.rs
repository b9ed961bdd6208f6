//! From a configured model to one that has run.

use super::bound::BoundModel;
use super::error::LoadError;
use super::rehearse::{Rehearsal, Rehearsed};
use crate::trial::rows::{Alone, RowRule};

/// A model that was tried, and what it showed.
pub(super) struct RehearsedModel<'a> {
    pub(super) bound: BoundModel<'a>,
    /// Whether requests may share batches.
    pub(super) rule: RowRule,
    /// Requests on which the model ran, with its answers.
    pub(super) ran: Vec<Alone>,
    /// The error of a model that fails on everything that was tried.
    pub(super) fails: Option<String>,
    /// How far a row may be from what it is alone.
    pub(super) rounding: f64,
}

impl<'a> RehearsedModel<'a> {
    /// Tries the model, and takes it out of batches if its outputs aren't rows.
    ///
    /// # Errors
    /// An output that can't come as it is declared, a device that failed, or a
    /// setting about batches for a model without them.
    pub(super) fn rehearse(mut bound: BoundModel<'a>) -> Result<Self, LoadError> {
        let rehearsal = Rehearsal {
            model: bound.loaded.model.as_ref(),
            config: &bound.config,
            binding: &bound.binding,
            batching: &bound.batching,
            samples: &bound.samples,
            device: bound.loaded.device,
            options: &bound.loaded.options,
        };
        let rounding = rehearsal.rounding();
        let Rehearsed { rule, ran, fails } = rehearsal.run().inspect_err(|error| {
            if let LoadError::Backend(error) = error {
                bound.loaded.file.resources.health.notice(bound.loaded.device, error);
            }
        })?;
        warn(&bound, &rule, fails.as_deref());
        let batched = bound.config.dynamic_batching.is_some();
        if let (true, RowRule::Whole(reason)) = (batched, &rule) {
            bound = bound.kept_apart(reason)?;
        }
        let rule = match (&bound.config.dynamic_batching, &bound.apart) {
            (Some(_), _) => rule,
            (None, apart) => RowRule::Whole(apart.clone().unwrap_or_default()),
        };
        Ok(Self { bound, rule, ran, fails, rounding })
    }
}

fn warn(bound: &BoundModel<'_>, rule: &RowRule, fails: Option<&str>) {
    let model = &bound.config.name;
    if let Some(error) = fails {
        tracing::warn!(
            model,
            "the model fails on every input that was tried, and may fail on requests: {error}"
        );
    }
    if let (Some(_), RowRule::Unknown(reason)) = (&bound.config.dynamic_batching, rule) {
        tracing::warn!(
            model,
            "each request runs by itself until it is proved on requests that answers are theirs alone: {reason}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::loaded::LoadedModel;
    use super::super::testing::{ROWS, Step};
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};

    fn bound(step: &Step) -> BoundModel<'_> {
        BoundModel::bind(LoadedModel::load(step.file()).unwrap()).unwrap()
    }

    #[test]
    fn rows_that_are_their_requests_may_share_batches() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), ROWS);
        let rehearsed = RehearsedModel::rehearse(bound(&step)).unwrap();
        assert_eq!((&rehearsed.rule, &rehearsed.fails), (&RowRule::ByRow, &None));
        assert_eq!(rehearsed.ran[0].inputs[0].shape, [1, 2]);
        assert!(rehearsed.bound.config.dynamic_batching.is_some());
    }

    #[test]
    fn outputs_that_are_no_rows_take_a_model_out_of_batches() {
        let open = ROWS.replace("dims: [ 2 ] } ]\n    dynamic", "dims: [ -1 ] } ]\n    dynamic");
        let step = Step::new(MockBackend::new(Behaviour::WrongRows, &["x"]), &open);
        let rehearsed = RehearsedModel::rehearse(bound(&step)).unwrap();
        let RowRule::Whole(reason) = &rehearsed.rule else { panic!("{:?}", rehearsed.rule) };
        assert_eq!(rehearsed.bound.apart.as_deref(), Some(reason.as_str()));
        assert!(rehearsed.bound.config.dynamic_batching.is_none());
    }

    #[test]
    fn outputs_that_cannot_come_as_declared_are_refused() {
        let other = ROWS.replace(r#"name: "y" data_type: TYPE_UINT8"#, r#"name: "y" data_type: TYPE_FP32"#);
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), &other);
        let error = RehearsedModel::rehearse(bound(&step)).err().unwrap();
        assert!(matches!(error, LoadError::Declared(_)), "{error}");
    }
}
