//! Preprocessors: what they do and what they declare.

use std::any::Any;
use std::fmt;

use bytes::Bytes;

use super::error::TransformError;
use cresset_protocol::Datatype;

/// Makes tensors of an item that a client sends, such as a photograph.
///
/// It is pure: no clock and no threads. A row may take milliseconds, so callers on
/// async threads run [`preprocess`](Self::preprocess) on a [`Pool`](super::Pool).
pub trait Preprocessor: Any + fmt::Debug + Send + Sync {
    /// The items that it takes.
    fn kind(&self) -> &'static ItemKind;

    /// The inputs that it makes: at least one.
    fn inputs(&self) -> Vec<MadeInput>;

    /// The files that it was read from, in the model's directory, beside
    /// `cresset.toml`.
    fn files(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Makes a row of each input, in the order of [`inputs`](Self::inputs).
    ///
    /// # Errors
    /// The item is of another kind, or damaged. No item causes a panic.
    fn preprocess(&self, item: Item) -> Result<Vec<MadeRow>, TransformError>;

    /// Whether the other is of the same type and makes the same of every item.
    fn equals(&self, other: &dyn Preprocessor) -> bool;
}

impl PartialEq for dyn Preprocessor {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

/// An input that a preprocessor makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeInput {
    /// Its name; `None` for the model's only input.
    pub name: Option<String>,
    /// The datatype of its elements.
    pub datatype: Datatype,
    /// The shape of one row, with a batch dimension of 1 in front. A dimension that
    /// differs from item to item is -1.
    pub shape: Vec<i64>,
}

/// A row of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeRow {
    /// As it is declared, without -1.
    pub shape: Vec<i64>,
    /// The elements, little-endian.
    pub data: Vec<u8>,
}

/// An item, as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The bytes of a file.
    Bytes(Bytes),
    /// A text: a string of JSON, or a body that is such a text.
    Text(Bytes),
}

impl Item {
    /// The item that `bytes` are.
    #[must_use]
    pub fn new(form: ItemForm, bytes: Bytes) -> Self {
        match form {
            ItemForm::Bytes => Self::Bytes(bytes),
            ItemForm::Text => Self::Text(bytes),
        }
    }
}

/// The form in which an item came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemForm {
    /// The bytes of a file.
    Bytes,
    /// A text that stands for it, such as its base64.
    Text,
}

/// A kind of items that clients send in the place of tensors. It is known
/// without a model, so that a model that takes no items can refuse one by its
/// name.
#[derive(Debug)]
pub struct ItemKind {
    /// The table of `cresset.toml` that makes a model take such items.
    pub table: &'static str,
    /// Its name in messages, which has an article of `a` and a plural in `s`.
    pub name: &'static str,
    /// What a string of JSON holds of it.
    pub text: &'static str,
    /// The names that clients give it in JSON, beside that of the model's input.
    pub keys: &'static [&'static str],
    /// The ends of names of files that hold one, the commonest first.
    pub suffixes: &'static [&'static str],
    /// The form in which bytes are such an item. They may turn out to be damaged.
    pub recognise: fn(&[u8]) -> Option<ItemForm>,
    /// What recognised bytes are, with an article.
    pub describe: fn(&[u8]) -> String,
    /// The error for bytes that are neither such an item nor JSON.
    pub refuse: fn(&[u8]) -> TransformError,
}

/// Kinds are constants: one table makes one kind.
impl PartialEq for ItemKind {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}
