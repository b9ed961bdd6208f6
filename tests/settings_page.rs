//! `docs/settings.md`: every key of `cresset.toml`. The keys are the parser's
//! own: if it meets an unknown key, its error names all that the table takes.
//! Each key has a probe that is read and one that is refused.
//!
//! `UPDATE_SETTINGS=1 cargo test --test settings_page` writes the page anew.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cresset::model_settings::ModelSettings;

/// A key: what it is left out for, what is read, what isn't, what comes of it.
type Key = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A table: its name, what its probes stand beside, what it is for, its keys.
type Table = (&'static str, &'static str, &'static str, &'static [Key]);

#[rustfmt::skip]
const TABLES: &[Table] = &[
    ("", "", "They stand before the first table.", &[
        ("non_finite", "`\"null\"`", "non_finite = \"text\"", "non_finite = \"nan\"", "what stands for NaN and infinities in the JSON of `/predict`, `/predictions` and KServe v1: `\"null\"`, `\"text\"` (`\"NaN\"`, `\"Infinity\"`, `\"-Infinity\"`), or `\"error\"`, an answer of 500 that says where; `/v2` writes bare words, as Triton does, unless the request's parameter `non_finite` says one of these"),
    ]),
    ("transform.image", "preset = \"torchvision/resnet\"", "A photograph becomes the model's input: JPEG, PNG, WebP, GIF, BMP or TIFF, as its bytes, in base64 or in a form, on `/predict`, `/predictions` and KServe v1.", &[
        ("preset", "none", "preset = \"torchvision/resnet\"", "preset = \"resnet\"", "what stands for the keys that are left out, by the name of a model's family; a wrong one is answered with all names"),
        ("input", "the model's only input", "input = \"x\"", "input = \"\"", "the input that it fills: FP32"),
        ("resize_short_side", "the preset's; else it must be there", "resize_short_side = 256", "resize_short_side = 0", "pixels; the long side follows, as torchvision's `Resize`"),
        ("center_crop", "the preset's; else it must be there", "center_crop = [160, 224]", "center_crop = \"224\"", "pixels, or `[height, width]`; as torchvision's `CenterCrop`"),
        ("interpolation", "the preset's, else `\"bicubic\"`", "interpolation = \"bilinear\"", "interpolation = \"nearest\"", "`\"bilinear\"` (torchvision's default) or `\"bicubic\"`; antialiased, as Pillow does it"),
        ("channel_order", "`\"rgb\"`", "channel_order = \"bgr\"", "channel_order = \"grb\"", "of the tensor, of `mean` and of `std`; `\"grey\"` for a tensor of one channel, with one number each"),
        ("scale", "255 if each `std` is below 1, else 1; asked for if `mean` and `std` don't say", "scale = 255", "scale = 0", "pixels of 0 to 255 are divided by it: value = (pixel / scale - mean) / std"),
        ("mean", "the preset's; else it must be there", "mean = [0.485, 0.456, 0.406]", "mean = [nan, 0, 0]", "of each channel; torchvision's as they are"),
        ("std", "the preset's; else it must be there", "std = [0.229, 0.224, 0.225]", "std = [0, 1, 1]", "of each channel; torchvision's as they are"),
    ]),
    ("transform.classification", "labels = \"labels.txt\"", "Scores become labels, best first: on `/predict` and `/predictions`, for photographs (on KServe v1, too), and for plain bodies of models without `[transform.image]`, a list for each row if there are several. Requests of the Open Inference Protocol get tensors.", &[
        ("output", "the model's first output", "output = \"logits\"", "output = \"\"", "the output with the scores: FP32, one for each label"),
        ("softmax", "`true`", "softmax = false", "softmax = 1", "whether the scores are logits; `false` if the model gives probabilities"),
        ("top_k", "5, or all labels if there are fewer", "top_k = 2", "top_k = 9", "how many labels are answered"),
        ("labels", "it must be there", "labels = \"labels.txt\"", "labels = \"../labels.txt\"", "a file in the model's directory, a label a line, line 1 for score 0"),
    ]),
    ("precision", "", "What the model computes in. What it does to answers is tried at load.", &[
        ("weights", "as the file has them", "weights = \"bf16\"", "weights = \"int8\"", "`\"bf16\"` or `\"fp16\"`: converted at load, floating inputs before each run"),
        ("autocast", "off", "autocast = \"bf16\"", "autocast = \"int8\"", "`\"bf16\"` or `\"fp16\"`: weights stay FP32, torch's autocast chooses for each operation; not beside `weights`"),
        ("channels_last", "`false`", "channels_last = true", "channels_last = 1", "images and convolutions' weights lie in memory with their channels last"),
        ("tf32", "libtorch's own", "tf32 = true", "tf32 = 1", "on GPUs; one switch for the process: models that name it must agree"),
    ]),
    ("optimize", "", "What the model's code becomes.", &[
        ("freeze", "if the module allows it", "freeze = true", "freeze = 1", "whether its attributes become constants"),
        ("for_inference", "tried while it serves, and kept if it is faster", "for_inference = true", "for_inference = 1", "`torch.jit.optimize_for_inference`; `false` leaves the code as it is"),
    ]),
    ("batching", "", "How requests share batches.", &[
        ("latency_target", "none", "latency_target = \"50ms\"", "latency_target = \"0s\"", "from a request's arrival to its answer, for 99 of 100 of the accepted requests; a request that would be late is refused at once"),
        ("max_elements", "none", "max_elements = 4096", "max_elements = 0", "of a batch: rows times their padded length"),
        ("split_large_requests", "`false`", "split_large_requests = true", "split_large_requests = 1", "a request of more rows than a batch takes runs in parts; else it is refused"),
    ]),
    ("padding", "unmarked = true\n[padding.inputs]\nids = { value = 0 }", "How rows of different lengths share a batch.", &[
        ("inputs", "it must be there", "inputs.x = { value = 0 }", "inputs = 1", "the inputs that are padded, a table below"),
        ("mask", "none", "mask = \"mask\"", "mask = 1", "an input of ones, and zeros for padding; made if a client doesn't send it"),
        ("length", "none", "length = \"lengths\"", "length = 1", "an input of each row's length, instead"),
        ("unmarked", "`false`", "unmarked = true", "unmarked = 1", "that answers don't depend on padding, if nothing marks it"),
        ("outputs", "the dimensions that vary by config.pbtxt", "outputs = { y = 1 }", "outputs = 1", "the dimensions of outputs that are cut to a row's own length"),
        ("multiple_of", "8", "multiple_of = 16", "multiple_of = 0", "lengths are rounded up to it"),
        ("max_length", "none", "max_length = 512", "max_length = 0", "longer requests are refused"),
        ("max_waste", "0.5", "max_waste = 0.5", "max_waste = 2.0", "the largest share of a batch that may be padding"),
    ]),
    ("padding.inputs.ids", "", "An input that is padded; its name is the table's.", &[
        ("dimension", "the only one that varies", "dimension = 1", "dimension = \"1\"", "which one varies, the batch not counted"),
        ("value", "0", "value = 1", "value = \"x\"", "what padding is made of"),
    ]),
];

/// The table with one line in it, and what must stand beside it.
fn text(table: &Table, line: &str) -> String {
    let (name, beside, ..) = *table;
    let key = line.split(['=', '.']).next().unwrap().trim();
    let alone = |text: &str| format!("[{name}]\n{text}\n");
    match (name, key) {
        ("", _) => line.to_owned(),
        ("padding", "inputs") => alone(&format!("unmarked = true\n{line}")),
        ("padding", "mask" | "length") => {
            alone(&format!("{line}\n{}", beside.replace("unmarked = true\n", "")))
        }
        ("padding.inputs.ids", _) => format!("[padding]\nunmarked = true\n{}", alone(line)),
        _ if beside.split('=').next().unwrap().trim() == key => match beside.split_once('\n') {
            Some((_, rest)) => alone(&format!("{line}\n{rest}")),
            None => alone(line),
        },
        // Both of the preset's, so that their scales go together.
        ("transform.image", "mean") => alone(&format!("{beside}\n{line}")),
        _ => alone(&format!("{line}\n{beside}")),
    }
}

fn read(text: &str) -> Result<ModelSettings, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("labels.txt"), "a\nb\nc\n").unwrap();
    fs::write(directory.path().join("cresset.toml"), text).unwrap();
    ModelSettings::read(directory.path()).map_err(|error| error.to_string())
}

/// The keys that the parser names if it meets an unknown one.
fn keys_of(table: &str) -> BTreeSet<String> {
    let text = match table {
        "" => "no_such_key = 1\n".to_owned(),
        _ => format!("[{table}]\nno_such_key = 1\n"),
    };
    let told = read(&text).unwrap_err();
    let (_, expected) = told.split_once("expected").unwrap_or_else(|| panic!("{table}: {told}"));
    expected.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_has_every_key_that_the_parser_takes_and_each_probe_holds() {
    let tables = TABLES.iter().filter(|(name, ..)| !name.is_empty());
    let tables = tables.map(|(name, ..)| name.split('.').next().unwrap());
    let alone = TABLES.iter().filter(|(name, ..)| name.is_empty());
    let alone = alone.flat_map(|(.., keys)| keys.iter().map(|(key, ..)| *key));
    let tables: BTreeSet<String> = tables.chain(alone).map(str::to_owned).collect();
    assert_eq!(tables, keys_of(""));
    let within: BTreeSet<String> =
        TABLES.iter().filter_map(|(name, ..)| name.strip_prefix("transform.")).map(str::to_owned).collect();
    assert_eq!(within, keys_of("transform"));
    for table in TABLES {
        let (name, _, _, keys) = table;
        let told: BTreeSet<String> = keys.iter().map(|(key, ..)| (*key).to_owned()).collect();
        assert!(name.is_empty() || told == keys_of(name), "[{name}]: {told:?}");
        for (key, _, good, bad, _) in *keys {
            assert!(good.starts_with(key) && bad.starts_with(key));
            read(&text(table, good)).unwrap_or_else(|error| panic!("[{name}] {good}: {error}"));
            let error = read(&text(table, bad)).err().unwrap_or_else(|| panic!("[{name}] {bad} is read"));
            assert!(error.starts_with("cresset.toml, line "), "{error}");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    if std::env::var_os("UPDATE_SETTINGS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), page(), "see tests/settings_page.rs");
}

fn page() -> String {
    let mut page = String::from(
        "# Settings of a model: cresset.toml\n\n\
         The file stands beside a model's `config.pbtxt` and says what Triton has no field for; Triton passes it over. \
         Without it, or without a table of it, nothing is asked for. A key that isn't known, or a value out of its range, \
         keeps the model from being served, with the line. A test makes this page: it takes the keys from the parser \
         and tries each.\n",
    );
    for (name, _, what, keys) in TABLES {
        let name = match *name {
            "" => "Keys of no table".to_owned(),
            name => format!("[{}]", name.replace(".ids", ".NAME")),
        };
        let _ = write!(page, "\n## {name}\n\n{what}\n\n| key | left out | as in | |\n|---|---|---|---|\n");
        for (key, default, good, _, why) in *keys {
            let _ = writeln!(page, "| `{key}` | {default} | `{good}` | {why} |");
        }
    }
    page
}
