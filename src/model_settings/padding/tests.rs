use super::*;
use crate::model_settings::testing::{read_text, refused};

const PADDING: &str = "\
[padding]
mask = \"attention_mask\"
multiple_of = 16
max_length = 512
max_waste = 0.2
[padding.inputs.input_ids]
dimension = 0
value = 1
[padding.outputs]
hidden = 0
attention = [1, 2]
";

fn padding(text: &str) -> PaddingSettings {
    read_text(text).unwrap().batching.padding.unwrap()
}

/// The error after one line of a good file was replaced.
fn replaced(key: &str, line: &str) -> String {
    let lines = PADDING.lines().map(|old| if old.starts_with(key) { line } else { old });
    refused(&lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn nothing_is_asked_for_by_default() {
    for text in ["", "[batching]\n", "[batching]\nsplit_large_requests = false\n"] {
        assert_eq!(read_text(text).unwrap().batching, BatchingSettings::default());
    }
}

#[test]
fn whole_tables_are_read() {
    let read = read_text(&format!("[batching]\nmax_elements = 4096\nsplit_large_requests = true\n{PADDING}"));
    let batching = read.unwrap().batching;
    assert_eq!((batching.max_elements, batching.large_requests), (Some(4096), LargeRequests::Split));
    let placed = |name: &str| Placed { name: name.to_owned(), line: Line(0) };
    let expected = PaddingSettings {
        line: Line(0),
        inputs: vec![PaddedInput { name: placed("input_ids"), dimension: Some(0), value: Number::Whole(1) }],
        told: Told::Mask(placed("attention_mask")),
        outputs: Some(vec![
            PaddedOutput { name: placed("attention"), dimensions: vec![1, 2] },
            PaddedOutput { name: placed("hidden"), dimensions: vec![0] },
        ]),
        multiple_of: 16,
        max_length: Some(512),
        max_waste: 0.2,
    };
    assert_eq!(batching.padding, Some(expected));
}

#[test]
fn a_name_is_found_again_by_its_line_and_moving_it_changes_nothing() {
    let one = padding("[padding]\nlength = \"n\"\ninputs = { x = {} }\n");
    let other = padding("# moved\n\n[padding]\ninputs.x = { value = 0 }\nlength = \"n\"\n");
    assert_eq!(one, other);
    let lines = |padding: &PaddingSettings| match &padding.told {
        Told::Length(name) => (padding.line.0, padding.inputs[0].name.line.0, name.line.0),
        Told::Mask(_) | Told::Nothing => (0, 0, 0),
    };
    assert_eq!((lines(&one), lines(&other)), ((1, 3, 2), (3, 4, 5)));
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let read =
        padding("[padding]\nunmarked = true\n[padding.inputs]\nx = { value = -1.5 }\ny = { value = true }\n");
    assert_eq!((read.told, read.outputs, read.max_length), (Told::Nothing, None, None));
    assert_eq!((i64::from(read.multiple_of), read.max_waste), (MULTIPLE_OF, MAX_WASTE));
    let values: Vec<_> = read.inputs.iter().map(|input| (input.dimension, input.value)).collect();
    assert_eq!(values, [(None, Number::Real(-1.5)), (None, Number::Whole(1))]);
}

#[test]
fn what_contradicts_itself_is_placed() {
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"m\"\nlength = \"n\"\ninputs.x = {}\n"),
        @"cresset.toml, line 3: length beside mask: one of them tells the model what is padding; leave the other out"
    );
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"m\"\nunmarked = true\ninputs.x = {}\n"),
        @"cresset.toml, line 3: unmarked = true beside mask or length, which tells the model what is padding; leave one out"
    );
    insta::assert_snapshot!(
        refused("\n[padding]\ninputs.x = {}\n"),
        @"cresset.toml, line 2: [padding] names neither mask nor length, so nothing tells the model what is padding; if its answers don't depend on that, unmarked = true says so"
    );
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"m\"\n"),
        @"cresset.toml, line 1: [padding.inputs] names no input: at least one was expected"
    );
    insta::assert_snapshot!(
        refused("[padding]\nmask = \"m\"\ninputs.x = {}\ninputs.m = {}\n"),
        @"cresset.toml, line 4: 'm' is the mask and needs no entry in [padding.inputs]"
    );
}

#[test]
fn numbers_are_checked() {
    insta::assert_snapshot!(refused("[batching]\nmax_elements = 0\n"), @"cresset.toml, line 2: max_elements is 0: 1 or more was expected");
    insta::assert_snapshot!(replaced("multiple_of", "multiple_of = 0"), @"cresset.toml, line 3: multiple_of is 0: 1 or more was expected");
    insta::assert_snapshot!(replaced("multiple_of", "multiple_of = 4294967296"), @"cresset.toml, line 3: multiple_of is 4294967296: at most 4294967295 was expected");
    insta::assert_snapshot!(replaced("max_length", "max_length = -2"), @"cresset.toml, line 4: max_length is -2: 1 or more was expected");
    insta::assert_snapshot!(replaced("max_waste", "max_waste = 1.5"), @"cresset.toml, line 5: max_waste is 1.5: a share from 0 to 1 was expected");
    insta::assert_snapshot!(replaced("max_waste", "max_waste = nan"), @"cresset.toml, line 5: max_waste is NaN: a share from 0 to 1 was expected");
    insta::assert_snapshot!(replaced("dimension", "dimension = -1"), @"cresset.toml, line 7: dimension is -1: a place among the dims of config.pbtxt was expected, from 0");
    insta::assert_snapshot!(replaced("value", "value = \"x\""), @"cresset.toml, line 8: value is a string: a number was expected");
    insta::assert_snapshot!(replaced("hidden", "hidden = -1"), @"cresset.toml, line 10: dimension is -1: a place among the dims of config.pbtxt was expected, from 0");
    insta::assert_snapshot!(replaced("attention", "attention = [\"a\"]"), @"cresset.toml, line 11: dimension is a string: a whole number was expected");
    insta::assert_snapshot!(replaced("value", "pad = 0"), @"cresset.toml, line 8: unknown key 'pad', expected 'dimension' or 'value'");
}
