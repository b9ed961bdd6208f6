//! Photographs in, labels out, beside Pillow and Python PyTorch: as their
//! bytes, in base64 and in forms, on every path that takes a plain body.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::server::{Server, checkout, post};

const LABELS: &str = "/predictions/efficientnet_lite0";
const INSTANCES: &str = "/v1/models/efficientnet_lite0:predict";

fn cat() -> Vec<u8> {
    std::fs::read(checkout("models/efficientnet_lite0/samples/cat.jpg")).unwrap()
}

/// The cat in another format, without loss but for a GIF's.
fn cat_as(format: image::ImageFormat) -> Vec<u8> {
    let mut encoded = Cursor::new(Vec::new());
    image::load_from_memory(&cat()).unwrap().write_to(&mut encoded, format).unwrap();
    encoded.into_inner()
}

/// Another than the cat: a cup.
fn other() -> Vec<u8> {
    std::fs::read(checkout("tests/photographs/interlaced.png")).unwrap()
}

/// What the server makes of photographs that come as their bytes.
async fn labels(server: &Server, photograph: Vec<u8>) -> Value {
    let (status, answer) = post(&server.url(LABELS), photograph).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 5, "{answer}");
    answer
}

/// The most probable of `{"label": probability, …}`.
fn best(labels: &Value) -> &str {
    let labels = labels.as_object().unwrap_or_else(|| panic!("{labels}"));
    labels.iter().max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap())).unwrap().0
}

async fn sent(
    method: reqwest::Method,
    url: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, url).header("content-type", content_type).body(body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A form of parts: name, file name and content.
async fn form(url: &str, parts: &[(&str, &str, &[u8])]) -> (u16, Value) {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
        let head = format!("--a-boundary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--a-boundary--\r\n");
    sent(reqwest::Method::POST, url, "multipart/form-data; boundary=a-boundary", body).await
}

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
        ("text", b"hello".to_vec(), "JPEG, PNG, WebP, GIF, BMP or TIFF is taken"),
        ("text", b"hello".to_vec(), "what came begins with 'hello'"),
        ("a GIF's first bytes", b"GIF89a\x01\x00\x01\x00".to_vec(), "the GIF is truncated"),
        (
            "an AVIF",
            b"\0\0\0\x1cftypavif\0\0\0\0mif1".to_vec(),
            "this is an AVIF image, which isn't read: send JPEG",
        ),
        (
            "a HEIC",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1".to_vec(),
            "this is a HEIC (HEIF) image, which isn't read",
        ),
        ("a PDF", b"%PDF-1.7\n".to_vec(), "this is a PDF document, which isn't read"),
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

#[tokio::test]
async fn put_is_taken_as_post_is() {
    let server = Server::with_default_models(&[]);
    let expected = labels(&server, cat()).await;
    assert_eq!(best(&expected), "Egyptian cat");
    for path in [LABELS, "/predictions/efficientnet_lite0/1"] {
        let answer = sent(reqwest::Method::PUT, &server.url(path), "image/jpeg", cat()).await;
        assert_eq!(answer, (200, expected.clone()), "{path}");
    }
    let (status, answer) = sent(reqwest::Method::PUT, &server.url("/predict"), "image/jpeg", cat()).await;
    assert_eq!((status, &answer["predictions"][0]["label"]), (200, &json!("Egyptian cat")));
    let (status, answer) = sent(reqwest::Method::DELETE, &server.url(LABELS), "image/jpeg", cat()).await;
    assert_eq!((status, answer), (405, json!({"error": "Method Not Allowed: use POST or PUT"})));
}

#[tokio::test]
async fn every_format_is_seen_as_the_sample_is() {
    let server = Server::with_default_models(&[]);
    let url = server.url("/predict");
    let (_, expected) = post(&url, cat()).await;
    let webp = std::fs::read(checkout("tests/photographs/cat.webp")).unwrap();
    for (name, encoded, tolerance) in [
        ("lossy WebP", webp, 0.05),
        ("WebP", cat_as(image::ImageFormat::WebP), 0.01),
        ("GIF", cat_as(image::ImageFormat::Gif), 0.1),
        ("BMP", cat_as(image::ImageFormat::Bmp), 0.01),
        ("TIFF", cat_as(image::ImageFormat::Tiff), 0.01),
    ] {
        let (status, answer) = post(&url, encoded).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let (got, wanted) = (&answer["predictions"][0], &expected["predictions"][0]);
        assert_eq!((&got["label"], &got["index"]), (&json!("Egyptian cat"), &wanted["index"]), "{name}");
        let apart = got["probability"].as_f64().unwrap() - wanted["probability"].as_f64().unwrap();
        assert!(apart.abs() <= tolerance, "{name}: {got} for {wanted}");
    }
}

#[tokio::test]
async fn a_form_of_one_part_is_its_content() {
    let server = Server::with_default_models(&[]);
    let expected = labels(&server, cat()).await;
    let url = server.url(LABELS);
    let text = STANDARD.encode(cat());
    for name in ["data", "body", "file", "image", "x", "photo", ""] {
        assert_eq!(form(&url, &[(name, "cat.jpg", &cat())]).await, (200, expected.clone()), "{name}");
        assert_eq!(form(&url, &[(name, "", text.as_bytes())]).await, (200, expected.clone()), "{name}");
    }
    let list = json!([text]).to_string();
    assert_eq!(form(&url, &[("x", "", list.as_bytes())]).await, (200, json!([expected])));
    let body = json!({ "b64": text }).to_string();
    assert_eq!(form(&url, &[("data", "", body.as_bytes())]).await, (200, expected.clone()));
    let (status, answer) = form(&server.url("/predict"), &[("file", "cat.jpg", &cat())]).await;
    assert_eq!((status, &answer["predictions"][0]["label"]), (200, &json!("Egyptian cat")));
    let answer = form(&server.url(INSTANCES), &[("data", "cat.jpg", &cat())]).await;
    assert_eq!(answer, (200, json!({ "predictions": [expected] })));

    let sum = json!({"OUTPUT0": [vec![3; 16]], "OUTPUT1": [vec![-1; 16]]});
    let inputs = json!({"INPUT0": [vec![1; 16]], "INPUT1": [vec![2; 16]]});
    let simple = server.url("/predictions/simple");
    assert_eq!(form(&simple, &[("data", "", inputs.to_string().as_bytes())]).await, (200, sum.clone()));
    let (one, two) = (inputs["INPUT0"].to_string(), inputs["INPUT1"].to_string());
    let parts = [("INPUT1", "", two.as_bytes()), ("INPUT0", "", one.as_bytes())];
    assert_eq!(form(&simple, &parts).await, (200, sum));
}

#[tokio::test]
async fn a_form_of_several_photographs_is_answered_by_rows() {
    let server = Server::with_default_models(&[]);
    let (first, second) = (labels(&server, cat()).await, labels(&server, other()).await);
    assert_ne!(best(&first), best(&second));
    let text = STANDARD.encode(other());
    let parts = [("a", "a.jpg", &cat()[..]), ("a", "b.png", &other()), ("b", "", text.as_bytes())];
    let (status, rows) = form(&server.url(LABELS), &parts).await;
    assert_eq!(status, 200, "{rows}");
    let expected = [best(&first), best(&second), best(&second)];
    assert_eq!(rows.as_array().unwrap().iter().map(best).collect::<Vec<_>>(), expected);
    let (status, listed) = form(&server.url("/predict"), &parts).await;
    assert_eq!((status, &listed["predictions"][1][0]["label"]), (200, &json!(best(&second))));
    let (status, instances) = form(&server.url(INSTANCES), &parts).await;
    assert_eq!(status, 200, "{instances}");
    assert_eq!(instances["predictions"].as_array().unwrap().iter().map(best).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_form_that_cannot_be_read_says_what_it_holds() {
    let server = Server::with_default_models(&[]);
    let url = server.url(LABELS);
    let cat = cat();
    for (parts, message) in [
        (
            &[("data", "cat.jpg", &cat[..]), ("note", "", b"my cat")][..],
            "the form has the parts 'data' (a JPEG), 'note' (text): send a photograph in each part, or in each the JSON \
             of the input that it is named for ({\"x\": …})",
        ),
        (
            &[],
            "the form has no parts: send a photograph in each part, or in each the JSON of the input that it is named \
             for",
        ),
        (
            &[("data", "cat.jpg", b"")],
            "the form's part 'data' is empty: send a photograph in each part, or in each the JSON of the input that it \
             is named for",
        ),
        (
            &[("data", "a.jpg", &cat), ("data", "b.jpg", &cat[..cat.len() / 2])],
            "photograph 2 of 2: the JPEG is truncated",
        ),
    ] {
        let (status, answer) = form(&url, parts).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(message), "{answer}");
    }
    let photographs = vec![("data", "cat.jpg", &cat[..]); 17];
    let (status, answer) = form(&url, &photographs).await;
    let message = "17 photographs came, and model 'efficientnet_lite0' takes at most 16 in a request";
    assert_eq!((status, answer), (400, json!({ "error": message })));
    let (status, answer) = form(&server.url("/predictions/simple"), &[("data", "cat.jpg", &cat)]).await;
    assert_eq!(status, 400);
    assert!(
        answer["error"].as_str().unwrap().starts_with("the body is a JPEG, but model 'simple'"),
        "{answer}"
    );

    let post = reqwest::Method::POST;
    for (content_type, body, cause) in [
        ("multipart/form-data; boundary=b", &b"hello"[..], "its boundary isn't the one in Content-Type"),
        ("multipart/form-data; boundary=b", b"--b\r\nx: y\r\n\r\nabc", "the boundary doesn't come again"),
        ("multipart/form-data", b"--b\r\nx: y\r\n\r\nabc\r\n--b--", "multipart/form-data without a boundary"),
    ] {
        let (status, answer) = sent(post.clone(), &url, content_type, body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(cause), "{answer}");
    }
    // Not a form, whatever the header says.
    assert_eq!(sent(post, &url, "multipart/form-data", cat.clone()).await.0, 200);
}

/// The cat's base64, in every way in which one photograph is written.
fn in_base64() -> Vec<String> {
    let text = STANDARD.encode(cat());
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let url = format!("data:image/jpeg;base64,{text}");
    vec![
        text.clone(),
        URL_SAFE_NO_PAD.encode(cat()),
        lines.join("\r\n") + "\r\n",
        url.clone(),
        json!(text).to_string(),
        json!({ "b64": text }).to_string(),
        json!({ "data": text }).to_string(),
        json!({ "image": url }).to_string(),
        json!({ "body": URL_SAFE_NO_PAD.encode(cat()) }).to_string(),
        json!({ "x": lines.join("\n") }).to_string(),
        json!({"image": {"b64": text}}).to_string(),
        json!({"x": {"b64": text}}).to_string(),
        json!({ "image": text }).to_string().replace('/', "\\/"),
    ]
}

#[tokio::test]
async fn a_photograph_in_base64_is_seen_as_its_bytes_are() {
    let server = Server::with_default_models(&[]);
    let (_, predicted) = post(&server.url("/predict"), cat()).await;
    let expected = labels(&server, cat()).await;
    for body in in_base64() {
        let what = &body[..body.len().min(40)];
        assert_eq!(post(&server.url("/predict"), body.clone()).await, (200, predicted.clone()), "{what}");
        assert_eq!(post(&server.url(LABELS), body.clone()).await, (200, expected.clone()), "{what}");
        let instance = post(&server.url(INSTANCES), body.clone()).await;
        assert_eq!(instance, (200, json!({ "predictions": [expected] })), "{what}");
    }
}

#[tokio::test]
async fn lists_of_photographs_are_answered_by_rows() {
    let server = Server::with_default_models(&[]);
    let (first, second) = (labels(&server, cat()).await, labels(&server, other()).await);
    let (a, b) = (STANDARD.encode(cat()), STANDARD.encode(other()));
    let expected = [best(&first), best(&second)];
    for body in [
        json!([a, b]),
        json!([{"b64": a}, {"image": {"b64": b}}]),
        json!({"image": [a, b]}),
        json!({"instances": [a, b]}),
        json!({"instances": [{"b64": a}, {"b64": b}]}),
        json!({"instances": [{"image": {"b64": a}}, {"data": b}]}),
        json!({"instances": [{"x": {"b64": a}}, {"x": {"b64": b}}]}),
    ] {
        let body = body.to_string();
        let (status, rows) = post(&server.url(LABELS), body.clone()).await;
        assert_eq!(status, 200, "{rows}");
        assert_eq!(rows.as_array().unwrap().iter().map(best).collect::<Vec<_>>(), expected);
        let (status, listed) = post(&server.url("/predict"), body.clone()).await;
        assert_eq!((status, &listed["predictions"][1][0]["label"]), (200, &json!(expected[1])));
        let (status, answer) = post(&server.url(INSTANCES), body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["predictions"].as_array().unwrap().iter().map(best).collect::<Vec<_>>(), expected);
    }
    // A list of one is answered by a list of one.
    assert_eq!(post(&server.url(LABELS), json!([a]).to_string()).await, (200, json!([first])));
}

#[tokio::test]
async fn what_is_wrong_with_base64_is_named() {
    let server = Server::with_default_models(&[]);
    let text = STANDARD.encode(cat());
    let damaged = format!("{}*{}", &text[..200], &text[201..]);
    for (path, body, cause) in [
        (LABELS, damaged.clone(), "not base64: character 201 is '*'"),
        (LABELS, json!({ "image": damaged }).to_string(), "not base64: character 201 is '*'"),
        (
            INSTANCES,
            json!({"instances": [{"b64": text}, {"b64": "%"}]}).to_string(),
            "photograph 2 of 2: not base64: character 1 is '%'",
        ),
        (LABELS, json!({"image": ""}).to_string(), "the text is empty"),
        (LABELS, json!({"image": "aGVsbG8="}).to_string(), "not an image: JPEG, PNG"),
        (LABELS, json!({"image": "data:image/jpeg,abc"}).to_string(), "doesn't say ;base64"),
        (
            LABELS,
            json!({"image": text, "ids": [3]}).to_string(),
            "'ids' stands beside the photograph 'image'",
        ),
        (LABELS, json!([text, 3]).to_string(), "element 1 of the list is no photograph"),
        (INSTANCES, json!({ "instances": vec!["/9j/"; 17] }).to_string(), "takes at most 16 in a request"),
        ("/predict", json!({ "image": &text[..5000] }).to_string(), "the JPEG is truncated"),
        (
            "/predictions/simple",
            json!({ "image": text }).to_string(),
            "the body is a photograph in base64, but model 'simple' declares no [transform.image]",
        ),
        (
            "/v1/models/simple:predict",
            json!({"instances": [{"b64": text}]}).to_string(),
            "the body is a photograph in base64, but model 'simple'",
        ),
        ("/predictions/simple", text.clone(), "the body is a photograph in base64, but model 'simple'"),
    ] {
        let (status, answer) = post(&server.url(path), body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(cause), "{cause}: {answer}");
    }
}

#[tokio::test]
async fn tensors_of_a_photographs_model_stay_tensors() {
    let server = Server::with_default_models(&[]);
    let zeros = vec![vec![vec![vec![0.0; 224]; 224]; 3]; 2];
    let (status, answer) = post(&server.url(LABELS), json!({ "x": zeros }).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["logits"].as_array().map(Vec::len), Some(2));
    let (status, answer) = post(&server.url(INSTANCES), json!({ "instances": zeros }).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["predictions"][1].as_array().map(Vec::len), Some(1000));
    let request = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]});
    let (status, answer) = post(&server.url("/predict"), request.to_string()).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("'x'"), "{answer}");
}

#[tokio::test]
async fn json_that_is_no_object_is_named() {
    let server = Server::with_default_models(&[]);
    for (body, kind) in
        [("[[1, 2, 3, 4]]", "an array"), ("\"x\"", "a string"), ("3.5", "a number"), ("true", "true")]
    {
        let message = format!(
            "an object by input name was expected (for example {{\"INPUT0\": …, \"INPUT1\": …}}) and {kind} came"
        );
        let answer = post(&server.url("/predictions/simple"), body).await;
        assert_eq!(answer, (400, json!({ "error": message })), "{body}");
    }
    let (status, answer) = post(&server.url("/predict"), "[[1, 2, 3, 4]]").await;
    let message =
        "a photograph or an object by input name was expected (for example {\"x\": …}) and an array came";
    assert_eq!((status, answer), (400, json!({ "error": message })));
    let (status, answer) = post(&server.url("/predictions/simple"), "[[1, 2").await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().starts_with("invalid JSON at byte 6"), "{answer}");
}

#[tokio::test]
async fn photographs_for_a_model_without_a_transform_are_named() {
    let server = Server::with_default_models(&[]);
    for (body, what) in [
        (cat(), "a JPEG"),
        (other(), "a PNG"),
        (cat_as(image::ImageFormat::WebP), "a WebP"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1".to_vec(), "an AVIF image"),
    ] {
        let message = format!(
            "the body is {what}, but model 'simple' declares no [transform.image] in its cresset.toml: send tensors, by \
             input name ({{\"INPUT0\": …, \"INPUT1\": …}})"
        );
        let answer = post(&server.url("/predictions/simple"), body).await;
        assert_eq!(answer, (400, json!({ "error": message })), "{what}");
    }
}

/// A model whose configuration has no batch.
#[tokio::test]
async fn a_model_without_a_batch_takes_as_many_as_its_shape_does() {
    let root = tempfile::tempdir().unwrap();
    for (name, dims) in [("one", "1, 3, 224, 224"), ("any", "-1, 3, 224, 224")] {
        let model = root.path().join(name);
        std::fs::create_dir_all(model.join("1")).unwrap();
        for file in ["1/model.pt", "cresset.toml", "labels.txt"] {
            let from = checkout("models/efficientnet_lite0").join(file);
            std::fs::copy(from, model.join(file)).unwrap();
        }
        let config = format!(
            "max_batch_size: 0\ninput [ {{ name: \"x\" data_type: TYPE_FP32 dims: [ {dims} ] }} ]\n\
             output [ {{ name: \"logits\" data_type: TYPE_FP32 dims: [ -1, 1000 ] }} ]\n"
        );
        std::fs::write(model.join("config.pbtxt"), config).unwrap();
    }
    let server = Server::start(root.path(), &[]);
    let (a, b) = (STANDARD.encode(cat()), STANDARD.encode(other()));
    for name in ["one", "any"] {
        let (status, answer) = post(&server.url(&format!("/predictions/{name}")), cat()).await;
        assert_eq!((status, best(&answer)), (200, "Egyptian cat"), "{name}");
    }
    let (status, rows) = post(&server.url("/predictions/any"), json!([a, b]).to_string()).await;
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(2)), "{rows}");
    assert_ne!(best(&rows[0]), best(&rows[1]));
    let message =
        "2 photographs came, and model 'one' takes one in a request (it has no dimension for a batch)";
    let answer = post(&server.url("/predictions/one"), json!([a, b]).to_string()).await;
    assert_eq!(answer, (400, json!({ "error": message })));
}

/// `curl -d @photo` takes line breaks and zeros out.
#[tokio::test]
async fn a_photograph_without_its_line_breaks_says_how_to_send_it() {
    let server = Server::with_default_models(&[]);
    let form = "application/x-www-form-urlencoded";
    for photograph in [cat(), other(), std::fs::read(checkout("tests/photographs/cat.webp")).unwrap()] {
        // Of a line with a zero, older ones drop what is behind it.
        let lines = || photograph.split(|byte| matches!(byte, b'\r' | b'\n'));
        let to_zero: Vec<u8> =
            lines().flat_map(|line| line.split(|byte| *byte == 0).next()).flatten().copied().collect();
        let no_zeros: Vec<u8> = lines().flatten().copied().filter(|byte| *byte != 0).collect();
        for body in [lines().flatten().copied().collect(), no_zeros, to_zero] {
            let (status, answer) = sent(reqwest::Method::POST, &server.url(LABELS), form, body).await;
            assert_eq!(status, 400, "{answer}");
            let message = answer["error"].as_str().unwrap();
            assert!(message.contains("curl --data-binary @photo` or `curl -T photo`"), "{message}");
        }
    }
    let half = cat()[..cat().len() / 2].to_vec();
    let (_, answer) = sent(reqwest::Method::POST, &server.url(LABELS), form, half).await;
    assert!(!answer["error"].as_str().unwrap().contains("curl"), "{answer}");
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
