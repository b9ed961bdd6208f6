//! A model in reduced precision beside the same model without.

use std::path::Path;

use serde_json::Value;

use crate::server::{Server, checkout, post};

/// A copy of the default photograph model with more in its settings.
fn model(repository: &Path, name: &str, settings: &str) {
    let (from, to) = (checkout("models/efficientnet_lite0"), repository.join(name));
    std::fs::create_dir_all(to.join("1")).unwrap();
    for file in ["1/model.pt", "labels.txt"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let config = std::fs::read_to_string(from.join("config.pbtxt")).unwrap();
    std::fs::write(to.join("config.pbtxt"), config.replace("\"efficientnet_lite0\"", &format!("\"{name}\"")))
        .unwrap();
    let transforms = std::fs::read_to_string(from.join("cresset.toml")).unwrap();
    std::fs::write(to.join("cresset.toml"), transforms + settings).unwrap();
}

/// The best label with its probability.
fn best(answer: &Value) -> (String, f64) {
    let labels = answer.as_object().unwrap_or_else(|| panic!("{answer}"));
    let labels = labels.iter().map(|(label, probability)| (label.clone(), probability.as_f64().unwrap()));
    labels.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

#[tokio::test]
async fn reduced_precision_sees_the_same_and_says_how_far_it_is() {
    let repository = tempfile::tempdir().unwrap();
    let models = [
        ("plain", ""),
        ("bf16", "\n[precision]\nweights = \"bf16\"\nchannels_last = true\n"),
        ("cast", "\n[precision]\nautocast = \"bf16\"\n"),
        ("fused", "\n[optimize]\nfor_inference = true\n"),
    ];
    for (name, settings) in models {
        model(repository.path(), name, settings);
    }
    model(repository.path(), "wrong", "\n[precision]\nweights = \"bf16\"\nautocast = \"bf16\"\n");
    let server = Server::start(repository.path(), &[]);

    let line = |name: &str| {
        let lines = server.announced.lines().map(str::trim_start);
        lines.filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n")
    };
    assert!(
        line("bf16 version 1").contains(", bf16 weights, channels last: answers differ by at most "),
        "{}",
        line("bf16")
    );
    assert!(
        line("cast version 1").contains(", bf16 autocast: answers differ by at most "),
        "{}",
        line("cast")
    );
    assert!(line("fused version 1").contains(", optimised for inference: answers "), "{}", line("fused"));
    assert!(!line("plain version 1").contains("answers"), "{}", line("plain"));
    let wrong = line("wrong");
    assert!(wrong.starts_with("NOT served: wrong: cresset.toml, line "), "{wrong}");
    assert!(wrong.contains("autocast = \"bf16\" beside weights = \"bf16\""), "{wrong}");

    let mut same = true;
    for photograph in [
        "models/efficientnet_lite0/samples/cat.jpg",
        "tests/photographs/baseline.jpg",
        "tests/photographs/rgba.png",
    ] {
        let bytes = std::fs::read(checkout(photograph)).unwrap();
        let mut answers = Vec::new();
        for (name, _) in models {
            let (status, answer) = post(&server.url(&format!("/predictions/{name}")), bytes.clone()).await;
            assert_eq!(status, 200, "{name}: {answer}");
            answers.push(best(&answer));
        }
        let [plain, reduced, cast, fused] = &answers[..] else { panic!("{answers:?}") };
        for other in [reduced, cast, fused] {
            assert_eq!(other.0, plain.0, "{photograph}: {answers:?}");
            assert!((other.1 - plain.1).abs() < 0.05, "{photograph}: {answers:?}");
        }
        assert!((fused.1 - plain.1).abs() < 1e-4, "{photograph}: {answers:?}");
        same &= reduced.1 == plain.1;
    }
    assert!(!same, "bf16 was not computed in");
}
