//! `[transform]`: its grammar and its ranges.

use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::labels;
use super::source::{SettingsError, Source};
use crate::transform::{
    ChannelOrder, Classification, Declared, ImageTransform, Interpolation, Preset, Scale, Size, Transforms,
};

/// The largest short side and crop, in pixels: a tensor of 201 MB.
const MAX_SIDE: i64 = 4096;

const DEFAULT_TOP_K: i64 = 5;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformTable {
    image: Option<Spanned<ImageTable>>,
    classification: Option<ClassificationTable>,
}

/// What decides the numbers that the model sees has no default but a preset's:
/// a wrong one would show only as a slightly worse model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    preset: Option<Spanned<String>>,
    input: Option<Spanned<String>>,
    resize_short_side: Option<Spanned<i64>>,
    center_crop: Option<Spanned<Value>>,
    interpolation: Option<Interpolation>,
    #[serde(default)]
    channel_order: ChannelOrder,
    scale: Option<Spanned<f32>>,
    mean: Option<Spanned<Vec<f32>>>,
    std: Option<Spanned<Vec<f32>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassificationTable {
    output: Option<Spanned<String>>,
    #[serde(default = "yes")]
    softmax: bool,
    top_k: Option<Spanned<i64>>,
    labels: Spanned<String>,
}

/// Models give logits, as a rule.
fn yes() -> bool {
    true
}

/// Where a preset stands for a key.
const HERE: Range<usize> = 0..0;

impl Source<'_> {
    pub(super) fn transforms(&self, table: TransformTable) -> Result<Transforms, SettingsError> {
        Ok(Transforms {
            image: table.image.map(|table| self.image(table)).transpose()?,
            classification: table.classification.map(|table| self.classification(table)).transpose()?,
        })
    }

    fn image(&self, table: Spanned<ImageTable>) -> Result<ImageTransform, SettingsError> {
        let whole = table.span();
        let table = table.into_inner();
        let preset = table.preset.as_ref().map(|name| self.preset(name)).transpose()?;
        let missing = |key: &str| self.wrong(&whole, format!("missing key '{key}'"));
        let short_side = match (&table.resize_short_side, preset) {
            (Some(side), _) => self.side("resize_short_side", &side.span(), *side.get_ref())?,
            (None, Some(preset)) => preset.short_side,
            (None, None) => return Err(missing("resize_short_side")),
        };
        let (crop, crop_span) = match (&table.center_crop, preset) {
            (Some(crop), _) => (self.crop(crop)?, crop.span()),
            (None, Some(preset)) => (Size { height: preset.crop, width: preset.crop }, whole.clone()),
            (None, None) => return Err(missing("center_crop")),
        };
        if crop.height.max(crop.width) > short_side {
            return Err(self.wrong(
                &crop_span,
                format!(
                    "center_crop {} x {} is larger than resize_short_side {short_side}: there would be nothing to crop",
                    crop.height, crop.width
                ),
            ));
        }
        let order = table.channel_order;
        let values =
            |key: &str, given: Option<Spanned<Vec<f32>>>, known: Option<[f32; 3]>| match (given, known) {
                (Some(given), _) => Ok((self.of_channels(key, &given, order)?, given.span())),
                // A preset's are of three.
                (None, Some(known)) if order != ChannelOrder::Grey => Ok((known, HERE)),
                (None, _) => Err(missing(key)),
            };
        let mean = values("mean", table.mean, preset.map(|preset| preset.mean))?;
        let std = values("std", table.std, preset.map(|preset| preset.std))?;
        self.numbers("mean", &mean)?;
        self.numbers("std", &std)?;
        let scale = self.scale(table.scale, &mean, &std)?;
        let declared = Declared {
            input: self.tensor("input", table.input)?,
            short_side,
            crop,
            interpolation: table
                .interpolation
                .or(preset.map(|preset| preset.interpolation))
                .unwrap_or_default(),
            order,
            scale,
            mean: mean.0,
            std: std.0,
        };
        let mut ends = (0..3).flat_map(|channel| [0.0, 255.0].map(|level| declared.value(channel, level)));
        if ends.any(f32::is_infinite) {
            return Err(self.wrong(&std.1, "(pixel / scale - mean) / std overflows FP32".to_owned()));
        }
        Ok(ImageTransform::new(declared))
    }

    fn preset(&self, name: &Spanned<String>) -> Result<&'static Preset, SettingsError> {
        Preset::of(name.get_ref()).ok_or_else(|| {
            let message = format!("preset is '{}': one of {} was expected", name.get_ref(), Preset::names());
            self.wrong(&name.span(), message)
        })
    }

    /// A number for each channel; for one channel, three that are equal.
    fn of_channels(
        &self,
        key: &str,
        given: &Spanned<Vec<f32>>,
        order: ChannelOrder,
    ) -> Result<[f32; 3], SettingsError> {
        match (given.get_ref().as_slice(), order) {
            ([grey], ChannelOrder::Grey) => Ok([*grey; 3]),
            ([first, second, third], ChannelOrder::Rgb | ChannelOrder::Bgr) => Ok([*first, *second, *third]),
            (numbers, _) => {
                let expected = match order {
                    ChannelOrder::Grey => "1 was expected, as channel_order is \"grey\"",
                    ChannelOrder::Rgb | ChannelOrder::Bgr => {
                        "3 were expected, or 1 with channel_order = \"grey\""
                    }
                };
                let message = format!("{key} holds {} numbers: {expected}", numbers.len());
                Err(self.wrong(&given.span(), message))
            }
        }
    }

    /// A mean or a deviation for each channel.
    fn numbers(&self, key: &str, (values, span): &([f32; 3], Range<usize>)) -> Result<(), SettingsError> {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(self.wrong(span, format!("{key} holds {value}: finite numbers were expected")));
        }
        match values.iter().find(|value| key == "std" && **value <= 0.0) {
            Some(value) => {
                Err(self.wrong(span, format!("{key} holds {value}: numbers above 0 were expected")))
            }
            None => Ok(()),
        }
    }

    /// What levels of 0 to 255 are divided by. Means and deviations tell which
    /// scale they are of, mostly: torchvision's are of 0 to 1, and a deviation
    /// below one level in 255 is nobody's.
    fn scale(
        &self,
        given: Option<Spanned<f32>>,
        (mean, mean_span): &([f32; 3], Range<usize>),
        (std, std_span): &([f32; 3], Range<usize>),
    ) -> Result<f32, SettingsError> {
        const SAY: &str = "say which: scale = 255 divides pixels of 0 to 255 first, so that mean and std are of 0 to 1, \
                           as torchvision's; scale = 1 leaves them";
        if let Some(scale) = given {
            let value = *scale.get_ref();
            if value.is_finite() && value > 0.0 {
                return Ok(value);
            }
            return Err(self.wrong(&scale.span(), format!("scale is {value}: 255 or 1 was expected")));
        }
        let below = std.iter().filter(|value| **value < 1.0).count();
        let small_means = mean.iter().all(|value| value.abs() <= 1.0);
        match below {
            3 if small_means => Ok(255.0),
            3 => {
                Err(self.wrong(mean_span, format!("mean is of pixels of 0 to 255 and std of 0 to 1: {SAY}")))
            }
            0 if small_means && mean.iter().any(|value| *value != 0.0) => Err(self
                .wrong(mean_span, format!("mean is of pixels of 0 to 1 and std may be of 0 to 255: {SAY}"))),
            0 => Ok(1.0),
            _ => Err(self.wrong(
                std_span,
                format!("std is in part of pixels of 0 to 1 and in part of 0 to 255: {SAY}"),
            )),
        }
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
            @"cresset.toml, line 2: unknown key 'resize', expected one of 'preset', 'input', 'resize_short_side', 'center_crop', 'interpolation', 'channel_order', 'scale', 'mean', 'std'"
        );
        insta::assert_snapshot!(refused("[transform.audio]\n"), @"cresset.toml, line 1: unknown key 'audio', expected 'image' or 'classification'");
        insta::assert_snapshot!(refused("\n[pading]\n"), @"cresset.toml, line 2: unknown key 'pading', expected one of 'non_finite', 'transform', 'precision', 'optimize', 'batching', 'padding'");
        insta::assert_snapshot!(refused("latency = 5\n"), @"cresset.toml, line 1: unknown key 'latency', expected one of 'non_finite', 'transform', 'precision', 'optimize', 'batching', 'padding'");
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
        insta::assert_snapshot!(replaced(IMAGE, "channel", "channel_order = \"grb\""), @"cresset.toml, line 5: channel_order: unknown variant 'grb', expected one of 'rgb', 'bgr', 'grey'");
        insta::assert_snapshot!(replaced(IMAGE, "mean", "mean = [127.0, 127.0]"), @r#"cresset.toml, line 6: mean holds 2 numbers: 3 were expected, or 1 with channel_order = "grey""#);
        insta::assert_snapshot!(replaced(IMAGE, "mean", "mean = 127.0"), @"cresset.toml, line 6: mean: invalid type: floating point '127.0', expected a sequence");
        insta::assert_snapshot!(replaced(IMAGE, "channel", "channel_order = \"grey\""), @r#"cresset.toml, line 6: mean holds 3 numbers: 1 was expected, as channel_order is "grey""#);
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
            replaced(IMAGE, "std", "scale = 1\nstd = [1, 1, 1e-40]"),
            @"cresset.toml, line 8: (pixel / scale - mean) / std overflows FP32"
        );
        insta::assert_snapshot!(replaced(CLASSIFICATION, "top_k", "top_k = 0"), @"cresset.toml, line 4: top_k is 0: 1 to 3, the number of labels, was expected");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "top_k", "top_k = 4"), @"cresset.toml, line 4: top_k is 4: 1 to 3, the number of labels, was expected");
    }

    /// The first pixel of a white picture's tensor.
    fn white(settings: &str) -> [f32; 3] {
        let image = read_text(settings).unwrap().transforms.unwrap().image.unwrap();
        let mut png = Vec::new();
        let picture = image::RgbImage::from_pixel(2, 2, image::Rgb([255; 3]));
        let picture = image::DynamicImage::from(picture);
        picture.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let tensor: Vec<f32> = bytemuck::pod_collect_to_vec(&image.apply(&png).unwrap());
        let plane = tensor.len() / 3;
        [tensor[0], tensor[plane], tensor[2 * plane]]
    }

    const NORMALIZE: &str = "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n";
    const SIDES: &str = "[transform.image]\nresize_short_side = 4\ncenter_crop = 2\n";

    #[test]
    fn torchvisions_mean_and_std_mean_what_they_mean_there() {
        // torchvision's Normalize of ones.
        let expected = [(1.0 - 0.485) / 0.229, (1.0 - 0.456) / 0.224, (1.0 - 0.406) / 0.225_f32];
        assert_eq!(white(&format!("{SIDES}{NORMALIZE}")), expected);
        assert_eq!(white(&format!("{SIDES}scale = 255\n{NORMALIZE}")), expected);
        assert_eq!(white("[transform.image]\npreset = \"torchvision/resnet\"\n"), expected);
        assert_eq!(white(&format!("{SIDES}mean = [0, 0, 0]\nstd = [1, 1, 1]\n")), [255.0; 3]);
        assert_eq!(white(&format!("{SIDES}scale = 255\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n")), [1.0; 3]);
        assert_eq!(white(&format!("{SIDES}scale = 1\nmean = [0.5, 0, 0]\nstd = [0.5, 1, 1]\n"))[0], 509.0);
        assert_eq!(
            white(&format!("{SIDES}mean = [127.5, 127.5, 127.5]\nstd = [127.5, 127.5, 127.5]\n")),
            [1.0; 3]
        );
    }

    #[test]
    fn scales_that_do_not_go_together_are_asked_about() {
        for (values, what) in [
            (
                "mean = [123.7, 116.3, 103.5]\nstd = [0.229, 0.224, 0.225]",
                "line 4: mean is of pixels of 0 to 255 and std of 0 to 1",
            ),
            ("mean = [0.485, 0.456, 0.406]\nstd = [58.4, 57.1, 57.4]", "line 4: mean is of pixels of 0 to 1"),
            ("mean = [0.485, 0.456, 0.406]\nstd = [1, 1, 1]", "line 4: mean is of pixels of 0 to 1"),
            ("mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 58]", "line 5: std is in part of pixels of 0 to 1"),
        ] {
            let error = refused(&format!("{SIDES}{values}\n"));
            assert!(error.contains(what) && error.contains("scale = 255"), "{error}");
            read_text(&format!("{SIDES}scale = 1\n{values}\n")).unwrap();
        }
        for scale in ["0", "-1", "nan", "inf"] {
            let error = refused(&format!("{SIDES}scale = {scale}\n{NORMALIZE}"));
            assert!(error.contains("255 or 1 was expected"), "{error}");
        }
    }

    #[test]
    fn a_preset_stands_for_what_is_left_out() {
        let of = |text: &str| read_text(text).unwrap().transforms.unwrap().image.unwrap();
        let whole =
            "[transform.image]\ninterpolation = \"bilinear\"\nresize_short_side = 256\ncenter_crop = 224\n";
        let resnet = "[transform.image]\npreset = \"torchvision/resnet\"\n";
        assert_eq!(of(resnet), of(&format!("{whole}{NORMALIZE}")));
        assert_eq!(of(&format!("{resnet}center_crop = 192\n")).shape(), [1, 3, 192, 192]);
        assert_ne!(of(&format!("{resnet}interpolation = \"bicubic\"\n")), of(resnet));
        for name in crate::transform::Preset::names().split(", ") {
            of(&format!("[transform.image]\npreset = \"{name}\"\n"));
        }
        let error = refused("[transform.image]\npreset = \"torchvision/resnext\"\n");
        assert!(
            error.contains("line 2: preset is 'torchvision/resnext': one of torchvision/resnet, "),
            "{error}"
        );
        let error = refused(&format!("{resnet}resize_short_side = 200\n"));
        assert!(error.contains("center_crop 224 x 224 is larger than resize_short_side 200"), "{error}");
    }

    #[test]
    fn labels_are_found_or_the_line_that_names_them_is() {
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"none.txt\""), @"cresset.toml, line 5: labels 'none.txt': not found in the model's directory");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"../labels.txt\""), @"cresset.toml, line 5: labels '../labels.txt': not a plain file name: labels lie in the model's own directory");
        insta::assert_snapshot!(replaced(CLASSIFICATION, "labels", "labels = \"blank.txt\""), @"blank.txt, line 2: a label is missing: the line is blank");
    }
}
