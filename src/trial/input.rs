//! An input with its elements.

use bytes::{Bytes, BytesMut};

use cresset_protocol::Datatype;

/// One input of a trial run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialInput {
    /// Its name; a dictionary's key.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape.
    pub shape: Vec<i64>,
    /// Its elements, as they lie in memory; `None` for zeros.
    pub data: Option<Bytes>,
}

impl TrialInput {
    /// Its elements, as they lie in memory.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.data.clone().unwrap_or_else(|| {
            let bytes = self.elements() * self.datatype.size().unwrap_or(0);
            Bytes::from(vec![0; bytes])
        })
    }

    /// How many elements it has.
    #[must_use]
    pub fn elements(&self) -> usize {
        usize::try_from(self.shape.iter().product::<i64>()).unwrap_or(0)
    }
}

/// The same inputs with their elements in memory, so that they are made once and
/// not for each run.
#[must_use]
pub fn in_memory(inputs: &[TrialInput]) -> Vec<TrialInput> {
    inputs.iter().map(|input| TrialInput { data: Some(input.bytes()), ..input.clone() }).collect()
}

/// Joins the inputs of several requests along dimension 0. All requests have the
/// same inputs, and shapes that differ in dimension 0 only.
#[must_use]
pub(super) fn joined(requests: &[&[TrialInput]]) -> Vec<TrialInput> {
    let Some(first) = requests.first() else { return Vec::new() };
    let together = |index: usize, of_first: &TrialInput| {
        let parts = || requests.iter().filter_map(|inputs| inputs.get(index));
        let mut shape = of_first.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = parts().filter_map(|part| part.shape.first()).sum();
        }
        let mut data = BytesMut::new();
        parts().for_each(|part| data.extend_from_slice(&part.bytes()));
        TrialInput { shape, data: Some(data.freeze()), ..of_first.clone() }
    };
    first.iter().enumerate().map(|(index, input)| together(index, input)).collect()
}
