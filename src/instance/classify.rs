//! Triton's classification extension: instead of a tensor, the best scores of
//! each row as strings, `<score>:<index>[:<label>]`.

use std::cmp::Ordering;
use std::fmt::Write as _;

use bytes::Bytes;

use crate::error::{Error, Result};
use cresset_protocol::{Datatype, Element, Tensor, push_string, with_element};

/// The `count` best of each row of `output`, best first, as BYTES of shape
/// `[rows, count]`; `[count]` if it isn't `batched`. A row of fewer scores
/// gives them all.
pub(super) fn classify(output: &Tensor, count: u32, batched: bool, labels: &[String]) -> Result<Tensor> {
    let pick = with_element!(output.datatype, T => pick::<T> as Pick);
    let Some(pick) = pick.filter(|_| output.datatype != Datatype::Bool) else {
        return Err(Error::invalid(format!(
            "output '{}': class result not available for output due to unsupported type '{}'",
            output.name, output.datatype
        )));
    };
    let batch = output.shape.first().copied().filter(|_| batched);
    let rows = batch.map_or(1, |rows| usize::try_from(rows).unwrap_or(0));
    let row_bytes = output.data.len() / rows.max(1);
    let scores = row_bytes / output.datatype.size().unwrap_or(1);
    let count = scores.min(count as usize);
    let mut data = Vec::new();
    for row in output.data.chunks_exact(row_bytes.max(1)).take(rows) {
        pick(row, count, labels, &mut data);
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Ok(Tensor {
        name: output.name.clone(),
        datatype: Datatype::Bytes,
        shape: batch.into_iter().chain([count]).collect(),
        data: Bytes::from(data),
    })
}

/// A row, how many of its scores, their labels, and what they are appended to.
type Pick = fn(&[u8], usize, &[String], &mut Vec<u8>);

/// Appends the best of `row` to `out`, each behind its length.
fn pick<T: Element>(row: &[u8], count: usize, labels: &[String], out: &mut Vec<u8>) {
    if count == 0 {
        return;
    }
    let mut scores: Vec<(usize, T)> =
        row.chunks_exact(size_of::<T>()).filter_map(T::read).enumerate().collect();
    if count < scores.len() {
        scores.select_nth_unstable_by(count, falling);
        scores.truncate(count);
    }
    scores.sort_unstable_by(falling);
    let mut text = String::new();
    for (index, score) in scores {
        text.clear();
        // As C writes `%f`; whole numbers stay whole. A String takes it all.
        let _ = write!(text, "{score:.6}:{index}");
        if let Some(label) = labels.get(index) {
            text.push(':');
            text.push_str(label);
        }
        push_string(out, text.as_bytes());
    }
}

/// Best first, NaN last, equal scores in the order of the tensor.
fn falling<T: PartialOrd>(a: &(usize, T), b: &(usize, T)) -> Ordering {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    let order = b.1.partial_cmp(&a.1).unwrap_or_else(|| is_nan(&a.1).cmp(&is_nan(&b.1)));
    order.then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use half::f16;

    use super::*;

    fn tensor(datatype: Datatype, shape: &[i64], data: Vec<u8>) -> Tensor {
        Tensor { name: Arc::from("y"), datatype, shape: shape.to_vec(), data: Bytes::from(data) }
    }

    fn floats(shape: &[i64], values: &[f32]) -> Tensor {
        tensor(Datatype::Fp32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn strings(tensor: &Tensor) -> Vec<String> {
        let mut rest = &tensor.data[..];
        let mut strings = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (text, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            strings.push(String::from_utf8(text.to_vec()).unwrap());
            rest = tail;
        }
        strings
    }

    #[test]
    fn each_row_gives_its_best_in_falling_order() {
        let labels = ["cat".to_owned(), "dog: large".to_owned()];
        let output = floats(&[2, 3], &[0.25, 1.0, -3.5, f32::NAN, 0.5, 0.5]);
        let best = classify(&output, 2, true, &labels).unwrap();
        assert_eq!((best.datatype, &best.shape[..]), (Datatype::Bytes, &[2, 2][..]));
        assert_eq!(
            strings(&best),
            ["1.000000:1:dog: large", "0.250000:0:cat", "0.500000:1:dog: large", "0.500000:2"]
        );
        let all = classify(&output, 1_000_000, true, &[]).unwrap();
        assert_eq!(all.shape, [2, 3], "no more than there are");
        assert_eq!(strings(&all)[3..], ["0.500000:1", "0.500000:2", "NaN:0"]);
    }

    #[test]
    fn without_a_batch_the_whole_tensor_is_one_row() {
        let best = classify(&floats(&[2, 2], &[1.0, 4.0, 3.0, 2.0]), 3, false, &[]).unwrap();
        assert_eq!(best.shape, [3]);
        assert_eq!(strings(&best), ["4.000000:1", "3.000000:2", "2.000000:3"]);
        let empty = classify(&floats(&[1, 0], &[]), 3, true, &[]).unwrap();
        assert_eq!((&empty.shape[..], empty.data.len()), (&[1, 0][..], 0));
    }

    #[test]
    fn every_number_ranks_and_nothing_else_does() {
        let one = |datatype, data: &[u8]| classify(&tensor(datatype, &[2], data.to_vec()), 1, false, &[]);
        assert_eq!(strings(&one(Datatype::Int8, &[0xff, 0xfe]).unwrap()), ["-1:0"]);
        assert_eq!(strings(&one(Datatype::Uint8, &[0xff, 0xfe]).unwrap()), ["255:0"]);
        let halves = [1.5f32, 2.5].map(|value| f16::from_f32(value).to_le_bytes()).concat();
        assert_eq!(strings(&one(Datatype::Fp16, &halves).unwrap()), ["2.500000:1"]);
        assert_eq!(
            one(Datatype::Bool, &[0, 1]).unwrap_err().message(),
            "output 'y': class result not available for output due to unsupported type 'BOOL'"
        );
    }
}
