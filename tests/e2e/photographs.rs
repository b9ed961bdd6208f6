//! Photographs in, labels out, beside Pillow and Python PyTorch.

use serde_json::Value;

use crate::server::{Server, checkout, post};

#[tokio::test]
async fn the_sample_is_a_cat_whatever_its_content_type() {
    let server = Server::with_default_models(&[]);
    let cat = std::fs::read(checkout("models/efficientnet_lite0/samples/cat.jpg")).unwrap();
    for content_type in ["application/x-www-form-urlencoded", "image/jpeg", "text/plain", "application/json"]
    {
        let request =
            reqwest::Client::new().post(server.url("/predict")).header("content-type", content_type);
        let answer: Value = request.body(cat.clone()).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["model_name"], "efficientnet_lite0", "{answer}");
        let label = answer["predictions"][0]["label"].as_str().unwrap();
        assert!(label.contains("cat") || label.contains("tabby"), "{answer}");
    }
    // As TorchServe's image classifier answers: probabilities by label.
    let (status, answer) = post(&server.url("/predictions/efficientnet_lite0"), cat).await;
    assert_eq!(status, 200);
    assert_eq!(answer.as_object().unwrap().len(), 5, "{answer}");
}

#[tokio::test]
async fn every_kind_of_photograph_is_seen_as_python_sees_it() {
    let server = Server::with_default_models(&[]);
    let references = std::fs::read_to_string(checkout("tests/references/photographs.json")).unwrap();
    let references: Value = serde_json::from_str(&references).unwrap();
    let photographs = references["photographs"].as_array().unwrap();
    assert!(photographs.len() >= 8);
    for reference in photographs {
        let file = reference["file"].as_str().unwrap();
        // The references cover the model's own sample too.
        let folder =
            if file == "cat.jpg" { "models/efficientnet_lite0/samples" } else { "tests/photographs" };
        let bytes = std::fs::read(checkout(folder).join(file)).unwrap();
        let (status, answer) = post(&server.url("/predict"), bytes).await;
        assert_eq!(status, 200, "{file}: {answer}");
        let got = answer["predictions"].as_array().unwrap();
        let expected = reference["top_5"].as_array().unwrap();
        assert_eq!(got[0]["index"], expected[0]["index"], "{file}: {answer}");
        for label in expected {
            let probability = label["probability"].as_f64().unwrap();
            let same = got.iter().find(|l| l["index"] == label["index"]);
            // One that fell out of the top five has at most the fifth's share.
            let ours = same.unwrap_or(&got[4])["probability"].as_f64().unwrap();
            assert!(
                (ours - probability).abs() <= 0.02,
                "{file} {}: {ours} for {probability}",
                label["label"]
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_photograph_is_named_and_harms_nobody() {
    let mut server = Server::with_default_models(&[]);
    let cat = std::fs::read(checkout("models/efficientnet_lite0/samples/cat.jpg")).unwrap();
    let url = server.url("/predict");
    for (what, body, cause) in [
        ("nothing", Vec::new(), "empty"),
        ("text", b"hello".to_vec(), "JPEG or PNG"),
        ("a GIF", b"GIF89a\x01\x00\x01\x00".to_vec(), "JPEG or PNG"),
        ("half a JPEG", cat[..cat.len() / 2].to_vec(), "truncated"),
        ("a JPEG's first bytes", cat[..20].to_vec(), ""),
        ("a huge PNG", huge_png(), "20000"),
    ] {
        let (status, answer) = post(&url, body).await;
        assert!((400..500).contains(&status), "{what}: {status} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(cause), "{what}: {answer}");
    }
    assert!(server.is_running());
    assert_eq!(post(&url, cat).await.0, 200);
}

/// The header of a PNG of 20,000 × 20,000 pixels, and an end without them.
fn huge_png() -> Vec<u8> {
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let body = [kind.as_slice(), data].concat();
        let mut crc = !0u32;
        for byte in &body {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        [&(data.len() as u32).to_be_bytes(), body.as_slice(), &(!crc).to_be_bytes()].concat()
    }
    let side = 20_000u32.to_be_bytes();
    let header = [&side[..], &side[..], &[8, 2, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", &[0; 16]),
        &chunk(b"IEND", &[]),
    ]
    .concat()
}
