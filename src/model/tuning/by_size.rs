//! Two forms of one model, each for the batches at which it is the faster.

use std::sync::Arc;

use cresset_backend::{
    BackendError, BatchInput, BatchOutput, Drive, Fact, Model, ModelFormat, ModelInstance, Signature,
};

/// Batches of fewer rows than `from` run on `few`, all others on `many`; both
/// give the same answers. On processors alone: neither has memory of a device.
pub(super) struct BySize {
    pub(super) few: Arc<dyn Model>,
    pub(super) many: Arc<dyn Model>,
    pub(super) from: u32,
}

impl Model for BySize {
    fn format(&self) -> &'static ModelFormat {
        self.few.format()
    }

    fn signature(&self) -> &Signature {
        self.few.signature()
    }

    fn facts(&self) -> Vec<Fact> {
        self.few.facts()
    }

    fn instance(&self, intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        let [few, many] = [&self.few, &self.many].map(|model| model.instance(intra_op_threads));
        Ok(Box::new(BySizeInstance { few: few?, many: many?, from: i64::from(self.from) }))
    }

    fn intra_op_threads(&self) -> Option<usize> {
        self.few.intra_op_threads()
    }
}

struct BySizeInstance {
    few: Box<dyn ModelInstance>,
    many: Box<dyn ModelInstance>,
    from: i64,
}

impl ModelInstance for BySizeInstance {
    fn drive(&self) -> Drive {
        self.few.drive()
    }

    fn release_memory(&mut self) {
        self.few.release_memory();
        self.many.release_memory();
    }

    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let rows = inputs.first().and_then(|input| input.shape.first());
        let instance =
            if rows.is_some_and(|rows| *rows >= self.from) { &mut self.many } else { &mut self.few };
        instance.forward(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};
    use cresset_protocol::Datatype;

    #[test]
    fn each_batch_runs_on_the_form_for_its_size() {
        let [few, many] = [(); 2].map(|()| MockBackend::new(Behaviour::Identity, &["x"]));
        let (small, large) = (Arc::clone(few.control()), Arc::clone(many.control()));
        let model = BySize { few: Arc::new(few), many: Arc::new(many), from: 3 };
        let mut instance = model.instance(1).unwrap();
        for rows in [1, 4, 2, 3] {
            let data = vec![7; rows];
            let shape = [rows as i64, 1];
            let input = BatchInput { name: "x", datatype: Datatype::Uint8, shape: &shape, data: &data };
            assert_eq!(instance.forward(&[input]).unwrap()[0].data, data);
        }
        assert_eq!((small.batches(), large.batches()), (vec![1, 2], vec![4, 3]));
    }
}
