//! Every datatype there and back, in every form, through a model that gives its
//! input back. With many requests at once, each gets its own data.

use std::sync::Arc;

use bytes::Bytes;
use cresset::grpc::proto::InferTensorContents;
use cresset_protocol::Datatype;
use half::{bf16, f16};
use serde_json::json;
use tokio::task::JoinSet;

use crate::grpc::client;
use crate::server::{Server, post};
use crate::surfaces::{message, over_grpc, over_http, repository, start, tensor, wire};

/// A datatype at its edges.
struct Edges {
    datatype: Datatype,
    /// Each element as JSON writes it.
    texts: Vec<String>,
    /// Each element as it lies in memory.
    elements: Vec<Vec<u8>>,
    /// An element's bytes from its JSON.
    read: fn(&str) -> Vec<u8>,
    /// The same elements in their typed field; none for datatypes that have
    /// no such field.
    typed: Option<InferTensorContents>,
}

/// A row of the table for numbers of type `$type`; `$field` takes `$wide`.
macro_rules! numbers {
    ($datatype:ident, $type:ty, [$($value:expr),*] $(, $field:ident: $wide:ty)?) => {{
        let values: Vec<$type> = vec![$($value),*];
        Edges {
            datatype: Datatype::$datatype,
            texts: values.iter().map(|value| text(value)).collect(),
            elements: values.iter().map(|value| value.to_le_bytes().to_vec()).collect(),
            read: |text| text.parse::<$type>().unwrap().to_le_bytes().to_vec(),
            typed: numbers!(@typed values $(, $field: $wide)?),
        }
    }};
    (@typed $values:ident) => { None };
    (@typed $values:ident, $field:ident: $wide:ty) => {
        Some(InferTensorContents {
            $field: $values.iter().map(|value| <$wide>::from(*value)).collect(),
            ..InferTensorContents::default()
        })
    };
}

/// JSON's words for what is no number are not Rust's.
fn text(value: &impl std::fmt::Display) -> String {
    match value.to_string().as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        other => other.to_owned(),
    }
}

fn table() -> Vec<Edges> {
    let words: [&[u8]; 4] = ["".as_bytes(), b"a \"b\"\n\\", "\u{fc}\u{1f525}".as_bytes(), &[b'x'; 300]];
    let quoted = |word: &&[u8]| json!(std::str::from_utf8(word).unwrap()).to_string();
    vec![
        Edges {
            datatype: Datatype::Bool,
            texts: vec!["true".to_owned(), "false".to_owned()],
            elements: vec![vec![1], vec![0]],
            read: |text| vec![u8::from(text.parse::<bool>().unwrap())],
            typed: Some(InferTensorContents { bool_contents: vec![true, false], ..Default::default() }),
        },
        numbers!(Uint8, u8, [0, 1, u8::MAX], uint_contents: u32),
        numbers!(Uint16, u16, [0, 1, u16::MAX], uint_contents: u32),
        numbers!(Uint32, u32, [0, 1, u32::MAX], uint_contents: u32),
        numbers!(Uint64, u64, [0, (1 << 53) + 1, u64::MAX], uint64_contents: u64),
        numbers!(Int8, i8, [i8::MIN, -1, 0, i8::MAX], int_contents: i32),
        numbers!(Int16, i16, [i16::MIN, -1, 0, i16::MAX], int_contents: i32),
        numbers!(Int32, i32, [i32::MIN, -1, 0, i32::MAX], int_contents: i32),
        numbers!(Int64, i64, [i64::MIN, -1, (1 << 53) + 1, i64::MAX], int64_contents: i64),
        numbers!(
            Fp16,
            f16,
            [
                f16::MIN,
                f16::MAX,
                f16::MIN_POSITIVE,
                f16::from_bits(1),
                f16::NEG_ZERO,
                f16::NAN,
                f16::INFINITY,
                f16::NEG_INFINITY
            ]
        ),
        numbers!(
            Bf16,
            bf16,
            [
                bf16::MIN,
                bf16::MAX,
                bf16::MIN_POSITIVE,
                bf16::from_bits(1),
                bf16::NEG_ZERO,
                bf16::NAN,
                bf16::INFINITY,
                bf16::NEG_INFINITY
            ]
        ),
        numbers!(
            Fp32,
            f32,
            [
                f32::MIN,
                f32::MAX,
                f32::MIN_POSITIVE,
                f32::from_bits(1),
                -0.0,
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                0.1
            ],
            fp32_contents: f32
        ),
        numbers!(
            Fp64,
            f64,
            [
                f64::MIN,
                f64::MAX,
                f64::MIN_POSITIVE,
                f64::from_bits(1),
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                0.1
            ],
            fp64_contents: f64
        ),
        Edges {
            datatype: Datatype::Bytes,
            texts: words.iter().map(quoted).collect(),
            elements: words.iter().map(|word| wire(&[word])).collect(),
            read: |text| wire(&[serde_json::from_str::<String>(text).unwrap().as_bytes()]),
            typed: Some(InferTensorContents {
                bytes_contents: words.iter().map(|word| Bytes::copy_from_slice(word)).collect(),
                ..Default::default()
            }),
        },
    ]
}

/// A model for each datatype, named like it, which gives `INPUT0` back.
fn identities(batching: &str) -> tempfile::TempDir {
    let models: Vec<(String, &str, String)> = Datatype::all()
        .map(|datatype| {
            let (file, kind, dims) = match datatype {
                Datatype::Bytes => ("echo", "STRING", 1),
                _ => ("identity", datatype.name(), -1),
            };
            let tensor = |name: &str| format!("[ {{ name: '{name}' data_type: TYPE_{kind} dims: [ {dims} ] }} ]");
            let config = format!(
                "max_batch_size: 64 input {} output {} instance_group [ {{ count: 1 kind: KIND_CPU }} ] {batching}",
                tensor("INPUT0"),
                tensor("OUTPUT0")
            );
            (datatype.name().to_lowercase(), file, config)
        })
        .collect();
    let models: Vec<_> = models.iter().map(|(name, file, config)| (&**name, *file, &**config)).collect();
    repository(&models)
}

/// The elements of the only output of a JSON answer. No strict parser takes
/// NaN, so this one goes by the text.
fn elements(answer: &str, datatype: Datatype) -> Vec<String> {
    let data = answer.split_once("\"data\":[").unwrap().1.rsplit_once("]}]}").unwrap().0;
    if datatype == Datatype::Bytes {
        let values: Vec<String> = serde_json::from_str(&format!("[{data}]")).unwrap();
        return values.iter().map(|value| json!(value).to_string()).collect();
    }
    data.split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn every_datatype_comes_back_as_it_went_in_every_form() {
    let root = identities("");
    let server = start(root.path());
    let mut grpc = client(&server).await;
    let table = table();
    let covered: Vec<_> = table.iter().map(|edges| edges.datatype).collect();
    assert_eq!(covered, Datatype::all().collect::<Vec<_>>(), "the whole table");
    for Edges { datatype, texts, elements: expected, read, typed } in table {
        let model = datatype.name().to_lowercase();
        let count = i64::try_from(expected.len()).unwrap();
        let shape = if datatype == Datatype::Bytes { [count, 1] } else { [1, count] };
        let sent = tensor("INPUT0", datatype, &shape, expected.concat());
        let back = tensor("OUTPUT0", datatype, &shape, expected.concat());

        let (_, raw) = over_grpc(&mut grpc, &model, "", &[sent.clone()]).await.unwrap();
        assert_eq!(raw, [back.clone()], "raw contents");
        let binary = over_http(&reqwest::Client::new(), &server, &model, "", &[sent.clone()]).await.unwrap();
        assert_eq!(binary.1, [back.clone()], "binary");

        let data = texts.join(",");
        let body = format!(
            r#"{{"inputs":[{{"name":"INPUT0","datatype":"{datatype}","shape":{shape:?},"data":[{data}]}}]}}"#
        );
        let url = server.url(&format!("/v2/models/{model}/infer"));
        let response = reqwest::Client::new().post(url).body(body).send().await.unwrap();
        let status = response.status();
        let answer = response.text().await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let given = elements(&answer, datatype);
        assert_eq!(given.iter().map(|text| read(text)).collect::<Vec<_>>(), expected, "{answer}");

        let mut request = message(&model, "", &[sent]);
        request.raw_input_contents.clear();
        match typed {
            Some(typed) => {
                request.inputs[0].contents = Some(typed);
                let response = grpc.model_infer(request).await.unwrap().into_inner();
                assert_eq!(response.raw_output_contents, [back.data], "typed contents of {datatype}");
            }
            None => {
                let floats = InferTensorContents { fp32_contents: vec![0.0], ..Default::default() };
                request.inputs[0].contents = Some(floats);
                let refused = grpc.model_infer(request).await.unwrap_err();
                assert_eq!(
                    refused.message(),
                    format!(
                        "input 'INPUT0': {datatype} has no typed contents: send it in raw_input_contents"
                    )
                );
            }
        }
    }
}

/// What request `id` sends, of 1 to 3 rows: bits that no other request sends.
fn own(datatype: Datatype, id: u32) -> (i64, Vec<u8>) {
    let rows = id % 3 + 1;
    let mut data = Vec::new();
    for row in 0..rows {
        let seed = id.wrapping_mul(4).wrapping_add(row);
        let Some(size) = datatype.size() else {
            let text = [&seed.to_le_bytes()[..], &vec![b'.'; (seed % 50) as usize], b"\xff"].concat();
            data.extend(wire(&[&text]));
            continue;
        };
        // 32 elements a row: enough for the seed's bits as truth values.
        for element in 0..32_u32 {
            if datatype == Datatype::Bool {
                data.push((seed >> element & 1) as u8);
            } else {
                let mixed = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(element);
                data.extend_from_slice(&mixed.to_le_bytes()[8 - size..]);
            }
        }
    }
    (i64::from(rows), data)
}

async fn ask_as(server: &Server, datatype: Datatype, number: u32) {
    let model = datatype.name().to_lowercase();
    let http = reqwest::Client::new();
    let mut grpc = client(server).await;
    for request in 0..200 {
        let id = number * 200 + request;
        let (rows, data) = own(datatype, id);
        let shape = [rows, if datatype == Datatype::Bytes { 1 } else { 32 }];
        let sent = [tensor("INPUT0", datatype, &shape, data.clone())];
        let id = id.to_string();
        let (named, outputs) = if number.is_multiple_of(2) {
            over_http(&http, server, &model, &id, &sent).await.unwrap()
        } else {
            over_grpc(&mut grpc, &model, &id, &sent).await.unwrap()
        };
        assert_eq!(named, id);
        assert_eq!(outputs, [tensor("OUTPUT0", datatype, &shape, data)], "{datatype} {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_another_s_rows_whatever_the_datatype_and_the_surface() {
    let root = identities("dynamic_batching { max_queue_delay_microseconds: 1000 }");
    let server = Arc::new(start(root.path()));
    for datatype in Datatype::all() {
        let mut clients = JoinSet::new();
        for number in 0..16 {
            let server = Arc::clone(&server);
            clients.spawn(async move { ask_as(&server, datatype, number).await });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        let label = format!("model=\"{}\"", datatype.name().to_lowercase());
        let requests = server.metric("nv_inference_request_success", &label).await;
        let batches = server.metric("nv_inference_exec_count", &label).await;
        assert!(requests >= 3200.0 && batches < 0.8 * requests, "{datatype}: {batches} of {requests}");
    }
}

#[tokio::test]
async fn a_truth_value_is_one_or_zero() {
    let root = identities("");
    let server = start(root.path());
    let url = server.url("/v2/models/bool/infer");
    let input = json!({"name": "INPUT0", "datatype": "BOOL", "shape": [1, 1], "data": [2]});
    let (status, answer) = post(&url, json!({"inputs": [input]}).to_string()).await;
    assert_eq!(status, 400, "{answer}");
    let sent = tensor("INPUT0", Datatype::Bool, &[1, 1], vec![2]);
    let refused = crate::surfaces::both(&server, "bool", &[sent]).await.unwrap_err();
    assert_eq!(refused, "400 input 'INPUT0': a BOOL is one byte of 0 or 1");
}
