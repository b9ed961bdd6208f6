//! The one way of a request to a model.

use std::sync::Arc;

use super::Engine;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::ServedModel;
use cresset_protocol::{InferenceRequest, InferenceResponse};

impl Engine {
    /// [`Engine::resolve`], for a request of which no more is known: a surface
    /// asks before it reads a body, if it knows the name by then.
    ///
    /// # Errors
    /// As [`Engine::resolve`], and that the model is overloaded.
    pub fn admit(&self, name: &str, version: Option<u64>) -> Result<Arc<ServedModel>> {
        let model = self.resolve(name, version)?;
        model.admit()?;
        Ok(model)
    }

    /// The same for [`Engine::default_model`].
    ///
    /// # Errors
    /// As [`Engine::default_model`], and that the model is overloaded.
    pub fn admit_to_default(&self) -> Result<Arc<ServedModel>> {
        let model = self.default_model()?;
        model.admit()?;
        Ok(model)
    }

    /// Answers a request to a model.
    ///
    /// Every request comes through here: from both surfaces, as a plain body,
    /// as photographs, as rows. So a concern of every request (a principal's
    /// rights, a trace) has one place.
    ///
    /// It takes a model that [`Engine::admit`] or [`Engine::admit_to_default`]
    /// gave, not a name. A surface asks for it before it reads a body: a request
    /// for an unknown or overloaded model is refused at once, and the body is read
    /// as that version expects. A version that is taken out meanwhile stays in
    /// service while a request holds it.
    ///
    /// Dropping the future cancels the request.
    ///
    /// # Errors
    /// What is wrong with the request, that the model is overloaded, or what it
    /// failed with.
    pub async fn infer(
        &self,
        context: RequestContext,
        model: &ServedModel,
        request: InferenceRequest,
    ) -> Result<InferenceResponse> {
        model.infer(context, request).await
    }
}
