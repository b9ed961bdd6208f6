//! How the pictures of well-known models are prepared, by name.
//!
//! The numbers are facts of torchvision's weights (`Weights.transforms()`, 0.26)
//! and of CLIP's preprocessor.

use super::resize::Interpolation;

/// The settings of a name; all take red, green and blue of 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) short_side: u32,
    pub(crate) crop: u32,
    pub(crate) interpolation: Interpolation,
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
}

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);

const fn preset(
    name: &'static str,
    short_side: u32,
    crop: u32,
    interpolation: Interpolation,
    (mean, std): ([f32; 3], [f32; 3]),
) -> Preset {
    Preset { name, short_side, crop, interpolation, mean, std }
}

use Interpolation::{Bicubic, Bilinear};

/// All of them.
#[rustfmt::skip]
const PRESETS: &[Preset] = &[
    // The first weights of nearly all: ResNet, VGG, DenseNet, MobileNet, ViT-B, RegNet …
    preset("torchvision/resnet", 256, 224, Bilinear, IMAGENET),
    preset("torchvision/vgg", 256, 224, Bilinear, IMAGENET),
    preset("torchvision/densenet", 256, 224, Bilinear, IMAGENET),
    preset("torchvision/mobilenet", 256, 224, Bilinear, IMAGENET),
    preset("torchvision/vit", 256, 224, Bilinear, IMAGENET),
    // IMAGENET1K_V2, which are `DEFAULT` for most.
    preset("torchvision/resnet-v2", 232, 224, Bilinear, IMAGENET),
    preset("torchvision/mobilenet-v2-weights", 232, 224, Bilinear, IMAGENET),
    preset("torchvision/convnext-tiny", 236, 224, Bilinear, IMAGENET),
    preset("torchvision/convnext-small", 230, 224, Bilinear, IMAGENET),
    preset("torchvision/convnext", 232, 224, Bilinear, IMAGENET),
    preset("torchvision/efficientnet-b0", 256, 224, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b1", 256, 240, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b2", 288, 288, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b3", 320, 300, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b4", 384, 380, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b5", 456, 456, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b6", 528, 528, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-b7", 600, 600, Bicubic, IMAGENET),
    preset("torchvision/efficientnet-v2-s", 384, 384, Bilinear, IMAGENET),
    preset("torchvision/efficientnet-v2-m", 480, 480, Bilinear, IMAGENET),
    preset("torchvision/efficientnet-v2-l", 480, 480, Bicubic, HALF),
    preset("torchvision/inception-v3", 342, 299, Bilinear, IMAGENET),
    preset("torchvision/swin-t", 232, 224, Bicubic, IMAGENET),
    preset("torchvision/swin-s", 246, 224, Bicubic, IMAGENET),
    preset("torchvision/swin-b", 238, 224, Bicubic, IMAGENET),
    preset("openai/clip", 224, 224, Bicubic, CLIP),
];

impl Preset {
    /// The preset of this name.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// All names, for the error about an unknown one.
    pub(crate) fn names() -> String {
        PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
    }
}
