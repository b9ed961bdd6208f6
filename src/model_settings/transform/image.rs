//! `[transform.image]`: its grammar and its ranges.

use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::super::source::{SettingsError, SettingsSource};
use crate::transform::{ChannelOrder, Declared, ImageTransform, Interpolation, Preset, Size};

/// The largest short side and crop, in pixels: a tensor of 201 MB.
const MAX_SIDE: i64 = 4096;

/// Keys that change the numbers that the model sees have no default except a
/// preset's: a wrong value would show only as slightly worse answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageTable {
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

/// The place of a value from a preset.
const HERE: Range<usize> = 0..0;

impl SettingsSource<'_> {
    pub(super) fn image(&self, table: Spanned<ImageTable>) -> Result<ImageTransform, SettingsError> {
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
                // A preset has three channels.
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

    /// The number that levels of 0 to 255 are divided by. Mostly, means and deviations
    /// show their scale: torchvision's are for levels of 0 to 1, and no model has a
    /// deviation below one level of 255.
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
}
