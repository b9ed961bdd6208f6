//! Loads a version in the form that its settings ask for, and measures the
//! effect on its answers: the plain and the changed form run on the same
//! inputs.

use std::sync::Arc;

use super::error::LoadError;
use super::file::ModelFile;
use crate::model::tuning::reference::Reference;
use crate::model_config::Binding;
use crate::trial::compare::{Difference, two_digits};
use cresset_backend::{BackendError, BatchOutput, Device, LoadOptions, Model, OutputType, Precision};

/// How far `for_inference` may move an output, relative to the output's largest
/// value. If a precision costs more by itself, as much again is allowed.
const EQUAL: f64 = 1e-3;

/// A model in the form that its settings ask for.
pub(super) struct PreparedModel {
    pub(super) model: Arc<dyn Model>,
    /// The options in effect, for further devices.
    pub(super) options: LoadOptions,
    /// `bf16 weights: answers differ by at most 0.013 (cosine 0.99997)`, if
    /// anything changes them.
    pub(super) note: Option<String>,
}

/// Loads a file on `device`, with a run of both forms if answers may change.
///
/// # Errors
/// That the file can't be loaded, or that it runs as it is and not as asked.
pub(super) fn prepare(file: ModelFile<'_>, device: Device) -> Result<PreparedModel, LoadError> {
    let options = &file.source.options;
    if options.precision.tf32.is_some() && !device.has_tf32() {
        let shown = if device.is_host() { "the CPU".to_owned() } else { device.to_string() };
        tracing::info!(model = file.source.config.name, "[precision] tf32 has no effect on {shown}");
    }
    if !options.changes_answers(device) {
        let model = file.load(device, options)?;
        return Ok(PreparedModel { model, options: options.clone(), note: None });
    }
    Preparing { file, device }.prepare()
}

/// A version whose settings may change its answers, on its first device.
struct Preparing<'a> {
    file: ModelFile<'a>,
    device: Device,
}

/// A form of the model that runs, and how far its answers are from the plain
/// one's; or why that isn't known.
struct Form {
    model: Arc<dyn Model>,
    options: LoadOptions,
    differences: Result<Vec<Difference>, String>,
}

impl Preparing<'_> {
    fn load(&self, options: &LoadOptions) -> Result<Arc<dyn Model>, BackendError> {
        self.file.load(self.device, options)
    }

    fn prepare(&self) -> Result<PreparedModel, LoadError> {
        let config = &self.file.source.config;
        let plain_options = self.file.source.options.plain();
        // The plain form first: the changed one may turn a switch of the whole
        // process, which would then be on for both.
        let plain = self.load(&plain_options)?;
        let binding = Binding::new(config, plain.signature())?;
        let mut asked = LoadOptions { outputs: output_types(&binding), ..self.file.source.options.clone() };
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
        let reference = Reference::of(plain.as_ref(), config, &binding);
        let base = asked.without_for_inference();
        let mut form = if base.precision == Precision::default() {
            let differences = reference.as_ref().map(|_| Vec::new()).map_err(Clone::clone);
            Form { model: plain, options: plain_options, differences }
        } else {
            // Its memory isn't needed twice.
            drop(plain);
            self.changed(base, &reference, &binding)?
        };
        if asked.optimize.is_for_inference() {
            form = self.optimized(form, asked, &reference, &binding);
        }
        let note = self.report(&form);
        Ok(PreparedModel { model: form.model, options: form.options, note })
    }

    /// The model in another precision or layout, which must run if the plain one
    /// did.
    fn changed(
        &self,
        options: LoadOptions,
        reference: &Result<Reference, String>,
        binding: &Binding,
    ) -> Result<Form, LoadError> {
        let model = self.load(&options)?;
        let differences = match reference {
            Ok(reference) => reference
                .run(model.as_ref())
                .inspect_err(|error| self.file.resources.health.notice(self.device, error))
                .map_err(|error| self.refused(&options, &error))
                .map(|answers| reference.compare(&answers, binding))?,
            Err(reason) => Err(reason.clone()),
        };
        Ok(Form { model, options, differences })
    }

    /// The same optimised for inference, if that leaves the answers equal.
    fn optimized(
        &self,
        base: Form,
        asked: LoadOptions,
        reference: &Result<Reference, String>,
        binding: &Binding,
    ) -> Form {
        let name = &self.file.source.config.name;
        let run = |model: &dyn Model| -> Result<Vec<Difference>, String> {
            let Ok(reference) = reference else { return Ok(Vec::new()) };
            let answers: Vec<BatchOutput> = reference.run(model).map_err(|error| error.to_string())?;
            reference.compare(&answers, binding)
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
        Form { model, options: asked, differences }
    }

    /// Logs each output's difference, and puts them into one line.
    fn report(&self, form: &Form) -> Option<String> {
        let name = &self.file.source.config.name;
        let what = form.options.describe(self.device);
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
            tracing::warn!(model = name, "{what}: answers overflow or are NaN, and should be finite");
        }
        if absolute == 0.0 {
            return Some(format!("{what}: answers are the same"));
        }
        let cosine = differences.iter().map(|one| one.cosine).fold(1.0, f64::min);
        Some(format!("{what}: answers differ by at most {} (cosine {cosine:.5})", two_digits(absolute)))
    }

    fn refused(&self, options: &LoadOptions, error: &BackendError) -> LoadError {
        let precision = options.precision;
        let advice = match (precision.weights, precision.autocast) {
            (Some(weights), _) => format!(
                "tracing writes datatypes into a model's code: use autocast = \"{weights}\", \
                 or export the model in {weights}"
            ),
            (None, Some(_)) => "leave autocast out".to_owned(),
            (None, None) => "leave channels_last out".to_owned(),
        };
        LoadError::Precision { what: options.describe(self.device), error: error.to_string(), advice }
    }
}

fn worst(differences: &[Difference]) -> f64 {
    differences.iter().map(|one| one.relative).fold(0.0, f64::max)
}

/// The datatypes that floating outputs are to have.
fn output_types(binding: &Binding) -> Vec<OutputType> {
    let of = |output: &crate::model_config::BoundOutput| {
        let datatype = output.spec.as_ref()?.datatype;
        datatype.is_float().then(|| OutputType { name: output.name.clone(), index: output.index, datatype })
    };
    binding.outputs.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;
