//! Whether CUDA may round FP32 operands to TF32. The switch is global to the
//! process in libtorch, so models that set it have to agree.

use std::sync::{Arc, Mutex, PoisonError};

use super::ffi;
use cresset_backend::BackendError;

/// The setting that the loaded models have asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Switch(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    allowed: Option<bool>,
    models: usize,
}

impl Switch {
    /// Sets the switch for a model, for as long as the claim lives.
    ///
    /// # Errors
    /// If a loaded model asks for the opposite.
    pub(super) fn claim(&self, allowed: bool) -> Result<Claim, BackendError> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.allowed.is_some_and(|before| before != allowed) {
            let message = format!(
                "[precision] tf32 = {allowed}: a model that is loaded asks for {}, and libtorch has one switch \
                 for the whole process; let the models agree, or serve them apart",
                !allowed
            );
            return Err(BackendError::Load { detail: message.clone(), message });
        }
        if asked.models == 0 {
            // SAFETY: a plain switch of libtorch.
            unsafe { ffi::cresset_set_tf32(allowed.into()) };
        }
        asked.allowed = Some(allowed);
        asked.models += 1;
        Ok(Claim(self.clone()))
    }
}

/// One model's claim on the switch; dropping the last one restores libtorch's
/// default.
#[derive(Debug)]
pub(super) struct Claim(Switch);

impl Drop for Claim {
    fn drop(&mut self) {
        let mut asked = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.models -= 1;
        if asked.models == 0 {
            asked.allowed = None;
            // SAFETY: a plain switch of libtorch.
            unsafe { ffi::cresset_set_tf32(-1) };
        }
    }
}
