//! What decoding a JSON request costs, in processor time of this thread, on the
//! same text:
//!
//! - `ours`: our decoder into a tensor's bytes;
//! - `serde_json`: into a `Vec<f32>`;
//! - `fast_float2`: the numbers alone, each checked against JSON's grammar, into
//!   bytes.
//!
//! `scripts/cpu-ratios` prints the ratios.
//!
//! Usage: `decode_cost ROUNDS`: a JSON object a line, for each round and for
//! each way in which numbers are written; nanoseconds for one request.

use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use cresset_protocol::{Datatype, decode_request};
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A photograph's: 3 x 224 x 224.
const NUMBERS: usize = 150_528;
/// Requests in a round: tens of milliseconds.
const REQUESTS: u32 = 20;

/// What a server would write down for `serde_json`, without checks of its own.
#[derive(Deserialize)]
struct Request {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Input {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    data: Vec<f32>,
}

/// One way of writing numbers: a body, and the values that it holds.
struct Spelling {
    name: &'static str,
    values: Vec<f32>,
    body: Bytes,
}

impl Spelling {
    fn new(
        name: &'static str,
        values: impl Iterator<Item = f32>,
        write: impl Fn(&mut String, f32) -> std::fmt::Result,
    ) -> Self {
        let values: Vec<f32> = values.collect();
        Self { name, body: body(&values, write), values }
    }
}

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let values = values();
    let spellings = [
        // As Rust, C++ and JavaScript write an f32: as short as reads back.
        Spelling::new("shortest", values.iter().copied(), |out, value| write!(out, "{value}")),
        // As Python does, whose floats have 64 bits: 16 to 18 digits.
        Spelling::new("python", values.iter().copied(), |out, value| write!(out, "{}", f64::from(value))),
        // As people do: halves from -1 to 1.
        Spelling::new("short", values.iter().map(|value| (value * 2.0).round() / 2.0), |out, value| {
            write!(out, "{value:.1}")
        }),
        // Levels of pixels.
        Spelling::new(
            "integers",
            values.iter().map(|value| (value * 127.0 + 128.0).round()),
            |out, value| write!(out, "{value}"),
        ),
    ];
    for Spelling { body, values, .. } in &spellings {
        check(body, values)?;
    }
    for _ in 0..rounds {
        for Spelling { name, body, .. } in &spellings {
            let ours = cost(|| decode_request("m", black_box(body), None).is_ok())?;
            let serde = cost(|| serde_json::from_slice::<Request>(black_box(body)).is_ok())?;
            let alone = cost(|| numbers_alone(black_box(body)).is_some())?;
            let bytes = body.len();
            println!(
                r#"{{"spelling":"{name}","bytes":{bytes},"ours":{ours},"serde_json":{serde},"fast_float2":{alone}}}"#
            );
        }
    }
    Ok(())
}

/// Pixels as a network takes them: between -1 and 1. The same in every run.
fn values() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.f32() * 2.0 - 1.0).take(NUMBERS).collect()
}

fn body(values: &[f32], write: impl Fn(&mut String, f32) -> std::fmt::Result) -> Bytes {
    let mut out = String::from(r#"{"inputs":[{"name":"x","shape":[1,3,224,224],"datatype":"FP32","data":["#);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        // Writing to a String can't fail.
        let _ = write(&mut out, *value);
    }
    out.push_str("]}]}");
    Bytes::from(out)
}

/// The bytes of a body's numbers, by `fast-float2`. What stands around them isn't
/// looked at.
fn numbers_alone(body: &[u8]) -> Option<Vec<u8>> {
    const BEFORE: &[u8] = br#""data":["#;
    let start = body.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let mut rest = body.get(start..)?;
    let mut bytes = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        let (value, length) = fast_float2::parse_partial::<f32, _>(rest).ok()?;
        let (number, behind) = rest.split_at_checked(length)?;
        if !is_json(number) || value.is_infinite() {
            return None;
        }
        bytes.extend_from_slice(&value.to_le_bytes());
        let (next, behind) = behind.trim_ascii_start().split_first()?;
        match next {
            b',' => rest = behind,
            _ => return (*next == b']').then_some(bytes),
        }
    }
}

/// Whether JSON has a number that `fast-float2` read. That takes `01`, `.5`, `1.`,
/// `+1` and `inf`, too.
fn is_json(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let begins = matches!(digits, [b'0'] | [b'0', b'.' | b'e' | b'E', ..] | [b'1'..=b'9', ..]);
    let dot = number.iter().position(|byte| *byte == b'.');
    begins && dot.is_none_or(|dot| number.get(dot + 1).is_some_and(u8::is_ascii_digit))
}

/// All read the values that were written, to the bit.
fn check(body: &Bytes, values: &[f32]) -> anyhow::Result<()> {
    let (ours, _) = decode_request("m", body, None)?;
    let tensor = ours.inputs.first().context("an input")?;
    ensure!(tensor.datatype == Datatype::Fp32, "FP32");
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    ensure!(tensor.data == bytes, "our decoder read other values");
    ensure!(numbers_alone(body) == Some(bytes), "fast-float2 read other values");
    let theirs: Request = serde_json::from_slice(body)?;
    ensure!(theirs.inputs.first().is_some_and(|input| input.data == values), "serde_json read other values");
    Ok(())
}

/// Nanoseconds of this thread for one call.
fn cost(call: impl Fn() -> bool) -> anyhow::Result<u64> {
    let before = thread_time()?;
    for _ in 0..REQUESTS {
        ensure!(call(), "the request can't be read");
    }
    Ok((thread_time()? - before) / u64::from(REQUESTS))
}

fn thread_time() -> anyhow::Result<u64> {
    // SAFETY: all zeros is a valid rusage: it is made of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage to write to, and outlives the call.
    let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    ensure!(status == 0, "getrusage: {}", std::io::Error::last_os_error());
    let microseconds = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    Ok(u64::try_from(microseconds(usage.ru_utime) + microseconds(usage.ru_stime))? * 1000)
}
