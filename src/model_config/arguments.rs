//! Which of `forward`'s arguments a request can fill.

use super::{ConfigError, TensorConfig};
use crate::backend::{Argument, ArgumentKind};
use crate::protocol::Datatype;

/// The arguments that inputs go to. Those behind them keep their defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a> {
    /// From the first on, without a gap: tensors, strings, and a dictionary.
    pub(super) filled: &'a [Argument],
    /// The position of the dictionary, if there is one.
    pub(super) dictionary: Option<usize>,
}

impl<'a> Arguments<'a> {
    /// Looks through all of `forward`'s arguments.
    ///
    /// # Errors
    /// An argument that can't be sent and has no default, or two dictionaries:
    /// nothing would say whose key an input is.
    pub(super) fn new(all: &'a [Argument]) -> Result<Self, ConfigError> {
        let sent = |argument: &Argument| !matches!(argument.kind, ArgumentKind::Other(_));
        let (filled, rest) =
            all.split_at(all.iter().position(|argument| !sent(argument)).unwrap_or(all.len()));
        for Argument { name, kind, has_default } in rest {
            if let (ArgumentKind::Other(spelt), false) = (kind, has_default) {
                return Err(ConfigError::Binding(format!(
                    "forward's argument '{name}' is of type '{spelt}' and has no default: only arguments of \
                     type Tensor, List[str] and Dict[str, Tensor] can be sent"
                )));
            }
            if !has_default {
                return Err(ConfigError::Binding(format!(
                    "forward's argument '{name}' stands behind one that can't be sent, and has no default"
                )));
            }
        }
        let mut dictionaries = filled
            .iter()
            .enumerate()
            .filter(|(_, argument)| argument.kind == ArgumentKind::TensorDict)
            .map(|(position, _)| position);
        let dictionary = dictionaries.next();
        match dictionaries.next() {
            None => Ok(Self { filled, dictionary }),
            Some(second) => Err(ConfigError::Binding(format!(
                "forward's argument '{}' is a second dictionary: nothing tells its keys from the first one's",
                filled[second].name
            ))),
        }
    }

    /// How many of them a request must fill.
    pub(super) fn required(&self) -> usize {
        self.filled.iter().rposition(|argument| !argument.has_default).map_or(0, |last| last + 1)
    }

    /// The position of the argument of this name that is no dictionary.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let found = self.filled.iter().position(|argument| argument.name == name);
        found.filter(|position| self.dictionary != Some(*position))
    }

    /// For messages: `forward(x, mask)`.
    pub(super) fn shown(&self) -> String {
        let names: Vec<&str> = self.filled.iter().map(|argument| argument.name.as_str()).collect();
        format!("forward({})", names.join(", "))
    }
}

/// Whether an input as configured can be what its argument takes.
pub(super) fn check_kind(argument: &Argument, spec: &TensorConfig, batched: bool) -> Result<(), ConfigError> {
    let strings = argument.kind == ArgumentKind::Strings;
    if strings != (spec.datatype == Datatype::Bytes) {
        let (takes, wanted) = if strings {
            ("strings (List[str])", "TYPE_STRING")
        } else {
            ("tensors", "a datatype of numbers")
        };
        return Err(ConfigError::Binding(format!(
            "forward's argument '{}' takes {takes}: expected {wanted} for input '{}', got {}",
            argument.name, spec.name, spec.datatype
        )));
    }
    let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
    let lengths = dims.iter().filter(|dimension| **dimension != 1).count();
    if strings && lengths > usize::from(!batched) {
        let expected = if batched { "one string for each row, as dims: [ 1 ]" } else { "one dimension" };
        return Err(ConfigError::Binding(format!(
            "forward's argument '{}' is a list of strings, which has no shape: expected {expected} for input \
             '{}', got {dims:?}",
            argument.name, spec.name
        )));
    }
    Ok(())
}
