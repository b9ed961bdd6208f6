//! Loads a version as its settings ask for it, and says what that does to its
//! answers: the plain form and the changed one run on the same inputs.

use std::sync::Arc;

use super::load::load_once;
use super::plan::Resources;
use super::served::{LoadError, ModelSource};
use super::trial::Trial;
use crate::model_config::Binding;
use crate::trial::compare::{Difference, two_digits};
use cresset_backend::{
    Backend, BackendError, BatchOutput, Device, Model, OutputType, Precision, Preparation,
};

/// How far `for_inference` may bring an output from where it was, relative to
/// the output's largest value. What a precision itself costs may be doubled.
const EQUAL: f64 = 1e-3;

/// A version loaded on its first device.
pub(super) struct Prepared {
    pub(super) model: Arc<dyn Model>,
    /// What is in effect, for further devices.
    pub(super) preparation: Preparation,
    /// `bf16 weights: answers differ by at most 0.013 (cosine 0.99997)`, where
    /// anything changes them.
    pub(super) note: Option<String>,
}

/// Loads on `device`, with a trial run where answers may change.
///
/// # Errors
/// That the file can't be loaded, or that it runs as it is and not as asked.
pub(super) fn prepare(
    backend: &dyn Backend,
    source: &ModelSource,
    device: Device,
    resources: &Resources,
) -> Result<Prepared, LoadError> {
    let one = Preparing { backend, source, device, resources };
    let asked = &source.preparation;
    if asked.precision.tf32.is_some() && device.is_host() {
        tracing::info!(model = source.config.name, "[precision] tf32 has no effect on the CPU");
    }
    if !asked.changes_answers(device) {
        let model = one.load(asked)?;
        return Ok(Prepared { model, preparation: asked.clone(), note: None });
    }
    one.prepare()
}

/// A version on its way.
struct Preparing<'a> {
    backend: &'a dyn Backend,
    source: &'a ModelSource,
    device: Device,
    resources: &'a Resources,
}

/// A form of the model that runs, and how far its answers are from the plain
/// one's; in words where that isn't known.
struct Form {
    model: Arc<dyn Model>,
    preparation: Preparation,
    differences: Result<Vec<Difference>, String>,
}

impl Preparing<'_> {
    fn load(&self, preparation: &Preparation) -> Result<Arc<dyn Model>, BackendError> {
        load_once(self.backend, self.source, self.device, self.resources, preparation)
    }

    fn prepare(&self) -> Result<Prepared, LoadError> {
        let config = &self.source.config;
        let plain_form = self.source.preparation.plain();
        // First: a switch of the whole process that the changed form turns
        // would be on for the plain one, too.
        let plain = self.load(&plain_form)?;
        let binding = Binding::new(config, plain.signature())?;
        let mut asked = Preparation { outputs: output_types(&binding), ..self.source.preparation.clone() };
        if let Some(reason) =
            plain.signature().stateful.as_ref().filter(|_| asked.optimize.is_for_inference())
        {
            tracing::warn!(
                model = config.name,
                reason,
                "it can't be optimised for inference: it keeps state"
            );
            asked = asked.without_for_inference();
        }
        let trial = Trial::of(plain.as_ref(), config, &binding);
        let base = asked.without_for_inference();
        let mut form = if base.precision == Precision::default() {
            let differences = trial.as_ref().map(|_| Vec::new()).map_err(Clone::clone);
            Form { model: plain, preparation: plain_form, differences }
        } else {
            // Its memory isn't needed twice.
            drop(plain);
            self.changed(base, &trial, &binding)?
        };
        if asked.optimize.is_for_inference() {
            form = self.optimized(form, asked, &trial, &binding);
        }
        let note = self.report(&form);
        Ok(Prepared { model: form.model, preparation: form.preparation, note })
    }

    /// In another precision or layout, which must run where the plain one did.
    fn changed(
        &self,
        preparation: Preparation,
        trial: &Result<Trial, String>,
        binding: &Binding,
    ) -> Result<Form, LoadError> {
        let model = self.load(&preparation)?;
        let differences = match trial {
            Ok(trial) => trial
                .run(model.as_ref())
                .inspect_err(|error| self.resources.health.notice(self.device, error))
                .map_err(|error| self.refused(&preparation, &error))
                .map(|answers| trial.compare(&answers, binding))?,
            Err(reason) => Err(reason.clone()),
        };
        Ok(Form { model, preparation, differences })
    }

    /// The same optimised for inference, where that leaves the answers equal.
    fn optimized(
        &self,
        base: Form,
        asked: Preparation,
        trial: &Result<Trial, String>,
        binding: &Binding,
    ) -> Form {
        let name = &self.source.config.name;
        let run = |model: &dyn Model| -> Result<Vec<Difference>, String> {
            let Ok(trial) = trial else { return Ok(Vec::new()) };
            let answers: Vec<BatchOutput> = trial.run(model).map_err(|error| error.to_string())?;
            trial.compare(&answers, binding)
        };
        let tried = self
            .load(&asked)
            .map_err(|error| error.to_string())
            .and_then(|model| run(model.as_ref()).map(|differences| (model, differences)));
        let (model, differences) = match tried {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(model = name, "for_inference is dropped: {error}");
                return base;
            }
        };
        let before = base.differences.as_deref().map_or(0.0, worst);
        let allowed = EQUAL.max(2.0 * before);
        let after = worst(&differences);
        if after > allowed {
            tracing::warn!(
                model = name,
                "for_inference is dropped: answers differ by {} of the largest, at most {} was expected",
                two_digits(after),
                two_digits(allowed)
            );
            return base;
        }
        let differences = base.differences.map(|_| differences);
        Form { model, preparation: asked, differences }
    }

    /// Logs each output's difference, and puts them into one line.
    fn report(&self, form: &Form) -> Option<String> {
        let name = &self.source.config.name;
        let what = form.preparation.describe(self.device);
        if what.is_empty() {
            return None;
        }
        let differences = match &form.differences {
            Ok(differences) => differences,
            Err(reason) => {
                tracing::warn!(model = name, "{what}: the answers were not compared: {reason}");
                return Some(format!("{what}: answers not compared ({reason})"));
            }
        };
        for difference in differences {
            tracing::info!(model = name, "{what}: {difference}");
        }
        let absolute = differences.iter().map(|one| one.absolute).fold(0.0, f64::max);
        if absolute.is_infinite() {
            tracing::warn!(model = name, "{what}: answers overflow, or are no numbers, where they should be");
        }
        if absolute == 0.0 {
            return Some(format!("{what}: answers are the same"));
        }
        let cosine = differences.iter().map(|one| one.cosine).fold(1.0, f64::min);
        Some(format!("{what}: answers differ by at most {} (cosine {cosine:.5})", two_digits(absolute)))
    }

    fn refused(&self, preparation: &Preparation, error: &BackendError) -> LoadError {
        let precision = preparation.precision;
        let advice = match (precision.weights, precision.autocast) {
            (Some(weights), _) => format!(
                "tracing writes datatypes into a model's code: use autocast = \"{weights}\", \
                 or export the model in {weights}"
            ),
            (None, Some(_)) => "leave autocast out".to_owned(),
            (None, None) => "leave channels_last out".to_owned(),
        };
        LoadError::Precision { what: preparation.describe(self.device), error: error.to_string(), advice }
    }
}

fn worst(differences: &[Difference]) -> f64 {
    differences.iter().map(|one| one.relative).fold(0.0, f64::max)
}

/// What floating results are to come back as.
fn output_types(binding: &Binding) -> Vec<OutputType> {
    let of = |output: &crate::model_config::BoundOutput| {
        let datatype = output.spec.as_ref()?.datatype;
        datatype.is_float().then(|| OutputType { name: output.name.clone(), index: output.index, datatype })
    };
    binding.outputs.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;
