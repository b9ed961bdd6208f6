//! `--input NAME:DATATYPE:DIMS`.

use std::str::FromStr;

use cresset_protocol::Datatype;

/// An input as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedInput {
    /// Its name: an argument of `forward`, a key of its dictionary, or
    /// `<name>__<index>`.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Every dimension, -1 for one that varies; at least one.
    pub dims: Vec<i64>,
    /// Whether its argument is a number, a string or a list of numbers: no rows.
    pub shared: bool,
}

impl DescribedInput {
    /// Whether it has a row for each row of the batch, or needs none.
    pub(super) fn may_batch(&self) -> bool {
        self.shared || self.dims.first() == Some(&-1)
    }
}

impl FromStr for DescribedInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // From the right: a name may hold colons, the rest can't.
        let mut parts = text.rsplitn(3, ':');
        let (Some(dims), Some(datatype), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("expected NAME:DATATYPE:DIMS, as x:FP32:-1,3,224,224".to_owned());
        };
        if name.is_empty() {
            return Err("expected a name before the first colon".to_owned());
        }
        let known: Vec<&str> = Datatype::all().map(Datatype::name).collect();
        let datatype =
            datatype.parse().map_err(|unknown| format!("{unknown}: expected one of {}", known.join(", ")))?;
        let dims = dims.split(',').map(dimension).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), datatype, dims, shared: false })
    }
}

fn dimension(text: &str) -> Result<i64, String> {
    match text.trim().parse() {
        Ok(dimension) if dimension == -1 || dimension > 0 => Ok(dimension),
        _ => Err(format!("'{text}' is no dimension: expected 1 or more, or -1 if it varies")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_read_and_what_is_not_is_named() {
        let read = |text: &str| text.parse::<DescribedInput>();
        let described = |name: &str, datatype, dims: &[i64]| {
            Ok(DescribedInput { name: name.to_owned(), datatype, dims: dims.to_vec(), shared: false })
        };
        assert_eq!(read("x:FP32:-1,32"), described("x", Datatype::Fp32, &[-1, 32]));
        assert_eq!(read("a:b:BYTES:-1"), described("a:b", Datatype::Bytes, &[-1]));
        for (text, message) in [
            ("x", "expected NAME:DATATYPE:DIMS, as x:FP32:-1,3,224,224"),
            (":FP32:1", "expected a name before the first colon"),
            ("x:FP32:", "'' is no dimension: expected 1 or more, or -1 if it varies"),
            ("x:FP32:1,0", "'0' is no dimension: expected 1 or more, or -1 if it varies"),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
        assert!(read("x:float:1").unwrap_err().starts_with("unknown datatype 'float': expected one of BOOL"));
    }
}
