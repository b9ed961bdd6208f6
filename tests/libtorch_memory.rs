//! The memory that many failing requests leave behind. It is alone in its
//! process, because it measures the process.

#![cfg(feature = "libtorch")]
// Helpers of tests are tests too; clippy only sees the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cresset_backend::{Backend, BatchInput, Device, LoadOptions, LoadRequest, Parameters};
use cresset_libtorch::LibtorchBackend;
use cresset_protocol::Datatype;

/// One at a time: each measures the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Resident memory in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

#[test]
fn two_thousand_failing_forwards_of_a_megabyte_leave_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/mlp/1/model.pt");
    let parameters = Parameters::default();
    let backend = LibtorchBackend::new();
    let model = backend
        .load(&LoadRequest {
            path: &path,
            device: Device::Cpu,
            parameters: &parameters,
            overlapped: false,
            options: &LoadOptions::default(),
        })
        .unwrap();
    let mut instance = model.instance(1).unwrap();
    let data = vec![0_u8; 256 * 1024 * 4];
    let mut before = 0;
    for round in 0..2000 {
        let input = BatchInput { name: "input", datatype: Datatype::Fp32, shape: &[256, 1024], data: &data };
        assert!(instance.forward(&[input]).is_err());
        if round == 100 {
            before = resident();
        }
    }
    let after = resident();
    assert!(after < before + 50, "{before} MiB grew to {after} MiB");
}

#[test]
fn loading_and_dropping_a_model_many_times_leaves_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/mlp/1/model.pt");
    let parameters = Parameters::default();
    let backend = LibtorchBackend::new();
    let mut before = 0;
    for round in 0..200 {
        let request = LoadRequest {
            path: &path,
            device: Device::Cpu,
            parameters: &parameters,
            overlapped: false,
            options: &LoadOptions::default(),
        };
        let model = backend.load(&request).unwrap();
        drop(model);
        if round == 50 {
            backend.release_memory();
            before = resident();
        }
    }
    backend.release_memory();
    let after = resident();
    assert!(after < before + 50, "{before} MiB grew to {after} MiB");
}
