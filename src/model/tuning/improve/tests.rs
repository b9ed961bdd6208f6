use bytes::Bytes;

use super::*;
use crate::trial::experiment::Timed;
use cresset_backend::{BatchOutput, Optimize, Precision, ReducedType, Signature};
use cresset_protocol::Datatype;

fn run(milliseconds: u64, value: f32) -> Timed {
    let data = [1.0, value].iter().flat_map(|value: &f32| value.to_le_bytes()).collect::<Vec<u8>>();
    let answer =
        BatchOutput { name: None, datatype: Datatype::Fp32, shape: vec![2], data: Bytes::from(data) };
    Timed { took: Duration::from_millis(milliseconds), outputs: vec![answer] }
}

/// Of each size: before, after, and what the answers are off by.
fn judged(laps: &[(u64, u64, f32)]) -> Result<String, String> {
    let lap = |(before, after, off): &(u64, u64, f32)| Lap {
        base: run(*before, 100.0),
        other: run(*after, 100.0 + off),
    };
    let laps: Vec<Lap> = laps.iter().map(lap).collect();
    let config = ModelConfig::from_pbtxt("", "m").unwrap();
    judge(&laps, &Binding::new(&config, &Signature::default()).unwrap())
}

#[test]
fn what_is_equal_and_faster_is_taken() {
    assert_eq!(
        judged(&[(40, 30, 0.0), (160, 100, 0.0005)]).unwrap(),
        "30 ms in place of 40, 100 ms in place of 160; answers differ by at most 5.0e-6 of the largest"
    );
    assert!(judged(&[(16, 18, 0.0), (34, 31, 0.0), (99, 78, 0.0)]).is_ok(), "over all sizes it is faster");
}

#[test]
fn what_is_not_equal_or_not_faster_is_left() {
    assert_eq!(
        judged(&[(40, 30, 0.0), (160, 100, 0.002)]).unwrap_err(),
        "answers differ by 2.0e-5 of the largest, at most 1e-5 was expected"
    );
    assert!(judged(&[(40, 30, f32::NAN)]).unwrap_err().starts_with("answers differ by inf"));
    assert_eq!(judged(&[(40, 39, 0.0)]).unwrap_err(), "it isn't faster: 39 ms in place of 40");
    assert!(judged(&[(16, 18, 0.0), (78, 99, 0.0)]).is_err());
    assert!(judged(&[(16, 12, 0.0), (78, 104, 0.0)]).is_err(), "one size loses what the other gains");
    assert!(judged(&[(0, 0, 0.0)]).is_err(), "what can't be told isn't");
}

#[test]
fn only_what_the_settings_leave_open_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.pt");
    std::fs::write(&file, "x").unwrap();
    let open = |change: &dyn Fn(&mut LoadOptions)| {
        let mut options = LoadOptions::default();
        change(&mut options);
        is_improvable(&options, Device::Cpu, &file)
    };
    assert!(open(&|_| {}));
    assert!(open(&|asked| asked.precision.channels_last = true));
    assert!(!open(&|asked| asked.optimize = Optimize { freeze: Some(false), for_inference: None }));
    assert!(!open(&|asked| asked.optimize.for_inference = Some(false)));
    assert!(!open(&|asked| asked.optimize.for_inference = Some(true)), "it is loaded so");
    let autocast = Precision { autocast: Some(ReducedType::Bf16), ..Precision::default() };
    assert!(!open(&|asked| asked.precision = autocast));
    assert!(!is_improvable(&LoadOptions::default(), Device::cuda(0), &file));
    assert!(!is_improvable(&LoadOptions::default(), Device::Cpu, &directory.path().join("gone")));
}
