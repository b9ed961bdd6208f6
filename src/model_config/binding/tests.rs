use super::*;
use crate::backend::Argument;
use crate::protocol::Datatype;

fn signature(arguments: &[(&str, ArgumentKind)]) -> Signature {
    let argument = |(name, kind): &(&str, ArgumentKind)| Argument {
        name: (*name).to_owned(),
        kind: kind.clone(),
        has_default: false,
    };
    Signature { arguments: arguments.iter().map(argument).collect(), stateful: None, notes: Vec::new() }
}

fn tensors(names: &[&str]) -> Signature {
    let arguments: Vec<_> = names.iter().map(|name| (*name, ArgumentKind::Tensor)).collect();
    signature(&arguments)
}

fn config(inputs: &[&str], outputs: &[&str]) -> ModelConfig {
    let tensor = |name: &&str| TensorConfig {
        name: (*name).to_owned(),
        datatype: Datatype::Fp32,
        dims: vec![-1],
        reshape: None,
        label_filename: None,
        labels: Default::default(),
    };
    ModelConfig {
        inputs: inputs.iter().map(tensor).collect(),
        outputs: outputs.iter().map(tensor).collect(),
        declared: true,
        ..ModelConfig::undeclared("m")
    }
}

fn bind(inputs: &[&str], arguments: &[&str]) -> Result<(Vec<String>, NamingConvention), String> {
    let binding = Binding::new(&config(inputs, &["y"]), &tensors(arguments));
    let binding = binding.map_err(|error| error.to_string())?;
    let positions: Vec<usize> = binding.inputs.iter().map(|input| input.argument).collect();
    assert_eq!(positions, (0..arguments.len()).collect::<Vec<_>>());
    Ok((binding.inputs.into_iter().map(|input| input.name).collect(), binding.convention))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn names_of_arguments_bind_in_any_order() {
    let bound = bind(&["b", "a"], &["a", "b"]);
    assert_eq!(bound, Ok((names(&["a", "b"]), NamingConvention::ForwardArgument)));
    // An argument's own name goes before the index in it.
    let bound = bind(&["x__1", "x__0"], &["x__1", "x__0"]);
    assert_eq!(bound, Ok((names(&["x__1", "x__0"]), NamingConvention::ForwardArgument)));
}

#[test]
fn indices_bind_in_any_order() {
    let bound = bind(&["INPUT__1", "INPUT__0"], &["a", "b"]);
    assert_eq!(bound, Ok((names(&["INPUT__0", "INPUT__1"]), NamingConvention::NamedIndex)));
    let bound = bind(&["x__01", "y__"], &["a", "b"]);
    assert_eq!(bound, Ok((names(&["y__", "x__01"]), NamingConvention::NamedIndex)));
}

#[test]
fn mixtures_fall_to_the_order_of_the_configuration() {
    for inputs in [["b", "INPUT__0"], ["INPUT__1", "a"], ["p", "q"], ["a__x", "b__0"], ["a__0__1", "b__0"]] {
        let bound = bind(&inputs, &["a", "b"]);
        assert_eq!(bound, Ok((names(&inputs), NamingConvention::StrictOrder)), "{inputs:?}");
    }
    let binding = Binding::new(&config(&["b", "INPUT__0"], &[]), &tensors(&["a", "b"])).unwrap();
    assert_eq!(
        binding.warning().unwrap(),
        "inputs 'b', 'INPUT__0' are neither all of forward's arguments nor all <name>__<index>: \
         bound in the configuration's order"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let failure = |inputs: &[&str], arguments: &[&str]| bind(inputs, arguments).unwrap_err();
    assert_eq!(
        failure(&["a"], &["a", "b"]),
        "unable to load model 'm', configuration expects 1 inputs, model provides 2: forward(a, b)"
    );
    assert_eq!(
        failure(&["x__0", "x__2"], &["a", "b"]),
        "input 'x__2' refers to an argument which doesn't exist: this model has 2 arguments, from 0"
    );
    assert_eq!(
        failure(&["x__1", "y__1"], &["a", "b"]),
        "input 'y__1' refers to argument 1, as an input before it does"
    );
    assert_eq!(
        failure(&["x__99999999999999999999", "x__0"], &["a", "b"]),
        "the index in 'x__99999999999999999999' is too large"
    );
}

#[test]
fn one_dictionary_takes_the_names_as_keys() {
    let dictionary = signature(&[("batch", ArgumentKind::TensorDict)]);
    let binding = Binding::new(&config(&["ids", "mask", "types"], &[]), &dictionary).unwrap();
    assert_eq!(binding.open_keys, None);
    assert_eq!(binding.inputs.len(), 3);
    assert_eq!(binding.inputs[2].name, "types");
    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &dictionary).unwrap();
    assert_eq!((undeclared.open_keys, undeclared.inputs), (Some(0), vec![]));
}

#[test]
fn beside_a_dictionary_names_tell_arguments_from_keys() {
    use ArgumentKind::{Tensor, TensorDict};
    let forward = signature(&[("x", Tensor), ("d", TensorDict), ("y", Tensor)]);
    let binding = Binding::new(&config(&["left", "y", "x", "right"], &[]), &forward).unwrap();
    let bound: Vec<_> = binding.inputs.iter().map(|input| (&*input.name, input.argument)).collect();
    assert_eq!(bound, [("x", 0), ("left", 1), ("right", 1), ("y", 2)]);
    // A key may have the name of the dictionary itself.
    assert!(Binding::new(&config(&["x", "d", "y"], &[]), &forward).is_ok());

    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &forward).unwrap();
    assert_eq!((undeclared.open_keys, undeclared.inputs.len()), (Some(1), 2));

    let failure = |inputs: &[&str]| Binding::new(&config(inputs, &[]), &forward).unwrap_err().to_string();
    assert_eq!(
        failure(&["x", "left"]),
        "no input is configured for the argument 'y' of forward(x, d, y): beside a dictionary, inputs have the \
         names of the other arguments or are its keys"
    );
    assert!(failure(&["x", "y"]).starts_with("no input is configured for keys of the dictionary 'd'"));
}

#[test]
fn the_last_arguments_may_be_left_to_their_defaults() {
    let forward = |kinds: &[(&str, ArgumentKind, bool)]| {
        let mut signature = signature(&kinds.iter().map(|(n, k, _)| (*n, k.clone())).collect::<Vec<_>>());
        for (argument, (_, _, has_default)) in signature.arguments.iter_mut().zip(kinds) {
            argument.has_default = *has_default;
        }
        signature
    };
    let float = ArgumentKind::Other("float".to_owned());
    let optional = forward(&[
        ("x", ArgumentKind::Tensor, false),
        ("mask", ArgumentKind::Tensor, true),
        ("bias", ArgumentKind::Tensor, true),
        ("scale", float.clone(), true),
        ("late", ArgumentKind::Tensor, true),
    ]);
    let bind = |inputs: &[&str]| {
        let binding = Binding::new(&config(inputs, &[]), &optional).map_err(|error| error.to_string())?;
        Ok::<_, String>(binding.inputs.into_iter().map(|input| input.name).collect::<Vec<_>>())
    };
    assert_eq!(bind(&["x"]), Ok(names(&["x"])));
    assert_eq!(bind(&["mask", "x"]), Ok(names(&["x", "mask"])));
    assert_eq!(
        bind(&["x", "bias"]),
        Err("input 'bias' is an argument behind 'mask', which no input is configured for: only the last \
             arguments may be left to their defaults"
            .to_owned())
    );
    assert_eq!(
        bind(&["x", "mask", "bias", "late"]),
        Err("unable to load model 'm', configuration expects 4 inputs, model provides 3: forward(x, mask, bias)"
            .to_owned())
    );
    let needed = forward(&[("x", ArgumentKind::Tensor, false), ("scale", float, false)]);
    assert_eq!(
        Binding::new(&config(&["x"], &[]), &needed).unwrap_err().to_string(),
        "forward's argument 'scale' is of type 'float' and has no default: only arguments of type Tensor, \
         List[str] and Dict[str, Tensor] can be sent"
    );
}

#[test]
fn strings_go_to_lists_of_strings_and_nothing_else_does() {
    let forward = signature(&[("words", ArgumentKind::Strings), ("x", ArgumentKind::Tensor)]);
    let bind = |max_batch_size: u32, dims: &[i64], reshape: Option<&[i64]>, datatypes: [Datatype; 2]| {
        let mut config = config(&["words", "x"], &[]);
        config.max_batch_size = max_batch_size;
        config.inputs[0].dims = dims.to_vec();
        config.inputs[0].reshape = reshape.map(<[i64]>::to_vec);
        for (input, datatype) in config.inputs.iter_mut().zip(datatypes) {
            input.datatype = datatype;
        }
        Binding::new(&config, &forward).map_err(|error| error.to_string())
    };
    let right = [Datatype::Bytes, Datatype::Fp32];
    for (batch, dims, reshape) in [
        (8, &[1][..], None),
        (8, &[1], Some(&[][..])),
        (8, &[1, 1], None),
        (0, &[-1], None),
        (0, &[5], None),
        (0, &[-1, 1], None),
    ] {
        let binding = bind(batch, dims, reshape, right).unwrap();
        assert!(binding.inputs[0].strings && !binding.inputs[1].strings);
    }
    assert_eq!(
        bind(8, &[2], None, right).unwrap_err(),
        "forward's argument 'words' is a list of strings, which has no shape: expected one string for each row, \
         as dims: [ 1 ] for input 'words', got [2]"
    );
    assert_eq!(
        bind(0, &[2, -1], None, right).unwrap_err(),
        "forward's argument 'words' is a list of strings, which has no shape: expected one dimension for input \
         'words', got [2, -1]"
    );
    assert_eq!(
        bind(8, &[1], None, [Datatype::Fp32; 2]).unwrap_err(),
        "forward's argument 'words' takes strings (List[str]): expected TYPE_STRING for input 'words', got FP32"
    );
    assert_eq!(
        bind(8, &[1], None, [Datatype::Bytes; 2]).unwrap_err(),
        "forward's argument 'x' takes tensors: expected a datatype of numbers for input 'x', got BYTES"
    );
}

#[test]
fn two_dictionaries_are_refused() {
    let forward = signature(&[("d", ArgumentKind::TensorDict), ("e", ArgumentKind::TensorDict)]);
    assert_eq!(
        Binding::new(&ModelConfig::undeclared("m"), &forward).unwrap_err().to_string(),
        "forward's argument 'e' is a second dictionary: nothing tells its keys from the first one's"
    );
}

#[test]
fn without_a_configuration_the_file_names_the_inputs() {
    let binding = Binding::new(&ModelConfig::undeclared("m"), &tensors(&["x", "y"])).unwrap();
    assert_eq!(
        binding.inputs[1],
        BoundInput { name: "y".to_owned(), argument: 1, strings: false, optional: false, spec: None }
    );
    assert_eq!(binding.outputs, []);
    assert_eq!(binding.warning(), None);
    assert_eq!(output_name(1, None), "OUTPUT__1");
    assert_eq!(output_name(1, Some("logits")), "logits");
}

#[test]
fn outputs_bind_by_index_or_by_order() {
    let indices = |outputs: &[&str]| -> Vec<usize> {
        let binding = Binding::new(&config(&[], outputs), &tensors(&["x"])).unwrap();
        binding.outputs.into_iter().map(|output| output.index).collect()
    };
    assert_eq!(indices(&["OUTPUT__1", "OUTPUT__0"]), [1, 0]);
    // A model's further results may go unnamed.
    assert_eq!(indices(&["OUTPUT__3"]), [3]);
    assert_eq!(indices(&["OUTPUT__1", "logits"]), [0, 1]);
}
