//! What decoding a JSON request costs, in processor time of this thread: our
//! decoder into a tensor's bytes, beside `serde_json` into a `Vec<f32>`, on the
//! same text. `scripts/cpu-ratios` prints the ratios.
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

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let values = values();
    let spellings = [
        // As Rust, C++ and JavaScript write an f32: as short as reads back.
        ("shortest", body(&values, |out, value| write!(out, "{value}"))),
        // As Python does, whose floats have 64 bits: 16 to 18 digits.
        ("python", body(&values, |out, value| write!(out, "{}", f64::from(value)))),
    ];
    for (_, body) in &spellings {
        check(body, &values)?;
    }
    for _ in 0..rounds {
        for (spelling, body) in &spellings {
            let ours = cost(|| decode_request("m", black_box(body), None).is_ok())?;
            let serde = cost(|| serde_json::from_slice::<Request>(black_box(body)).is_ok())?;
            let bytes = body.len();
            println!(r#"{{"spelling":"{spelling}","bytes":{bytes},"ours":{ours},"serde_json":{serde}}}"#);
        }
    }
    Ok(())
}

/// Pixels as a network takes them: between -1 and 1. The same in every run.
fn values() -> Vec<f32> {
    let mut state: u32 = 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(state >> 9 | 0x4000_0000) - 3.0
    })
    .take(NUMBERS)
    .collect()
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

/// Both read the values that were written, to the bit.
fn check(body: &Bytes, values: &[f32]) -> anyhow::Result<()> {
    let ours = decode_request("m", body, None)?;
    let tensor = ours.inputs.first().context("an input")?;
    ensure!(tensor.datatype == Datatype::Fp32, "FP32");
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    ensure!(tensor.data == bytes, "our decoder read other values");
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
