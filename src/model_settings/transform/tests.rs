use crate::model_settings::ModelSettings;
use crate::model_settings::testing::{read_text, refused};
use crate::transform::{AnswerForm, Item, MadeInput, Transforms};
use cresset_protocol::{Datatype, Tensor};

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

/// The only input that is made.
fn made(transforms: &Transforms) -> MadeInput {
    transforms.preprocessor().unwrap().inputs().remove(0)
}

/// The answer to a row of scores, as short text.
fn labelled(transforms: &Transforms, scores: [f32; 3]) -> String {
    let data = scores.map(f32::to_le_bytes).concat().into();
    let tensor = Tensor { name: "y".into(), datatype: Datatype::Fp32, shape: vec![1, 3], data };
    let rows = transforms.postprocessor().unwrap().postprocess(&[&tensor]).unwrap();
    let mut out = Vec::new();
    rows[0].write(AnswerForm::Brief, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn no_file_is_no_transform() {
    assert!(ModelSettings::read(tempfile::tempdir().unwrap().path()).unwrap().transforms.is_none());
    assert!(read_text("# nothing\n").unwrap().transforms.is_none());
    let empty = read_text("[transform]\n").unwrap().transforms.unwrap();
    assert!(empty.preprocessor().is_none() && empty.postprocessor().is_none());
}

#[test]
fn a_whole_file_is_read() {
    let transforms = read_text(&format!("{IMAGE}\n{CLASSIFICATION}")).unwrap().transforms.unwrap();
    let image = made(&transforms);
    assert_eq!((image.name.as_deref(), &image.shape[..]), (Some("x"), &[1, 3, 224, 224][..]));
    let classification = transforms.postprocessor().unwrap();
    assert_eq!(classification.outputs()[0].name.as_deref(), Some("logits"));
    assert_eq!(transforms.files().collect::<Vec<_>>(), ["labels.txt"]);
    // Softmax of 0, 1 and 1.
    assert_eq!(labelled(&transforms, [0.0, 1.0, 1.0]), r#"{"goldfish":0.4223188,"shark":0.4223188}"#);
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let image =
        "[transform.image]\nresize_short_side = 9\ncenter_crop = [4, 8]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n";
    let classification = "[transform.classification]\nsoftmax = false\nlabels = \"labels.txt\"\n";
    let transforms = read_text(&format!("{image}{classification}")).unwrap().transforms.unwrap();
    let image = made(&transforms);
    assert_eq!((image.name, &image.shape[..]), (None, &[1, 3, 4, 8][..]));
    assert_eq!(transforms.postprocessor().unwrap().outputs()[0].name, None);
    assert_eq!(labelled(&transforms, [0.0; 3]), r#"{"tench":0.0,"goldfish":0.0,"shark":0.0}"#);
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
    let transforms = read_text(settings).unwrap().transforms.unwrap();
    let mut png = Vec::new();
    let picture = ::image::RgbImage::from_pixel(2, 2, ::image::Rgb([255; 3]));
    let picture = ::image::DynamicImage::from(picture);
    picture.write_to(&mut std::io::Cursor::new(&mut png), ::image::ImageFormat::Png).unwrap();
    let rows = transforms.preprocessor().unwrap().preprocess(Item::Bytes(png.into())).unwrap();
    let tensor: Vec<f32> = bytemuck::pod_collect_to_vec(&rows[0].data);
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
    let of = |text: &str| read_text(text).unwrap().transforms.unwrap();
    let whole =
        "[transform.image]\ninterpolation = \"bilinear\"\nresize_short_side = 256\ncenter_crop = 224\n";
    let resnet = "[transform.image]\npreset = \"torchvision/resnet\"\n";
    assert_eq!(of(resnet), of(&format!("{whole}{NORMALIZE}")));
    assert_eq!(made(&of(&format!("{resnet}center_crop = 192\n"))).shape, [1, 3, 192, 192]);
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
