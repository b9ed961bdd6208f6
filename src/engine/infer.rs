//! The one way of a request to a model.

use super::Engine;
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::ServedModel;
use cresset_protocol::{InferenceRequest, InferenceResponse};

impl Engine {
    /// Answers a request to a model.
    ///
    /// Whatever a client asks in whatever form comes through here: both surfaces,
    /// plain bodies, photographs, rows. So what concerns every request (a
    /// principal's rights, a trace) has one place.
    ///
    /// It takes a model that [`Engine::resolve`] or [`Engine::default_model`]
    /// gave, not a name. A surface resolves the name before it reads a body, so
    /// that an unknown model is refused before it, and so that the body is read
    /// by what that very version takes. A version that leaves in the meantime
    /// stays in service for as long as a request holds it.
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
