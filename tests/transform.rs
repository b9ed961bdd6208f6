//! The image transform against Pillow: every kind of image that is taken,
//! beside the result of Pillow's resize and crop. The images and the references
//! come from `transform/make.py`.

// The helpers of a test are tests too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cresset::model_settings::ModelSettings;
use cresset::transform::{Item, Preprocessor};

const HEIGHT: usize = 40;
const WIDTH: usize = 48;

/// How far the mean level may be from Pillow's, of 255. A decoder of a lossy
/// format may round its cosines and smooth halved colour in its own way.
const MEAN_OF_LOSSY: f64 = 0.5;
const MEAN_OF_EXACT: f64 = 0.02;

/// How far a single level may be.
const MOST_OF_LOSSY: u8 = 6;
const MOST_OF_EXACT: u8 = 1;

/// A kind of image, and how its levels differ from Pillow's.
struct Apart {
    name: String,
    mean: f64,
    most: u8,
}

#[test]
fn every_kind_of_image_has_pillows_pixels() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transform");
    let transform = identity("");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".pixels.png") && !name.ends_with(".py"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 54, "{names:?}");
    let all: Vec<Apart> = names.into_iter().map(|name| apart(&transform, &directory, name)).collect();
    for Apart { name, mean, most } in &all {
        println!("{name:20} mean {mean:.4}, most {most}");
    }
    let wrong = all.iter().find(|apart| {
        let lossy = apart.name.ends_with(".jpg") || apart.name.starts_with("lossy");
        let (mean, most) =
            if lossy { (MEAN_OF_LOSSY, MOST_OF_LOSSY) } else { (MEAN_OF_EXACT, MOST_OF_EXACT) };
        apart.mean > mean || apart.most > most
    });
    assert!(wrong.is_none(), "{} is off", wrong.unwrap().name);
}

/// Both orders of the two steps: the second lies on its side.
#[test]
fn bilinear_is_pillows_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transform");
    let bilinear = identity("interpolation = \"bilinear\"\n");
    for name in ["rgb.png", "held_6.png"] {
        let reference = format!("{}.bilinear.pixels.png", name.replace('.', "_"));
        let Apart { mean, most, .. } = against(&bilinear, &directory, name.to_owned(), &reference);
        println!("{name:20} mean {mean:.4}, most {most}");
        assert!(mean <= 0.25 && most <= MOST_OF_EXACT, "{name}: mean {mean}, most {most}");
    }
    let Apart { mean, .. } = apart(&bilinear, &directory, "rgb.png".to_owned());
    assert!(mean > 0.5, "it is another one than bicubic: {mean}");
}

/// A transform whose values are the levels themselves.
fn identity(more: &str) -> Arc<dyn Preprocessor> {
    let model = tempfile::tempdir().unwrap();
    let text = "\
[transform.image]
resize_short_side = 56
center_crop = [40, 48]
mean = [0, 0, 0]
std = [1, 1, 1]
";
    let text = format!("{text}{more}");
    fs::write(model.path().join("cresset.toml"), text).unwrap();
    let transforms = ModelSettings::read(model.path()).unwrap().transforms.unwrap();
    let transform = transforms.preprocessor().unwrap();
    assert_eq!(transform.inputs()[0].shape, [1, 3, HEIGHT as i64, WIDTH as i64]);
    Arc::clone(transform)
}

fn apart(transform: &Arc<dyn Preprocessor>, directory: &Path, name: String) -> Apart {
    let reference = format!("{}.pixels.png", name.replace('.', "_"));
    against(transform, directory, name, &reference)
}

fn against(transform: &Arc<dyn Preprocessor>, directory: &Path, name: String, reference: &str) -> Apart {
    let encoded = fs::read(directory.join(&name)).unwrap();
    let made = transform.preprocess(Item::Bytes(encoded.into()));
    let tensor = made.unwrap_or_else(|error| panic!("{name}: {error}")).remove(0).data;
    let values: Vec<f32> =
        tensor.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect();

    let reference = image::open(directory.join(reference)).unwrap().to_rgb8();
    assert_eq!((reference.width() as usize, reference.height() as usize), (WIDTH, HEIGHT));
    let differences = reference.enumerate_pixels().flat_map(|(x, y, pixel)| {
        let at = y as usize * WIDTH + x as usize;
        let values = &values;
        (0..3).map(move |channel| {
            (values[channel * HEIGHT * WIDTH + at] - f32::from(pixel[channel])).abs() as u8
        })
    });
    let (count, sum, most) = differences
        .fold((0, 0.0, 0), |(count, sum, most), one| (count + 1, sum + f64::from(one), one.max(most)));
    Apart { name, mean: sum / f64::from(count), most }
}
