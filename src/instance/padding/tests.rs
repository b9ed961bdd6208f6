use std::sync::Arc;

use super::*;
use crate::context::RequestContext;
use crate::instance::Responder;
use crate::metrics::ModelMetrics;
use cresset_clock as clock;
use cresset_protocol::Schedule;
use cresset_scheduler::RowSize;

fn tensor(datatype: Datatype, shape: &[i64], data: &[u8]) -> Tensor {
    Tensor { name: Arc::from("x"), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }
}

fn request(inputs: Vec<Tensor>, rows: u32, length: u32) -> QueuedRequest {
    let arrival = clock::now();
    let metrics = Arc::new(ModelMetrics::new("padding_test", 1));
    let (responder, _) = Responder::new(RequestContext::default(), metrics, arrival);
    QueuedRequest {
        inputs,
        asked: Vec::new(),
        rows,
        bucket: Vec::new(),
        size: RowSize { length, ..RowSize::default() },
        arrival,
        schedule: Schedule::default(),
        responder,
        pending: None,
    }
}

fn padding(inputs: Vec<Fill>) -> Padding {
    let lengths = Lengths { multiple_of: 2, max_length: None, max_waste: 0.5 };
    Padding { lengths, inputs, outputs: Vec::new() }
}

/// What input `index` of these requests becomes.
fn written(padding: &Padding, index: usize, requests: &[QueuedRequest]) -> Vec<u8> {
    let length = padding.length(requests);
    let mut buffer = HostBuffer::new();
    requests.iter().for_each(|request| padding.write(index, request, length, &mut buffer));
    buffer.as_slice().to_vec()
}

#[test]
fn each_row_is_filled_up_to_the_length_of_the_longest() {
    let padding = padding(vec![Fill::Padded { dimension: 1, element: vec![9, 8] }]);
    let requests = [
        request(vec![tensor(Datatype::Int16, &[2, 1], &[1, 0, 2, 0])], 2, 1),
        request(vec![tensor(Datatype::Int16, &[1, 3], &[3, 0, 4, 0, 5, 0])], 1, 3),
        request(vec![tensor(Datatype::Int16, &[1, 0], &[])], 1, 0),
    ];
    assert_eq!(padding.length(&requests), 4, "rounded up");
    assert_eq!(padding.shape(0, &[2, 1], 4), [2, 4]);
    let expected: [&[u8]; 4] = [
        &[1, 0, 9, 8, 9, 8, 9, 8],
        &[2, 0, 9, 8, 9, 8, 9, 8],
        &[3, 0, 4, 0, 5, 0, 9, 8],
        &[9, 8, 9, 8, 9, 8, 9, 8],
    ];
    assert_eq!(written(&padding, 0, &requests), expected.concat());
}

#[test]
fn an_inner_dimension_is_padded_where_it_stands() {
    let padding = padding(vec![Fill::Padded { dimension: 2, element: vec![0] }]);
    let own = request(vec![tensor(Datatype::Uint8, &[1, 2, 1, 2], &[1, 2, 3, 4])], 1, 1);
    assert_eq!(padding.shape(0, &[1, 2, 1, 2], 2), [1, 2, 2, 2]);
    assert_eq!(written(&padding, 0, &[own]), [1, 2, 0, 0, 3, 4, 0, 0]);
}

#[test]
fn masks_and_lengths_are_made_where_they_were_not_sent() {
    let padding = padding(vec![
        Fill::Mask { dimension: 1, datatype: Datatype::Int16 },
        Fill::Length { datatype: Datatype::Int32 },
        Fill::AsSent,
    ]);
    let scale = || tensor(Datatype::Uint8, &[2, 1], &[6, 7]);
    let made = |rows: i64| {
        vec![tensor(Datatype::Int16, &[rows, 3], &[]), tensor(Datatype::Int32, &[rows], &[]), scale()]
    };
    let sent = vec![
        tensor(Datatype::Int16, &[2, 1], &[1, 0, 0, 0]),
        tensor(Datatype::Int32, &[2], &[5, 0, 0, 0, 6, 0, 0, 0]),
        scale(),
    ];
    let requests = [request(made(2), 2, 3), request(sent, 2, 1)];
    let ones: &[u8] = &[1, 0, 1, 0, 1, 0, 0, 0];
    assert_eq!(written(&padding, 0, &requests), [ones, ones, &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 8]].concat());
    assert_eq!(written(&padding, 1, &requests), [3, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
    assert_eq!(written(&padding, 2, &requests), [6, 7, 6, 7]);
    assert_eq!(padding.shape(1, &[2], 4), [2], "lengths aren't as long as what they tell of");
}

#[test]
fn numbers_are_of_every_type() {
    assert_eq!(Datatype::Bool.element(1), [1]);
    assert_eq!(Datatype::Int64.element(300), [44, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Datatype::Fp16.element(1), [0, 0x3c]);
    assert_eq!(Datatype::Bf16.element(1), [0x80, 0x3f]);
    assert_eq!(Datatype::Fp32.element(1), 1_f32.to_le_bytes());
    assert_eq!(Datatype::Fp64.element(1), 1_f64.to_le_bytes());
}

fn cut(dimensions: &[usize], rule: CutRule) -> Padding {
    let outputs = vec![CutBack { name: "x".to_owned(), dimensions: dimensions.to_vec(), rule }];
    Padding { outputs, ..padding(Vec::new()) }
}

fn cut_back(padding: &Padding, output: Tensor, own: u32, length: u32) -> Result<Tensor> {
    Ok(padding.cut_back(vec![output], own, length)?.remove(0))
}

#[test]
fn outputs_are_cut_to_the_requests_own_length() {
    let bytes: Vec<u8> = (0..16).collect();
    let rows = tensor(Datatype::Int16, &[2, 4], &bytes);
    let padding = cut(&[1], CutRule::Varies);
    let answer = cut_back(&padding, rows.clone(), 3, 4).unwrap();
    assert_eq!(answer, tensor(Datatype::Int16, &[2, 3], &[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]));
    assert_eq!(cut_back(&padding, rows.clone(), 0, 4).unwrap(), tensor(Datatype::Int16, &[2, 0], &[]));
    assert_eq!(cut_back(&padding, rows.clone(), 4, 4).unwrap(), rows);
    // Two dimensions, one row: attention.
    let square = tensor(Datatype::Uint8, &[1, 3, 3], &[1, 2, 0, 3, 4, 0, 0, 0, 0]);
    let answer = cut_back(&cut(&[1, 2], CutRule::Varies), square, 2, 3).unwrap();
    assert_eq!(answer, tensor(Datatype::Uint8, &[1, 2, 2], &[1, 2, 3, 4]));
    let other = Tensor { name: Arc::from("y"), ..rows };
    assert_eq!(cut_back(&padding, other.clone(), 1, 4).unwrap(), other, "it isn't named");
}

#[test]
fn one_row_is_a_slice_of_the_same_memory() {
    let row = tensor(Datatype::Uint8, &[1, 4], &[1, 2, 3, 4]);
    let answer = cut_back(&cut(&[1], CutRule::Varies), row.clone(), 2, 4).unwrap();
    assert_eq!((answer.data.as_ptr(), &answer.data[..]), (row.data.as_ptr(), &[1, 2][..]));
}

#[test]
fn strings_are_cut_by_their_number() {
    let strings = [1, 0, 0, 0, b'a', 0, 0, 0, 0, 2, 0, 0, 0, b'b', b'c', 0, 0, 0, 0];
    let answer = cut_back(&cut(&[1], CutRule::Varies), tensor(Datatype::Bytes, &[2, 2], &strings), 1, 2);
    let left = [1, 0, 0, 0, b'a', 2, 0, 0, 0, b'b', b'c'];
    assert_eq!(answer.unwrap(), tensor(Datatype::Bytes, &[2, 1], &left));
}

#[test]
fn an_output_of_another_length_is_left_or_told_of() {
    let summary = tensor(Datatype::Uint8, &[1, 3], &[1, 2, 3]);
    assert_eq!(cut_back(&cut(&[1], CutRule::Varies), summary.clone(), 2, 4).unwrap(), summary);
    let error = cut_back(&cut(&[1], CutRule::Named), summary, 2, 4).unwrap_err();
    insta::assert_snapshot!(
        error.message(),
        @"output 'x' has shape [1, 3] for inputs padded to 4: [padding.outputs] in cresset.toml says that dimension 0 behind the batch is as long"
    );
}
