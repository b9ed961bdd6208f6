use bytes::Bytes;

use super::*;
use crate::model::race::Run;
use cresset_backend::{BatchOutput, Optimize, Precision, ReducedType, Signature};
use cresset_protocol::Datatype;

fn run(milliseconds: u64, value: f32) -> Run {
    let data = [1.0, value].iter().flat_map(|value: &f32| value.to_le_bytes()).collect::<Vec<u8>>();
    let answer =
        BatchOutput { name: None, datatype: Datatype::Fp32, shape: vec![2], data: Bytes::from(data) };
    Run { took: Duration::from_millis(milliseconds), answers: vec![answer] }
}

/// By size: before, after, and what the answers are off by.
type Laps<'a> = &'a [(u32, u64, u64, f32)];

fn judged(laps: Laps<'_>, both: bool) -> Result<Verdict, String> {
    let laps: Vec<(u32, Lap)> = laps
        .iter()
        .map(|(rows, before, after, off)| {
            (*rows, Lap { base: run(*before, 100.0), other: run(*after, 100.0 + off) })
        })
        .collect();
    let config = ModelConfig::from_pbtxt("", "m").unwrap();
    judge(&laps, &Binding::new(&config, &Signature::default()).unwrap(), both)
}

#[test]
fn what_is_equal_and_faster_is_taken() {
    let gain =
        "30 ms in place of 40, 100 ms in place of 160; answers differ by at most 5.0e-6 of the largest";
    for both in [true, false] {
        let taken = judged(&[(1, 40, 30, 0.0), (4, 160, 100, 0.0005)], both).unwrap();
        assert_eq!(taken, Verdict::Everywhere(gain.to_owned()));
    }
}

#[test]
fn each_form_keeps_the_sizes_at_which_it_is_the_faster() {
    let taken = |laps: Laps<'_>, both: bool| match judged(laps, both) {
        Ok(Verdict::Everywhere(_)) => "everywhere".to_owned(),
        Ok(Verdict::From(rows, _)) => format!("from {rows}"),
        Err(_) => "nowhere".to_owned(),
    };
    let crossing: Laps<'_> = &[(1, 16, 18, 0.0), (2, 34, 31, 0.0), (4, 99, 78, 0.0)];
    assert_eq!(taken(crossing, true), "from 2");
    assert_eq!(taken(crossing, false), "everywhere", "there is no room for both");
    assert_eq!(taken(&[(1, 16, 18, 0.0), (2, 34, 35, 0.0), (4, 99, 78, 0.0)], true), "from 4");
    assert_eq!(taken(&[(1, 100, 98, 0.0), (4, 99, 78, 0.0)], true), "from 4", "2 % may be noise");
    assert_eq!(taken(&[(1, 100, 90, 0.0), (4, 99, 78, 0.0)], true), "everywhere");
    assert_eq!(taken(&[(1, 16, 18, 0.0), (4, 78, 99, 0.0)], true), "nowhere");
    assert_eq!(
        taken(&[(1, 16, 12, 0.0), (4, 78, 99, 0.0)], true),
        "nowhere",
        "one size loses what the other gains"
    );
}

#[test]
fn what_is_not_equal_or_not_faster_is_left() {
    assert_eq!(
        judged(&[(1, 40, 30, 0.0), (4, 160, 100, 0.002)], true).unwrap_err(),
        "answers differ by 2.0e-5 of the largest, at most 1e-5 was expected"
    );
    assert!(judged(&[(1, 40, 30, f32::NAN)], true).unwrap_err().starts_with("answers differ by inf"));
    assert_eq!(judged(&[(1, 40, 39, 0.0)], true).unwrap_err(), "it isn't faster: 39 ms in place of 40");
    assert!(judged(&[(1, 0, 0, 0.0)], true).is_err(), "what can't be told isn't");
}

#[test]
fn only_what_the_settings_leave_open_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.pt");
    std::fs::write(&file, "x").unwrap();
    let open = |change: &dyn Fn(&mut Preparation)| {
        let mut preparation = Preparation::default();
        change(&mut preparation);
        is_open(&preparation, Device::Cpu, &file)
    };
    assert!(open(&|_| {}));
    assert!(open(&|asked| asked.precision.channels_last = true));
    assert!(!open(&|asked| asked.optimize = Optimize { freeze: Some(false), for_inference: None }));
    assert!(!open(&|asked| asked.optimize.for_inference = Some(false)));
    assert!(!open(&|asked| asked.optimize.for_inference = Some(true)), "it is loaded so");
    let autocast = Precision { autocast: Some(ReducedType::Bf16), ..Precision::default() };
    assert!(!open(&|asked| asked.precision = autocast));
    assert!(!is_open(&Preparation::default(), Device::Cuda(0), &file));
    assert!(!is_open(&Preparation::default(), Device::Cpu, &directory.path().join("gone")));
}
