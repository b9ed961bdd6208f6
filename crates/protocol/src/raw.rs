//! A request that consists only of the bytes of its one tensor: Triton's binary
//! tensor extension with an `Inference-Header-Content-Length` of 0.

use bytes::Bytes;

use super::{Datatype, InferenceRequest, Inputs, ProtocolError, ResponseFormat, TensorMetadata};

/// The facts about a model that are needed for it.
#[derive(Debug, Clone, Copy)]
pub struct RawInput<'a> {
    /// Its name.
    pub model: &'a str,
    /// Its inputs, as in its metadata.
    pub inputs: &'a [TensorMetadata],
    /// Whether dimension 0 is the batch: if so, the request has one row.
    pub batched: bool,
}

/// Makes a request from a body that holds the elements of a model's only input.
/// One variable dimension follows from the body's length, and a string comes
/// without its length. All outputs are returned as binary tensors.
///
/// # Errors
/// If the body can't determine the shape of the model's input, or doesn't fit
/// it; in Triton's words if it has some.
pub fn raw_request(
    body: Bytes,
    model: RawInput<'_>,
) -> Result<(InferenceRequest, ResponseFormat), ProtocolError> {
    let [input] = model.inputs else {
        return Err(ProtocolError::invalid(format!(
            "Raw request must only have 1 input (found 1) to be deduced but got {} inputs in '{}' model configuration",
            model.inputs.len(),
            model.model
        )));
    };
    let TensorMetadata { name, datatype, shape } = input;
    let Ok(datatype) = datatype.parse::<Datatype>() else {
        return Err(ProtocolError::invalid(format!(
            "a body without JSON (Inference-Header-Content-Length: 0) has the datatype and the shape of the model's \
             configuration, and there input '{name}' has none"
        )));
    };
    let mut shape = shape.clone();
    if let (true, Some(batch)) = (model.batched, shape.first_mut()) {
        *batch = 1;
    }
    let data = match datatype.size() {
        None if shape.iter().all(|dimension| *dimension == 1) => one_string(body)?,
        None => {
            return Err(ProtocolError::invalid(format!(
                "For BYTE datatype raw input '{name}', the model must have input shape [1]: a body without JSON is \
                 one string, and the shape is {shape:?}"
            )));
        }
        Some(size) => {
            fill(name, &mut shape, body.len() / size)?;
            body
        }
    };
    let mut inputs = Inputs::with_capacity(model.model, 1);
    inputs.push(name.clone(), datatype, shape, data)?;
    let request = InferenceRequest { inputs: inputs.done(), ..InferenceRequest::default() };
    Ok((request, ResponseFormat::binary()))
}

/// Sets the variable dimension, if there is one, by the number of elements.
fn fill(name: &str, shape: &mut [i64], elements: usize) -> Result<(), ProtocolError> {
    let shown = format!("{shape:?}");
    let known = shape.iter().filter(|dimension| **dimension >= 0);
    let known =
        known.map(|dimension| usize::try_from(*dimension).unwrap_or(0)).try_fold(1, usize::checked_mul);
    let mut open = shape.iter_mut().filter(|dimension| **dimension < 0);
    let Some(first) = open.next() else { return Ok(()) };
    if open.next().is_some() {
        return Err(ProtocolError::invalid(format!(
            "The shape of the raw input '{name}' can not be deduced because there are more than one variable-sized \
             dimension: it is {shown}"
        )));
    }
    let length = elements / known.unwrap_or(usize::MAX).max(1);
    *first = i64::try_from(length).unwrap_or(i64::MAX);
    Ok(())
}

/// A string in the usual wire form: after its length.
fn one_string(body: Bytes) -> Result<Bytes, ProtocolError> {
    /// Dropping the string frees the body's memory.
    struct Kept {
        string: Vec<u8>,
        _body: Bytes,
    }
    impl AsRef<[u8]> for Kept {
        fn as_ref(&self) -> &[u8] {
            &self.string
        }
    }
    let length = u32::try_from(body.len())
        .map_err(|_| ProtocolError::invalid("a string of 4 GiB or more has no length in the protocol"))?;
    let string = [&length.to_le_bytes()[..], &body[..]].concat();
    Ok(Bytes::from_owner(Kept { string, _body: body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape and the data of `body` for an input of this datatype and
    /// shape.
    fn read(
        datatype: &str,
        shape: &[i64],
        batched: bool,
        body: &'static [u8],
    ) -> Result<(Vec<i64>, Vec<u8>), String> {
        let input =
            TensorMetadata { name: "x".to_owned(), datatype: datatype.to_owned(), shape: shape.to_vec() };
        let model = RawInput { model: "m", inputs: &[input], batched };
        let (request, format) =
            raw_request(Bytes::from_static(body), model).map_err(|error| error.to_string())?;
        assert_eq!(format, ResponseFormat::binary());
        let tensor = &request.inputs[0];
        Ok((tensor.shape.clone(), tensor.data.to_vec()))
    }

    #[test]
    fn the_shape_is_the_configurations_and_one_dimension_the_bodys() {
        let body = &[0; 24];
        for (shape, batched, expected) in [
            (&[6][..], false, &[6][..]),
            (&[-1], false, &[6]),
            (&[-1, 6], true, &[1, 6]),
            (&[-1, -1], true, &[1, 6]),
            (&[-1, 3, -1], true, &[1, 3, 2]),
            (&[-1, 2, -1, 3], true, &[1, 2, 1, 3]),
        ] {
            assert_eq!(
                read("FP32", shape, batched, body),
                Ok((expected.to_vec(), body.to_vec())),
                "{shape:?}"
            );
        }
        assert_eq!(read("UINT8", &[-1], false, b""), Ok((vec![0], vec![])));
        assert_eq!(read("FP32", &[], false, &[0; 4]), Ok((vec![], vec![0; 4])));
    }

    #[test]
    fn a_string_gets_its_length() {
        let string = b"\x03\0\0\0abc".to_vec();
        assert_eq!(read("BYTES", &[-1, 1], true, b"abc"), Ok((vec![1, 1], string.clone())));
        assert_eq!(read("BYTES", &[1], false, b"abc"), Ok((vec![1], string)));
        assert_eq!(read("BYTES", &[1], false, b""), Ok((vec![1], vec![0; 4])));
    }

    #[test]
    fn what_a_body_cannot_tell_is_refused() {
        for (datatype, shape, batched, body, expected) in [
            (
                "FP32",
                &[-1, -1][..],
                false,
                &[0; 8][..],
                "raw input 'x' can not be deduced because there are more than one variable-sized dimension: it is [-1, -1]",
            ),
            (
                "FP32",
                &[-1, -1, -1],
                true,
                &[0; 8],
                "more than one variable-sized dimension: it is [1, -1, -1]",
            ),
            (
                "FP32",
                &[-1, 3],
                true,
                &[0; 8],
                "input 'x' for model 'm'. Expected 12, got 8: FP32 of shape [1, 3]",
            ),
            ("FP32", &[-1], false, &[0; 7], "input 'x' for model 'm'. Expected 4, got 7: FP32 of shape [1]"),
            ("FP32", &[i64::MAX, i64::MAX, -1], false, &[0; 8], "holds more elements than can be addressed"),
            (
                "BYTES",
                &[-1, -1],
                true,
                b"abc",
                "raw input 'x', the model must have input shape [1]: a body without JSON is one string, and the shape is [1, -1]",
            ),
            (
                "BYTES",
                &[2],
                false,
                b"abc",
                "must have input shape [1]: a body without JSON is one string, and the shape is [2]",
            ),
            ("", &[], false, b"abc", "input 'x' has none"),
        ] {
            let error = read(datatype, shape, batched, body).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let none = RawInput { model: "m", inputs: &[], batched: false };
        let error = raw_request(Bytes::new(), none).unwrap_err().to_string();
        let none = "Raw request must only have 1 input (found 1) to be deduced but got 0 inputs in 'm' model configuration";
        assert_eq!(error, none);
    }
}
