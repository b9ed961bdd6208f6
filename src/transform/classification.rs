//! A row of scores to its best labels.

use std::cmp::Ordering;

use super::error::TransformError;

/// `[transform.classification]`: the best of a row of scores, with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    pub(crate) output: Option<String>,
    pub(crate) scale: Scale,
    pub(crate) top_k: usize,
    pub(crate) labels: Vec<String>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Its place in the row.
    pub index: usize,
    /// Its label: the same line of the file of labels, counted from 0.
    pub label: String,
    /// Between 0 and 1 after softmax; else the score as the model gave it.
    pub probability: f32,
}

impl Classification {
    /// The configured output's name; `None` for the model's only one.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The best of `scores`, one row of FP32, best first; equal scores in the
    /// order of their indices.
    ///
    /// Softmax is taken over the whole row, less its largest score, so that
    /// large logits don't overflow.
    ///
    /// # Errors
    /// [`TransformError::Scores`] when there isn't one score for each label,
    /// or when one is NaN or infinite: nothing can be said of such a row.
    /// Negative infinity passes under softmax, as probability 0.
    pub fn apply(&self, scores: &[f32]) -> Result<Vec<Ranked>, TransformError> {
        self.check(scores)?;
        let (peak, total) = match self.scale {
            Scale::AsGiven => (0.0, 1.0),
            Scale::Softmax => {
                let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                (peak, scores.iter().map(|score| f64::from(score - peak).exp()).sum())
            }
        };
        let ranked = |index: usize| Ranked {
            index,
            label: self.labels[index].clone(),
            probability: match self.scale {
                Scale::AsGiven => scores[index],
                Scale::Softmax => (f64::from(scores[index] - peak).exp() / total) as f32,
            },
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
        Classification { output: None, scale, top_k, labels }
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
                Ranked { index: 1, label: "label 1".into(), probability: 0.7 },
                Ranked { index: 2, label: "label 2".into(), probability: 0.2 },
            ]
        );
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
