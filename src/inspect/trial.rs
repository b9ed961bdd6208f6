//! A model on trial: what it gives for the described inputs, whether
//! dimension 0 is a batch, and which dimensions vary.

use super::{DescribedInput, sample};
use crate::backend::{BackendError, BatchInput, BatchOutput, HostBuffer, Model};
use crate::protocol::{Datatype, Strings};

/// Rows of the larger batch that is tried.
const ROWS: u64 = 3;

/// An output as the trial found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundOutput {
    /// The name that the model itself gives, if any.
    pub(super) name: Option<String>,
    pub(super) datatype: Datatype,
    /// Without the batch where there is one; -1 for a dimension that varies.
    pub(super) dims: Vec<i64>,
}

/// What the trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) outputs: Vec<FoundOutput>,
    /// Whether dimension 0 is a batch, or why it isn't.
    pub(super) batch: Result<(), String>,
    /// What couldn't be tried, a line each.
    pub(super) notes: Vec<String>,
}

/// A trial of `inputs`, in the model's order.
pub(super) struct Trial<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) inputs: &'a [DescribedInput],
    /// What a dimension behind the first is where it varies.
    pub(super) size: i64,
}

impl Trial<'_> {
    /// Runs the model.
    ///
    /// # Errors
    /// That it fails on the least of what was described.
    pub(super) fn run(&self, may_batch: bool) -> Result<Found, BackendError> {
        let one = self.forward(0, 1, self.size)?;
        let mut seen = vec![shapes(&one)];
        let mut notes = Vec::new();

        let batch = if may_batch { self.try_batch(&one, &mut seen) } else { Err(self.why_not()) };

        let others_vary = self.inputs.iter().any(|input| input.dims.iter().skip(1).any(|dim| *dim < 0));
        if others_vary {
            let larger = self.size.saturating_add(self.size / 2).saturating_add(1);
            match self.forward(0, 1, larger) {
                Ok(outputs) => seen.push(shapes(&outputs)),
                Err(error) => notes.push(format!(
                    "with {larger} in the place of {} for what varies the model fails ({error}): which dimensions of \
                     the outputs vary is not known",
                    self.size
                )),
            }
        }
        let batched = usize::from(batch.is_ok());
        let outputs = one.iter().enumerate().map(|(index, output)| FoundOutput {
            name: output.name.clone(),
            datatype: output.datatype,
            dims: dims(index, &seen).split_off(batched.min(output.shape.len())),
        });
        Ok(Found { outputs: outputs.collect(), batch, notes })
    }

    fn why_not(&self) -> String {
        match self.inputs.iter().find(|input| input.dims.first() != Some(&-1)) {
            Some(input) => format!("input '{}' is described without a -1 in front", input.name),
            None => "--max-batch is 0".to_owned(),
        }
    }

    /// Whether three rows together give what each gives alone.
    fn try_batch(&self, one: &[BatchOutput], seen: &mut Vec<Vec<Vec<i64>>>) -> Result<(), String> {
        let three = self
            .forward(0, ROWS, self.size)
            .map_err(|error| format!("with {ROWS} rows the model fails: {error}"))?;
        seen.push(shapes(&three));
        if three.len() != one.len() {
            return Err(format!("1 row gives {} outputs, {ROWS} rows give {}", one.len(), three.len()));
        }
        for (index, (alone, together)) in one.iter().zip(&three).enumerate() {
            let fits = alone.shape.first() == Some(&1) && together.shape.first() == Some(&3);
            if !fits || alone.shape.len() != together.shape.len() || alone.shape[1..] != together.shape[1..] {
                return Err(format!(
                    "output {} has shape {:?} for 1 row and {:?} for {ROWS}",
                    shown(index, alone),
                    alone.shape,
                    together.shape
                ));
            }
        }
        if self.model.signature().stateful.is_some() {
            // Its answers depend on what came before, not on the neighbours alone.
            return Ok(());
        }
        for row in 0..ROWS {
            let alone = if row == 0 { one.to_vec() } else { self.row(row)? };
            for (index, (alone, together)) in alone.iter().zip(&three).enumerate() {
                if !alike(alone, together, row) {
                    return Err(format!(
                        "output {} of a row depends on the rows beside it",
                        shown(index, together)
                    ));
                }
            }
        }
        Ok(())
    }

    fn row(&self, row: u64) -> Result<Vec<BatchOutput>, String> {
        self.forward(row, 1, self.size).map_err(|error| format!("with 1 row the model fails: {error}"))
    }

    /// One run, on an instance of its own: a module that keeps state begins
    /// anew.
    fn forward(&self, first: u64, rows: u64, size: i64) -> Result<Vec<BatchOutput>, BackendError> {
        let mut instance = self.model.instance(1)?;
        let mut made = Vec::with_capacity(self.inputs.len());
        for input in self.inputs {
            let open = |(index, dim): (usize, &i64)| match (*dim, index) {
                (-1, 0) => i64::try_from(rows).unwrap_or(1),
                (-1, _) => size,
                (dim, _) => dim,
            };
            let shape: Vec<i64> = input.dims.iter().enumerate().map(open).collect();
            let elements: u64 = shape.iter().skip(1).filter_map(|dim| u64::try_from(*dim).ok()).product();
            let count = shape.first().and_then(|dim| u64::try_from(*dim).ok()).unwrap_or(1);
            let bytes = sample::rows(input, first, count, elements);
            let mut buffer = HostBuffer::new();
            buffer.begin(bytes.len());
            buffer.extend(&bytes);
            made.push((shape, buffer));
        }
        let inputs: Vec<BatchInput<'_>> = self
            .inputs
            .iter()
            .zip(&made)
            .map(|(input, (shape, buffer))| BatchInput {
                name: &input.name,
                datatype: input.datatype,
                shape,
                data: buffer.as_slice(),
            })
            .collect();
        instance.forward(&inputs)
    }
}

fn shapes(outputs: &[BatchOutput]) -> Vec<Vec<i64>> {
    outputs.iter().map(|output| output.shape.clone()).collect()
}

/// The shape of an output over all runs, -1 where it wasn't always the same.
fn dims(index: usize, seen: &[Vec<Vec<i64>>]) -> Vec<i64> {
    let mut runs = seen.iter().filter_map(|run| run.get(index));
    let first = runs.next().cloned().unwrap_or_default();
    runs.fold(first, |known, other| {
        if known.len() != other.len() {
            // As many dimensions as there were first, all of them open.
            return vec![-1; known.len()];
        }
        known.iter().zip(other).map(|(a, b)| if a == b && *a > 0 { *a } else { -1 }).collect()
    })
}

fn shown(index: usize, output: &BatchOutput) -> String {
    output.name.as_ref().map_or_else(|| index.to_string(), |name| format!("'{name}'"))
}

/// Whether row `row` of `together` is what the model gave for it `alone`, but
/// for rounding, which differs with the size of a batch.
fn alike(alone: &BatchOutput, together: &BatchOutput, row: u64) -> bool {
    let row = usize::try_from(row).unwrap_or(0);
    if alone.datatype != together.datatype {
        return false;
    }
    if alone.datatype == Datatype::Bytes {
        let count = Strings::new(&alone.data).count();
        return Strings::new(&alone.data).eq(Strings::new(&together.data).skip(row * count).take(count));
    }
    let bytes = alone.data.len();
    let Some(own) = together.data.get(row * bytes..(row + 1) * bytes) else { return false };
    let (alone, own) =
        (sample::numbers(alone.datatype, &alone.data), sample::numbers(together.datatype, own));
    let largest = alone.iter().filter(|value| value.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()));
    let tolerance = match together.datatype {
        Datatype::Fp16 | Datatype::Bf16 => 0.05 * largest,
        Datatype::Fp32 | Datatype::Fp64 => 1e-4 * largest,
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64
        | Datatype::Bytes => 0.0,
    };
    let near = |(a, b): (&f64, &f64)| {
        a.to_bits() == b.to_bits() || (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan())
    };
    alone.iter().zip(&own).all(near)
}
