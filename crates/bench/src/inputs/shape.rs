//! The shapes of generated inputs: declared, given, or drawn for each request.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Result, bail};

use crate::metadata::Input;
use crate::random::Random;
use cresset_protocol::Datatype;

/// The shape given to one input by `--shape`: `name:1,128`, `name:1,16..128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    name: String,
    dimensions: Vec<Dimension>,
}

/// An input declared by `--input` in place of the metadata: `name:FP32:1,784`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    shape: Shape,
    datatype: Datatype,
}

/// From the first to the last, both included; one number if they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dimension {
    first: usize,
    last: usize,
}

/// All options about shapes.
#[derive(Debug, Clone)]
pub(crate) struct Shapes<'a> {
    given: Vec<&'a Shape>,
    batch: Option<NonZeroUsize>,
}

/// One request's sizes.
pub(super) struct Drawn<'a> {
    shapes: &'a Shapes<'a>,
    sizes: Vec<(Dimension, usize)>,
}

impl Declared {
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// As a server would declare it.
    pub(crate) fn input(&self) -> Input {
        let size = |dimension: &Dimension| if dimension.varies() { -1 } else { dimension.first as i64 };
        Input {
            name: self.shape.name.clone(),
            datatype: self.datatype.name().to_owned(),
            shape: self.shape.dimensions.iter().map(size).collect(),
        }
    }
}

impl<'a> Shapes<'a> {
    pub(crate) fn new(given: impl IntoIterator<Item = &'a Shape>, batch: Option<NonZeroUsize>) -> Self {
        Self { given: given.into_iter().collect(), batch }
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(|shape| shape.name.as_str())
    }

    /// Whether requests differ in shape.
    pub(super) fn vary(&self) -> bool {
        self.given.iter().any(|shape| shape.dimensions.iter().any(|dimension| dimension.varies()))
    }

    /// Checks that some input takes the batch.
    pub(super) fn check(&self, inputs: &[&Input]) -> Result<()> {
        let batches =
            |input: &&Input| self.given(input).is_none() && input.shape.first().is_some_and(|&size| size < 0);
        if let Some(batch) = self.batch
            && !inputs.iter().any(batches)
        {
            // If this were ignored, one row would look like many.
            bail!("--batch {batch} has no input to go to: none has a variable first dimension");
        }
        Ok(())
    }

    /// Sizes for one request. Ranges that are equal are drawn once, so that
    /// `input_ids` and `attention_mask` stay of one length.
    pub(super) fn draw(&'a self, random: &mut Random) -> Drawn<'a> {
        let mut sizes: Vec<(Dimension, usize)> = Vec::new();
        for dimension in self.given.iter().flat_map(|shape| &shape.dimensions) {
            if sizes.iter().all(|(known, _)| known != dimension) {
                sizes
                    .push((*dimension, dimension.first + random.below(dimension.last - dimension.first + 1)));
            }
        }
        Drawn { shapes: self, sizes }
    }

    fn given(&self, input: &Input) -> Option<&Shape> {
        self.given.iter().copied().find(|shape| shape.name == input.name)
    }
}

impl Drawn<'_> {
    /// The input's shape in this request: as given, else as declared with the
    /// batch size for a variable first dimension.
    pub(super) fn shape_of(&self, input: &Input) -> Result<Vec<usize>> {
        let Some(shape) = self.shapes.given(input) else { return self.declared(input) };
        let size = |dimension: &Dimension| {
            let drawn = self.sizes.iter().find(|(known, _)| known == dimension);
            drawn.map_or(dimension.first, |(_, size)| *size)
        };
        Ok(shape.dimensions.iter().map(size).collect())
    }

    fn declared(&self, input: &Input) -> Result<Vec<usize>> {
        let batch = self.shapes.batch.unwrap_or(NonZeroUsize::MIN);
        let size = |(axis, &dimension): (usize, &i64)| match (axis, usize::try_from(dimension)) {
            (_, Ok(size)) => Ok(size),
            (0, Err(_)) => Ok(batch.get()),
            (_, Err(_)) => bail!(
                "input '{0}' has shape {1:?}, whose variable dimensions need --shape {0}:N[,N…]",
                input.name,
                input.shape
            ),
        };
        input.shape.iter().enumerate().map(size).collect()
    }
}

impl Dimension {
    fn varies(&self) -> bool {
        self.first != self.last
    }
}

impl FromStr for Dimension {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.trim().parse().map_err(|_| ());
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let dimension = Self { first: number(first)?, last: number(last)? };
        if dimension.first <= dimension.last { Ok(dimension) } else { Err(()) }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, dimensions) =
            text.rsplit_once(':').ok_or_else(|| format!("expected NAME:N[,N…], got '{text}'"))?;
        let dimensions: Result<_, ()> = dimensions.split(',').map(str::parse).collect();
        let dimensions = dimensions.map_err(|()| {
            format!("the dimensions in '{text}' must be whole numbers from 0, or ranges of them: N..M")
        })?;
        Ok(Self { name: name.to_owned(), dimensions })
    }
}

impl FromStr for Declared {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected NAME:DATATYPE:N[,N…], got '{text}'");
        let (head, dimensions) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (name, datatype) = head.rsplit_once(':').ok_or_else(wrong)?;
        let datatype = datatype.parse().map_err(|error| format!("'{text}': {error}"))?;
        Ok(Self { shape: format!("{name}:{dimensions}").parse()?, datatype })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, shape: &[i64]) -> Input {
        Input { name: name.to_owned(), datatype: "INT64".to_owned(), shape: shape.to_vec() }
    }

    #[test]
    fn ranges_are_drawn_for_each_request_and_equal_ones_together() {
        let given: Vec<Shape> =
            ["ids:1,16..128", "mask:1,16..128", "other:1..3"].map(|text| text.parse().unwrap()).into();
        let shapes = Shapes::new(&given, None);
        assert!(shapes.vary());
        let mut random = Random::new(1);
        let mut lengths = Vec::new();
        for _ in 0..2000 {
            let drawn = shapes.draw(&mut random);
            let ids = drawn.shape_of(&input("ids", &[-1, -1])).unwrap();
            assert_eq!(ids, drawn.shape_of(&input("mask", &[-1, -1])).unwrap());
            assert_eq!(ids[0], 1);
            lengths.push(ids[1]);
        }
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&16), Some(&128)));
        assert!(!Shapes::new(&["ids:1,16".parse().unwrap()], None).vary());
    }

    #[test]
    fn an_input_may_be_declared_in_the_servers_stead() {
        let declared: Declared = "x:FP32:1,3..5".parse().unwrap();
        let expected = Input { name: "x".to_owned(), datatype: "FP32".to_owned(), shape: vec![1, -1] };
        assert_eq!(declared.input(), expected);
        assert_eq!(declared.shape(), &"x:1,3..5".parse().unwrap());
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        for wrong in ["x", "x:", "x:1,-1", "x:a", "x:5..2", "x:1.."] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
        for wrong in ["x:1", "x:FP31:1", "x:FP32:"] {
            assert!(wrong.parse::<Declared>().is_err(), "{wrong}");
        }
    }
}
