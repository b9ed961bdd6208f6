//! The one way of a request to a model.

use super::Engine;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::ServedModel;
use cresset_protocol::{InferenceRequest, InferenceResponse};

impl Engine {
    /// Answers a request to a model.
    ///
    /// Every request comes through here: from both surfaces, as a plain body,
    /// as photographs, as rows. So a concern of every request (a principal's
    /// rights, a trace) has one place.
    ///
    /// It takes a model that [`Engine::resolve`] or [`Engine::default_model`]
    /// gave, not a name. A surface resolves the name before it reads a body: an
    /// unknown model is refused at once, and the body is read as that version
    /// expects. A version that is taken out meanwhile stays in service while a
    /// request holds it.
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
