//! A request that is larger than a batch may be: its parts run as requests of
//! their own, and their answers are joined into its one answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

use super::request::{ModelAnswer, PartOfRequest, Responder};
use super::respond::take_rows;
use crate::error::{Error, Result};
use crate::metrics::FailureReason;
use cresset_protocol::Tensor;

/// What the parts of one request share.
#[derive(Debug)]
struct Joined(Mutex<JoinState>);

#[derive(Debug)]
struct JoinState {
    /// The way back to the client; taken by the answer. The first part that
    /// fails is the answer, and the others aren't waited for.
    whole: Option<Responder>,
    rows: u32,
    /// In the order of the parts.
    answers: Vec<Vec<Tensor>>,
    /// How many of them are to come.
    missing: usize,
}

/// A part's way back. Dropping it is a failure of the whole, as it is for a
/// [`Responder`].
#[derive(Debug)]
struct RequestPart {
    joined: Arc<Joined>,
    index: usize,
}

impl Responder {
    /// The responders of a request's parts, `count` of them. Whatever becomes
    /// of the parts, the request is answered and counted once. All parts but the
    /// first follow another.
    #[must_use]
    pub fn parts(self, rows: u32, count: usize) -> Vec<Responder> {
        let state = JoinState { whole: None, rows, answers: vec![Vec::new(); count], missing: count };
        let joined = Arc::new(Joined(Mutex::new(state)));
        let part = |index| Box::new(RequestPart { joined: Arc::clone(&joined), index });
        let parts = (0..count).map(|index| self.of_part(part(index), index > 0)).collect();
        joined.lock().whole = Some(self);
        parts
    }
}

impl PartOfRequest for RequestPart {
    fn cancelled(&self) -> bool {
        self.joined.lock().whole.as_ref().is_none_or(Responder::cancelled)
    }

    fn succeed(&self, answer: ModelAnswer) {
        let mut state = self.joined.lock();
        if let Some(place) = state.answers.get_mut(self.index) {
            *place = answer.outputs;
        }
        state.missing = state.missing.saturating_sub(1);
        if state.missing > 0 {
            return;
        }
        let Some(whole) = state.whole.take() else { return };
        let (rows, parts) = (state.rows, std::mem::take(&mut state.answers));
        drop(state);
        match join(parts) {
            // The last part's times are the request's: it waited for as long,
            // and then ran.
            Ok(outputs) => whole.succeed(rows, ModelAnswer { outputs, durations: answer.durations }),
            Err(error) => whole.fail(FailureReason::Other, error),
        }
    }

    fn fail(&self, reason: FailureReason, error: Error) {
        if let Some(whole) = self.take() {
            whole.fail(reason, error);
        }
    }

    fn refuse(&self, error: Error) {
        if let Some(whole) = self.take() {
            whole.refuse(error);
        }
    }

    fn dropped(&self) {
        drop(self.take());
    }
}

impl RequestPart {
    fn take(&self) -> Option<Responder> {
        self.joined.lock().whole.take()
    }
}

impl Joined {
    fn lock(&self) -> MutexGuard<'_, JoinState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a request's inputs into parts of these many rows; each is a slice of
/// the same memory.
#[must_use]
pub fn split(mut inputs: Vec<Tensor>, rows: &[u32]) -> Vec<Vec<Tensor>> {
    rows.iter().map(|rows| take_rows(&mut inputs, *rows)).collect()
}

/// One behind the other along the batch.
fn join(parts: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    let rest: Vec<Vec<Tensor>> = parts.collect();
    let mut outputs = Vec::with_capacity(first.len());
    for (index, mut output) in first.into_iter().enumerate() {
        let others = || rest.iter().map(|part| part.get(index));
        let bytes = output.data.len() + others().flatten().map(|other| other.data.len()).sum::<usize>();
        let mut data = BytesMut::with_capacity(bytes);
        data.extend_from_slice(&output.data);
        for other in others() {
            let Some(other) = other.filter(|other| alike(&output, other)) else {
                return Err(Error::internal(format!(
                    "output '{}' has shape {:?} in one part of the request, and {:?} in another: they can't be \
                     joined; split_large_requests in cresset.toml is for models whose outputs differ in the batch alone",
                    output.name,
                    output.shape,
                    other.map(|other| other.shape.as_slice()).unwrap_or_default()
                )));
            };
            data.extend_from_slice(&other.data);
            if let (Some(rows), Some(more)) = (output.shape.first_mut(), other.shape.first()) {
                *rows += more;
            }
        }
        output.data = data.freeze();
        outputs.push(output);
    }
    Ok(outputs)
}

/// Whether two parts of an output differ in their rows alone.
fn alike(one: &Tensor, other: &Tensor) -> bool {
    one.name == other.name && one.datatype == other.datatype && one.shape.get(1..) == other.shape.get(1..)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::context::RequestContext;
    use crate::metrics::{Durations, ModelMetrics};
    use cresset_clock as clock;
    use cresset_protocol::Datatype;

    fn tensor(rows: i64, width: i64, data: &[u8]) -> Tensor {
        let shape = vec![rows, width];
        Tensor { name: Arc::from("y"), datatype: Datatype::Uint8, shape, data: Bytes::copy_from_slice(data) }
    }

    fn answer(output: Tensor) -> ModelAnswer {
        ModelAnswer { outputs: vec![output], durations: Durations::default() }
    }

    fn metrics(name: &str) -> Arc<ModelMetrics> {
        Arc::new(ModelMetrics::new(name, 1))
    }

    #[test]
    fn parts_are_joined_in_their_order_whichever_ends_first_and_counted_once() {
        let metrics = metrics("joined_in_order");
        let (whole, mut client) =
            Responder::new(RequestContext::default(), Arc::clone(&metrics), clock::now());
        let mut parts = whole.parts(5, 3).into_iter();
        let (first, second, third) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        third.succeed(1, answer(tensor(1, 2, &[8, 9])));
        first.succeed(2, answer(tensor(2, 2, &[0, 1, 2, 3])));
        assert!(!second.cancelled());
        assert_eq!(client.try_recv().unwrap_err(), TryRecvError::Empty);
        second.succeed(2, answer(tensor(2, 2, &[4, 5, 6, 7])));
        let joined = client.try_recv().unwrap().unwrap();
        assert_eq!(joined.outputs, [tensor(5, 2, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])]);
        let told = metrics.statistics("joined_in_order", 1);
        assert_eq!((told.inference_count, told.inference_stats.success.count), (5, 1));
    }

    #[test]
    fn a_part_that_fails_fails_the_request_and_the_others_are_dropped() {
        let metrics = metrics("joined_failed");
        let (whole, mut client) =
            Responder::new(RequestContext::default(), Arc::clone(&metrics), clock::now());
        let mut parts = whole.parts(3, 3).into_iter();
        let (first, second, third) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        first.succeed(1, answer(tensor(1, 1, &[1])));
        second.fail(FailureReason::Backend, Error::internal("the second row is wrong"));
        assert_eq!(client.try_recv().unwrap().unwrap_err().message(), "the second row is wrong");
        assert!(third.cancelled());
        drop(third);
        let told = metrics.statistics("joined_failed", 1).inference_stats;
        assert_eq!((told.success.count, told.fail.count), (0, 1));
    }

    #[test]
    fn a_client_that_went_takes_its_parts_with_it_and_a_lost_part_is_told_of() {
        let metrics = metrics("joined_lost");
        let (whole, client) = Responder::new(RequestContext::default(), Arc::clone(&metrics), clock::now());
        let parts = whole.parts(2, 2);
        drop(client);
        assert!(parts.iter().all(Responder::cancelled));
        drop(parts);
        let (whole, mut client) =
            Responder::new(RequestContext::default(), Arc::clone(&metrics), clock::now());
        drop(whole.parts(2, 2));
        assert!(client.try_recv().unwrap().unwrap_err().message().starts_with("the request was dropped"));
        assert_eq!(metrics.statistics("joined_lost", 1).inference_stats.fail.count, 2);
    }

    #[test]
    fn parts_of_other_shapes_are_refused() {
        let error = join(vec![vec![tensor(1, 2, &[1, 2])], vec![tensor(1, 1, &[3])]]).unwrap_err();
        assert!(
            error.message().starts_with("output 'y' has shape [1, 2] in one part of the request, and [1, 1]")
        );
        assert_eq!(
            join(vec![vec![tensor(2, 0, &[])], vec![tensor(1, 0, &[])]]).unwrap(),
            [tensor(3, 0, &[])]
        );
    }

    #[test]
    fn inputs_are_cut_without_a_copy() {
        let whole = tensor(5, 2, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let start = whole.data.as_ptr();
        let parts = split(vec![whole], &[2, 2, 1]);
        assert_eq!(parts[1], [tensor(2, 2, &[4, 5, 6, 7])]);
        assert_eq!(parts[2], [tensor(1, 2, &[8, 9])]);
        assert_eq!(parts[0][0].data.as_ptr(), start);
    }
}
