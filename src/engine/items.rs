//! Sends items, such as photographs, to a model, and answers with tensors or
//! with what its postprocessor makes of them.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::prediction::{Prediction, processed};
use crate::context::RequestContext;
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{Item, ItemKind, MadeInput, MadeRow, Preprocessor};
use cresset_protocol::{InferenceRequest, Tensor};

/// The most memory for the tensors of one request's items, in bytes.
const MOST_BYTES: usize = 512 << 20;

/// The items of a request, and whether the answer is a list or a single row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Items {
    /// At least one.
    pub(super) items: Vec<Item>,
    /// Whether they came as a list, even of one.
    pub(super) several: bool,
}

impl Items {
    pub(super) fn one(item: Item) -> Self {
        Self { items: vec![item], several: false }
    }
}

/// The kind of items that a model takes.
pub(super) fn kind(model: &ServedModel) -> Option<&'static ItemKind> {
    model.preprocessor().map(|preprocessor| preprocessor.kind())
}

/// The name of the input that an item fills, if it fills just one.
pub(super) fn made_input(model: &ServedModel) -> Option<String> {
    let mut inputs = model.preprocessor()?.inputs();
    let only = inputs.pop().filter(|_| inputs.is_empty())?;
    only.name.or_else(|| model.only_input().map(str::to_owned))
}

impl Engine {
    /// Answers items. They run together if their tensors are of the same shapes;
    /// else each is a request of its own, and they wait together.
    ///
    /// # Errors
    /// More than the model takes, what is wrong with one of them, or what the
    /// model failed with.
    pub(super) async fn predict_items(
        &self,
        context: RequestContext,
        model: &Arc<ServedModel>,
        Items { items, several }: Items,
    ) -> Result<Prediction> {
        let Some(preprocessor) = model.preprocessor() else {
            return Err(Error::internal("the model lost its transform"));
        };
        let inputs = preprocessor.inputs();
        check(model, preprocessor.kind(), &inputs, items.len())?;
        let coming = model.expect(items.len())?;
        let rows = self.preprocess(preprocessor, items).await?;
        drop(coming);
        let tensors = |rows: Vec<MadeRow>| named(model, &inputs, rows);
        let alike = rows.iter().skip(1).all(|row| same_shapes(row, &rows[0]));
        if !alike {
            return self.predict_rows(context, model, rows.into_iter().map(tensors).collect()).await;
        }
        let request = InferenceRequest { inputs: tensors(joined(rows)), ..InferenceRequest::default() };
        let response = self.infer(context, model, request).await?;
        match model.postprocessor() {
            Some(postprocessor) => processed(&**postprocessor, response, several),
            None => Ok(Prediction::Tensors(response.outputs, model.non_finite())),
        }
    }

    /// Makes the rows of each item, one item after the other. One request's
    /// items use one thread at a time.
    async fn preprocess(
        &self,
        preprocessor: &Arc<dyn Preprocessor>,
        items: Vec<Item>,
    ) -> Result<Vec<Vec<MadeRow>>> {
        let count = items.len();
        let mut rows = Vec::with_capacity(count);
        for (index, item) in items.into_iter().enumerate() {
            let work = Arc::clone(preprocessor);
            let made = self.pool().run(move || work.preprocess(item)).await?.map_err(Error::from);
            rows.push(made.map_err(|error| numbered(error, preprocessor.kind(), index, count))?);
        }
        Ok(rows)
    }
}

fn same_shapes(rows: &[MadeRow], others: &[MadeRow]) -> bool {
    rows.iter().map(|row| &row.shape).eq(others.iter().map(|other| &other.shape))
}

/// Joins the rows of all items: one tensor for each input, with the items along
/// its first dimension.
fn joined(rows: Vec<Vec<MadeRow>>) -> Vec<MadeRow> {
    let count = rows.len();
    let mut items = rows.into_iter();
    let mut all = items.next().unwrap_or_default();
    for made in &mut all {
        if let Some(batch) = made.shape.first_mut() {
            *batch = count as i64;
        }
        made.data.reserve_exact(made.data.len() * (count - 1));
    }
    for rows in items {
        all.iter_mut().zip(rows).for_each(|(made, row)| made.data.extend_from_slice(&row.data));
    }
    all
}

/// The made rows as the model's inputs.
fn named(model: &ServedModel, inputs: &[MadeInput], rows: Vec<MadeRow>) -> Vec<Tensor> {
    let tensor = |(input, MadeRow { mut shape, data }): (&MadeInput, MadeRow)| {
        let name = input.name.as_deref().or_else(|| model.only_input()).unwrap_or_default();
        let dims = model.input_dims(name).map(|(dims, _)| dims);
        if model.max_batch_size() == 0 && dims.is_some_and(|dims| dims.len() != shape.len()) {
            // Without a batch dimension the model takes one item as it is.
            shape.remove(0);
        }
        Tensor { name: Arc::from(name), datatype: input.datatype, shape, data: Bytes::from(data) }
    };
    inputs.iter().zip(rows).map(tensor).collect()
}

/// Refuses more items than run together, before any is preprocessed.
fn check(model: &ServedModel, kind: &ItemKind, inputs: &[MadeInput], count: usize) -> Result<()> {
    let bytes = inputs.iter().map(row_bytes).fold(0, usize::saturating_add);
    let most = most_items(model, inputs).min(MOST_BYTES / bytes.max(1)).max(1);
    if count <= most {
        return Ok(());
    }
    let (name, model_name) = (kind.name, model.name());
    Err(Error::invalid(if most == 1 && model.max_batch_size() == 0 {
        format!(
            "{count} {name}s came, and model '{model_name}' takes one in a request (it has no dimension for a batch)"
        )
    } else {
        format!("{count} {name}s came, and model '{model_name}' takes at most {most} in a request")
    }))
}

/// The least size of an input's row in bytes.
fn row_bytes(input: &MadeInput) -> usize {
    let side = |side: &i64| usize::try_from(*side).unwrap_or(1);
    input.shape.iter().map(side).fold(input.datatype.size().unwrap_or(1), usize::saturating_mul)
}

/// How many items one request may hold; `usize::MAX` for any number.
fn most_items(model: &ServedModel, inputs: &[MadeInput]) -> usize {
    if model.max_batch_size() > 0 {
        return model.most_rows();
    }
    let open = |input: &MadeInput| {
        let name = input.name.as_deref().or_else(|| model.only_input()).unwrap_or_default();
        let dims = model.input_dims(name).map(|(dims, _)| dims);
        dims.is_none_or(|dims| dims.len() == input.shape.len() && dims.first() == Some(&-1))
    };
    if inputs.iter().all(open) { usize::MAX } else { 1 }
}

/// Adds the item's number to an error, if there are several.
fn numbered(error: Error, kind: &ItemKind, index: usize, count: usize) -> Error {
    if count == 1 {
        return error;
    }
    Error::new(error.code(), format!("{} {} of {count}: {}", kind.name, index + 1, error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_protocol::Datatype;

    fn row(shape: &[i64], data: &[u8]) -> MadeRow {
        MadeRow { shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn rows_of_several_items_are_one_tensor_of_each_input() {
        let first = vec![row(&[1, 2], &[1, 2]), row(&[1], &[9])];
        let second = vec![row(&[1, 2], &[3, 4]), row(&[1], &[8])];
        assert!(same_shapes(&first, &second));
        assert_eq!(joined(vec![first, second]), [row(&[2, 2], &[1, 2, 3, 4]), row(&[2], &[9, 8])]);
    }

    #[test]
    fn an_open_dimension_counts_as_the_least_that_it_may_be() {
        let input = |shape: &[i64], datatype| MadeInput { name: None, datatype, shape: shape.to_vec() };
        assert_eq!(row_bytes(&input(&[1, 3, 224, 224], Datatype::Fp32)), 602_112);
        assert_eq!(row_bytes(&input(&[1, -1], Datatype::Int64)), 8);
    }
}
