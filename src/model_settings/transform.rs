//! `[transform]`: its grammar and its ranges.

use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::labels;
use super::source::{SettingsError, Source};
use crate::transform::{ChannelOrder, Classification, ImageTransform, Scale, Size, Transforms};

/// The largest short side and crop, in pixels: a tensor of 201 MB.
const MAX_SIDE: i64 = 4096;

const DEFAULT_TOP_K: i64 = 5;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformTable {
    image: Option<ImageTable>,
    classification: Option<ClassificationTable>,
}

/// What decides the numbers that the model sees has no default: a wrong one
/// would show only as a slightly worse model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    input: Option<Spanned<String>>,
    resize_short_side: Spanned<i64>,
    center_crop: Spanned<Value>,
    #[serde(default)]
    channel_order: ChannelOrder,
    mean: Spanned<[f32; 3]>,
    std: Spanned<[f32; 3]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassificationTable {
    output: Option<Spanned<String>>,
    softmax: bool,
    top_k: Option<Spanned<i64>>,
    labels: Spanned<String>,
}

impl Source<'_> {
    pub(super) fn transforms(&self, table: TransformTable) -> Result<Transforms, SettingsError> {
        Ok(Transforms {
            image: table.image.map(|table| self.image(table)).transpose()?,
            classification: table.classification.map(|table| self.classification(table)).transpose()?,
        })
    }

    fn image(&self, table: ImageTable) -> Result<ImageTransform, SettingsError> {
        let short_side = self.side(
            "resize_short_side",
            &table.resize_short_side.span(),
            *table.resize_short_side.get_ref(),
        )?;
        let crop = self.crop(&table.center_crop)?;
        if crop.height.max(crop.width) > short_side {
            return Err(self.wrong(
                &table.center_crop.span(),
                format!(
                    "center_crop {} x {} is larger than resize_short_side {short_side}: there would be nothing to crop",
                    crop.height, crop.width
                ),
            ));
        }
        for (key, values) in [("mean", &table.mean), ("std", &table.std)] {
            if let Some(value) = values.get_ref().iter().find(|value| !value.is_finite()) {
                return Err(
                    self.wrong(&values.span(), format!("{key} holds {value}: finite numbers were expected"))
                );
            }
        }
        if let Some(value) = table.std.get_ref().iter().find(|value| **value <= 0.0) {
            return Err(
                self.wrong(&table.std.span(), format!("std holds {value}: numbers above 0 were expected"))
            );
        }
        let values = table.mean.get_ref().iter().zip(table.std.get_ref());
        if values.flat_map(|(mean, std)| [(0.0 - mean) / std, (255.0 - mean) / std]).any(f32::is_infinite) {
            let message = "(pixel - mean) / std overflows FP32".to_owned();
            return Err(self.wrong(&table.std.span(), message));
        }
        Ok(ImageTransform::new(
            self.tensor("input", table.input)?,
            short_side,
            crop,
            table.channel_order,
            table.mean.into_inner(),
            table.std.into_inner(),
        ))
    }

    fn classification(&self, table: ClassificationTable) -> Result<Classification, SettingsError> {
        let labels =
            labels::read(self.directory, table.labels.get_ref()).map_err(|error| match error.line {
                // About a line of its own file; else about this one's choice of it.
                Some(_) => error,
                None => {
                    self.wrong(&table.labels.span(), format!("labels '{}': {}", error.file, error.message))
                }
            })?;
        let (top_k, span) = table
            .top_k
            .map_or((DEFAULT_TOP_K.min(labels.len() as i64), 0..0), |top_k| (*top_k.get_ref(), top_k.span()));
        let top_k = usize::try_from(top_k)
            .ok()
            .filter(|top_k| (1..=labels.len()).contains(top_k))
            .ok_or_else(|| {
                self.wrong(
                    &span,
                    format!("top_k is {top_k}: 1 to {}, the number of labels, was expected", labels.len()),
                )
            })?;
        Ok(Classification {
            output: self.tensor("output", table.output)?,
            scale: if table.softmax { Scale::Softmax } else { Scale::AsGiven },
            top_k,
            labels,
        })
    }

    fn crop(&self, value: &Spanned<Value>) -> Result<Size, SettingsError> {
        let span = value.span();
        let sides = match value.get_ref().as_array() {
            Some(sides) => sides.as_slice(),
            None => std::slice::from_ref(value.get_ref()),
        };
        let (height, width) = match sides {
            [Value::Integer(side)] if value.get_ref().is_integer() => (*side, *side),
            [Value::Integer(height), Value::Integer(width)] => (*height, *width),
            _ => {
                let message = "center_crop takes a number of pixels, or [height, width]";
                return Err(self.wrong(&span, message.to_owned()));
            }
        };
        Ok(Size {
            height: self.side("center_crop", &span, height)?,
            width: self.side("center_crop", &span, width)?,
        })
    }

    fn side(&self, key: &str, span: &Range<usize>, value: i64) -> Result<u32, SettingsError> {
        match u32::try_from(value) {
            Ok(side) if (1..=MAX_SIDE).contains(&value) => Ok(side),
            _ => Err(self.wrong(span, format!("{key} is {value}: 1 to {MAX_SIDE} pixels were expected"))),
        }
    }

    fn tensor(&self, key: &str, name: Option<Spanned<String>>) -> Result<Option<String>, SettingsError> {
        match name {
            Some(name) if name.get_ref().is_empty() => {
                Err(self.wrong(&name.span(), format!("{key} is empty: a tensor's name was expected")))
            }
            name => Ok(name.map(Spanned::into_inner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model_settings::ModelSettings;
    use crate::model_settings::testing::{read_text, refused};

    const IMAGE: &str = "\
[transform.image]
input = \"x\"
resize_short_side = 256
center_crop = 224
channel_order = \"rgb\"
mean = [127.0, 127.0, 127.0]
std = [128, 128, 128]
";

    const CLASSIFICATION: &str = "\
[transform.classification]
output = \"logits\"
softmax = true
top_k = 2
labels = \"labels.txt\"
";

    /// The error after one line of a good file was replaced.
    fn replaced(good: &str, key: &str, line: &str) -> String {
        let lines = good.lines().map(|old| if old.starts_with(key) { line } else { old });
        refused(&lines.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn no_file_is_no_transform() {
        assert!(ModelSettings::read(tempfile::tempdir().unwrap().path()).unwrap().transforms.is_none());
        assert!(read_text("# nothing\n").unwrap().transforms.is_none());
        let empty = read_text("[transform]\n").unwrap().transforms.unwrap();
        assert!(empty.image.is_none() && empty.classification.is_none());
    }

    #[test]
    fn a_whole_file_is_read() {
        let transforms = read_text(&format!("{IMAGE}\n{CLASSIFICATION}")).unwrap().transforms.unwrap();
        let image = transforms.image.unwrap();
        assert_eq!((image.input(), image.shape()), (Some("x"), [1, 3, 224, 224]));
        let classification = transforms.classification.unwrap();
        assert_eq!(classification.output(), Some("logits"));
        let ranked = classification.apply(&[0.0, 1.0, 1.0]).unwrap();
        assert_eq!(ranked.iter().map(|one| one.label.as_str()).collect::<Vec<_>>(), ["goldfish", "shark"]);
    }

    #[test]
    fn what_may_be_left_out_has_a_default() {
        let image = "[transform.image]\nresize_short_side = 9\ncenter_crop = [4, 8]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n";
        let classification = "[transform.classification]\nsoftmax = false\nlabels = \"labels.txt\"\n";
        let transforms = read_text(&format!("{image}{classification}")).unwrap().transforms.unwrap();
        let image = transforms.image.unwrap();
        assert_eq!((image.input(), image.shape()), (None, [1, 3, 4, 8]));
        let classification = transforms.classification.unwrap();
        assert_eq!(classification.output(), None);
        assert_eq!(classification.apply(&[0.0; 3]).unwrap().len(), 3);
    }

    #[test]
    fn keys_that_are_not_known_are_refused() {
        insta::assert_snapshot!(
            refused("[transform.image]\nresize = 256\n"),
            @"cresset.toml, line 2: unknown key 'resize', expected one of 'input', 'resize_short_side', 'center_crop', 'channel_order', 'mean', 'std'"
        );
        insta::assert_snapshot!(refused("[transform.audio]\n"), @"cresset.toml, line 1: unknown key 'audio', expected 'image' or 'classification'");
        insta::assert_snapshot!(refused("\n[padding]\n"), @"cresset.toml, line 2: unknown key 'padding', expected one of 'transform', 'precision', 'optimize', 'batching'");
        insta::assert_snapshot!(refused("latency = 5\n"), @"cresset.toml, line 1: unknown key 'latency', expected one of 'transform', 'precision', 'optimize', 'batching'");
    }

    #[test]
    fn a_missing_key_or_broken_grammar_is_placed() {
        insta::assert_snapshot!(refused("[transform.image]\nresize_short_side = 256\n"), @"cresset.toml, line 1: missing key 'center_crop'");
        insta::assert_snapshot!(refused("[transform.image\n"), @"cresset.toml, line 1: unclosed table, expected ']'");
        insta::assert_snapshot!(replaced(IMAGE, "input", "input = "), @"cresset.toml, line 2: input: string values must be quoted, expected literal string");
        insta::assert_snapshot!(replaced(IMAGE, "input", "mean = [1, 1, 1]"), @"cresset.toml, line 6: mean: duplicate key");
    }

    #[test]
    fn types_are_checked() {
        insta::assert_snapshot!(replaced(IMAGE, "resize", "resize_short_side = \"256\""), @r#"cresset.toml, line 3: resize_short_side: invalid type: string "256", expected i64"#);
        insta::assert_snapshot!(replaced(IMAGE, "center", "center_crop = \"224\""), @"cresset.toml, line 4: center_crop takes a number of pixels, or [height, width]");
        insta::assert_snapshot!(replaced(IMAGE, "center", "center_crop = [224]"), @"cresset.toml, line 4: center_crop takes a number of pixels, or [height, width]");
        insta::assert_snapshot!(replaced(IMAGE, "channel", "channel_order = \"grb\""), @"cresset.toml, line 5: channel_order: unknown variant 'grb', expected 'rgb' or 'bgr'");
        insta::assert_snapshot!(replaced(IMAGE, "mean", "mean = [127.0, 127.0]"), @"cresset.toml, line 6: mean: invalid length 2, expected an array of length 3");
        insta::assert_snapshot!(replaced(IMAGE, "mean", "mean = 127.0"), @"cresset.toml, line 6: mean: invalid type: floating point '127.0', expected an array of length 3");
    }

    #[test]
    fn ranges_are_checked() {
        insta::assert_snapshot!(replaced(IMAGE, "input", "input = \"\""), @"cresset.toml, line 2: input is empty: a tensor's name was expected");
        insta::assert_snapshot!(replaced(IMAGE, "resize", "resize_short_side = 0"), @"cresset.toml, line 3: resize_short_side is 0: 1 to 4096 pixels were expected");
        insta::assert_snapshot!(replaced(IMAGE, "resize", "resize_short_side = 5000"), @"cresset.toml, line 3: resize_short_side is 5000: 1 to 4096 pixels were expected");
        insta::assert_snapshot!(replaced(IMAGE, "center", "center_crop = [224, -1]"), @"cresset.toml, line 4: center_crop is -1: 1 to 4096 pixels were expected");
        insta::assert_snapshot!(replaced(IMAGE, "center", "center_crop = [224, 257]"), @"cresset.toml, line 4: center_crop 224 x 257 is larger than resize_short_side 256: there would be nothing to crop");
        insta::assert_snapshot!(replaced(IMAGE, "mean", "mean = [nan, 0, 0]"), @"cresset.toml, line 6: mean holds NaN: finite numbers were expected");
        insta::assert_snapshot!(replaced(IMAGE, "std", "std = [1, 0.0, 1]"), @"cresset.toml, line 7: std holds 0: numbers above 0 were expected");
        insta::assert_snapshot!(replaced(IMAGE, "std", "std = [1, 1, 1e60]"), @"cresset.toml, line 7: std holds inf: finite numbers were expected");
        insta::assert_snapshot!(
            replaced(IMAGE, "std", "std = [1, 1, 1e-40]"),
            @"cresset.toml, line 7: (pixel - mean) / std overflows FP32"
        );
        insta::assert_snapshot!(replaced(CLASSIFICATION, "top_k", "top_k = 0"), @"cresset.toml, line 4: top_k is 0: 1 to 3, the number of labels, was expected");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "top_k", "top_k = 4"), @"cresset.toml, line 4: top_k is 4: 1 to 3, the number of labels, was expected");
    }

    #[test]
    fn labels_are_found_or_the_line_that_names_them_is() {
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"none.txt\""), @"cresset.toml, line 5: labels 'none.txt': not found in the model's directory");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"../labels.txt\""), @"cresset.toml, line 5: labels '../labels.txt': not a plain file name: labels lie in the model's own directory");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"blank.txt\""), @"blank.txt, line 2: a label is missing: the line is blank");
    }
}
