//! Turns a row of scores into its best labels.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::TransformError;
use super::postprocessor::{AnswerForm, Postprocessor, ReadOutput, RowAnswer};
use cresset_protocol::{Datatype, Tensor};

const TABLE: &str = "[transform.classification]";

/// `[transform.classification]`: the best of a row of scores, with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    pub(crate) output: Option<String>,
    pub(crate) scale: Scale,
    pub(crate) top_k: usize,
    pub(crate) labels: Vec<String>,
    /// The file that the labels were read from.
    pub(crate) labels_file: String,
}

/// What becomes of a score before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Logits: `exp(s) / Σ exp`.
    Softmax,
    /// The model gives probabilities.
    AsGiven,
}

/// One class and its probability.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Ranked {
    /// Its label: the same line of the file of labels, counted from 0.
    label: String,
    /// Between 0 and 1 after softmax; else the score as the model gave it.
    probability: f32,
    /// Its place in the row.
    index: usize,
}

/// The best classes of a row, best first.
#[derive(Debug)]
struct Ranking(Vec<Ranked>);

impl RowAnswer for Ranking {
    fn write(&self, form: AnswerForm, out: &mut Vec<u8>) {
        // A Vec takes everything, and the keys of a map are strings.
        let _ = match form {
            AnswerForm::Detailed => serde_json::to_writer(out, &self.0),
            AnswerForm::Brief => serde_json::to_writer(out, &ByLabel(&self.0)),
        };
    }
}

/// `{"label": probability, …}`, best first.
struct ByLabel<'a>(&'a [Ranked]);

impl Serialize for ByLabel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for ranked in self.0 {
            map.serialize_entry(&ranked.label, &ranked.probability)?;
        }
        map.end()
    }
}

impl Classification {
    /// The best of `scores`, one row of FP32, best first; equal scores in the
    /// order of their indices.
    ///
    /// Softmax is taken over the whole row, less its largest score, so that
    /// large logits don't overflow.
    ///
    /// # Errors
    /// [`TransformError::Scores`] if there isn't one score for each label, or
    /// if a score is NaN or infinite. Negative infinity passes under softmax,
    /// as probability 0.
    fn apply(&self, scores: &[f32]) -> Result<Vec<Ranked>, TransformError> {
        self.check(scores)?;
        let (peak, total) = match self.scale {
            Scale::AsGiven => (0.0, 1.0),
            Scale::Softmax => {
                let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                (peak, scores.iter().map(|score| f64::from(score - peak).exp()).sum())
            }
        };
        let ranked = |index: usize| Ranked {
            label: self.labels[index].clone(),
            probability: match self.scale {
                Scale::AsGiven => scores[index],
                Scale::Softmax => (f64::from(scores[index] - peak).exp() / total) as f32,
            },
            index,
        };
        Ok(best(scores, self.top_k).into_iter().map(ranked).collect())
    }

    fn check(&self, scores: &[f32]) -> Result<(), TransformError> {
        if scores.len() != self.labels.len() {
            return Err(TransformError::Scores(format!(
                "the model gave {} and there are {} labels",
                scores.len(),
                self.labels.len()
            )));
        }
        let masked = |score: f32| self.scale == Scale::Softmax && score == f32::NEG_INFINITY;
        if let Some(index) = scores.iter().position(|score| !score.is_finite() && !masked(*score)) {
            return Err(TransformError::Scores(format!("the one at index {index} is {}", scores[index])));
        }
        if scores.iter().all(|score| masked(*score)) {
            return Err(TransformError::Scores("all of them are -inf".to_owned()));
        }
        Ok(())
    }
}

impl Postprocessor for Classification {
    fn table(&self) -> &'static str {
        TABLE
    }

    fn outputs(&self) -> Vec<ReadOutput> {
        let (name, datatype) = (self.output.clone(), Datatype::Fp32);
        vec![ReadOutput { name, datatype, row: None, elements: "scores" }]
    }

    fn files(&self) -> Vec<&str> {
        vec![&self.labels_file]
    }

    /// A row is the last dimension of the output, or all of it.
    fn postprocess(&self, outputs: &[&Tensor]) -> Result<Vec<Arc<dyn RowAnswer>>, TransformError> {
        let [output] = outputs else {
            return Err(TransformError::Internal(format!("{TABLE} reads 1 output, not {}", outputs.len())));
        };
        let scores: Vec<f32> =
            output.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let classes =
            output.shape.last().and_then(|classes| usize::try_from(*classes).ok()).unwrap_or_default();
        let ranking = |row: &[f32]| Ok(Arc::new(Ranking(self.apply(row)?)) as Arc<dyn RowAnswer>);
        if output.shape.len() < 2 || scores.len() == classes || classes == 0 {
            return Ok(vec![ranking(&scores)?]);
        }
        scores.chunks_exact(classes).map(ranking).collect()
    }

    fn equals(&self, other: &dyn Postprocessor) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }
}

/// The indices of the `count` largest, largest first, ties by index.
fn best(scores: &[f32], count: usize) -> Vec<usize> {
    let before = |a: &usize, b: &usize| -> Ordering {
        // NaN was refused; -0.0 and 0.0 tie.
        scores[*b].partial_cmp(&scores[*a]).unwrap_or(Ordering::Equal).then(a.cmp(b))
    };
    let mut indices: Vec<usize> = (0..scores.len()).collect();
    if count < indices.len() {
        indices.select_nth_unstable_by(count, before);
        indices.truncate(count);
    }
    indices.sort_unstable_by(before);
    indices
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    fn classification(scale: Scale, top_k: usize, labels: usize) -> Classification {
        let labels = (0..labels).map(|index| format!("label {index}")).collect();
        Classification { output: None, scale, top_k, labels, labels_file: "labels.txt".to_owned() }
    }

    fn shown(ranked: &[Ranked]) -> Vec<(usize, f32)> {
        ranked.iter().map(|one| (one.index, one.probability)).collect()
    }

    #[test]
    fn best_first_with_the_label_of_the_same_line() {
        let ranked = classification(Scale::AsGiven, 2, 3).apply(&[0.1, 0.7, 0.2]).unwrap();
        assert_eq!(
            ranked,
            [
                Ranked { label: "label 1".into(), probability: 0.7, index: 1 },
                Ranked { label: "label 2".into(), probability: 0.2, index: 2 },
            ]
        );
    }

    #[test]
    fn each_row_is_answered_in_either_form() {
        let classification = classification(Scale::AsGiven, 2, 3);
        let written = |shape: &[i64], form| {
            let data = [0.1_f32, 0.7, 0.2, 0.3, 0.2, 0.5].map(f32::to_le_bytes).concat();
            let tensor = Tensor {
                name: "y".into(),
                datatype: Datatype::Fp32,
                shape: shape.to_vec(),
                data: data.into(),
            };
            let rows = classification.postprocess(&[&tensor]).map_err(|error| error.to_string())?;
            let text = |row: &Arc<dyn RowAnswer>| {
                let mut out = Vec::new();
                row.write(form, &mut out);
                String::from_utf8(out).unwrap()
            };
            Ok::<_, String>(rows.iter().map(text).collect::<Vec<_>>())
        };
        assert_eq!(
            written(&[2, 3], AnswerForm::Detailed).unwrap(),
            [
                r#"[{"label":"label 1","probability":0.7,"index":1},{"label":"label 2","probability":0.2,"index":2}]"#,
                r#"[{"label":"label 2","probability":0.5,"index":2},{"label":"label 0","probability":0.3,"index":0}]"#,
            ]
        );
        assert_eq!(written(&[2, 1, 3], AnswerForm::Brief).unwrap()[0], r#"{"label 1":0.7,"label 2":0.2}"#);
        let whole = written(&[6], AnswerForm::Brief).unwrap_err();
        assert_eq!(whole, "the scores can't be ranked: the model gave 6 and there are 3 labels");
    }

    #[test]
    fn ties_go_by_index() {
        let classification = classification(Scale::AsGiven, 3, 6);
        let ranked = classification.apply(&[0.5, 1.0, 0.5, 1.0, 0.5, 1.0]).unwrap();
        assert_eq!(shown(&ranked), [(1, 1.0), (3, 1.0), (5, 1.0)]);
        let ranked = classification.apply(&[-0.0, 0.0, -0.0, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(ranked.iter().map(|one| one.index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn softmax_stands_large_logits_and_masks() {
        let softmax = classification(Scale::Softmax, 3, 3);
        let huge = softmax.apply(&[3.0e38, -3.0e38, 3.0e38]).unwrap();
        assert_eq!(shown(&huge), [(0, 0.5), (2, 0.5), (1, 0.0)]);
        let masked = softmax.apply(&[f32::NEG_INFINITY, 1.0, 1.0]).unwrap();
        assert_eq!(shown(&masked), [(1, 0.5), (2, 0.5), (0, 0.0)]);
        let plain = softmax.apply(&[1.0, 2.0, 3.0]).unwrap();
        // exp(k) / (e + e² + e³)
        assert_eq!(shown(&plain), [(2, 0.665_240_94), (1, 0.244_728_48), (0, 0.090_030_57)]);
    }

    #[test]
    fn rows_that_cannot_be_ranked_are_errors_with_the_place() {
        let message =
            |scale, scores: &[f32]| classification(scale, 1, 3).apply(scores).unwrap_err().to_string();
        assert_eq!(
            message(Scale::Softmax, &[0.0, f32::NAN, 0.0]),
            "the scores can't be ranked: the one at index 1 is NaN"
        );
        assert_eq!(
            message(Scale::Softmax, &[0.0, 0.0, f32::INFINITY]),
            "the scores can't be ranked: the one at index 2 is inf"
        );
        assert_eq!(
            message(Scale::AsGiven, &[f32::NEG_INFINITY, 0.0, 0.0]),
            "the scores can't be ranked: the one at index 0 is -inf"
        );
        assert_eq!(
            message(Scale::Softmax, &[f32::NEG_INFINITY; 3]),
            "the scores can't be ranked: all of them are -inf"
        );
        assert_eq!(
            message(Scale::Softmax, &[0.0; 4]),
            "the scores can't be ranked: the model gave 4 and there are 3 labels"
        );
    }

    proptest::proptest! {
        #[test]
        fn the_best_are_the_head_of_a_full_sort(
            scores in proptest::collection::vec((-3i8..3).prop_map(f32::from), 1..40),
            count in 1usize..50,
        ) {
            let mut sorted: Vec<usize> = (0..scores.len()).collect();
            sorted.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            sorted.truncate(count);
            proptest::prop_assert_eq!(best(&scores, count), sorted);
        }
    }
}
