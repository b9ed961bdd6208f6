use super::*;
use cresset_backend::{Argument, ArgumentKind, Scalar};
use cresset_protocol::Datatype;

fn signature(arguments: &[(&str, ArgumentKind)]) -> Signature {
    let argument = |(name, kind): &(&str, ArgumentKind)| Argument {
        name: (*name).to_owned(),
        kind: kind.clone(),
        optional: false,
    };
    Signature { arguments: arguments.iter().map(argument).collect(), ..Signature::default() }
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
        optional: false,
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
        "input 'y__1' refers to argument 'b', as an input before it does"
    );
    assert_eq!(
        failure(&["x__99999999999999999999", "x__0"], &["a", "b"]),
        "the index in 'x__99999999999999999999' is too large"
    );
}

#[test]
fn one_dictionary_takes_the_names_as_keys() {
    let dictionary = signature(&[("batch", ArgumentKind::Dict(Box::new(ArgumentKind::Tensor)))]);
    let binding = Binding::new(&config(&["ids", "mask", "types"], &[]), &dictionary).unwrap();
    assert!(!binding.open);
    assert_eq!(binding.inputs.len(), 3);
    assert_eq!(binding.inputs[2].name, "types");
    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &dictionary).unwrap();
    assert!(undeclared.open && undeclared.inputs.is_empty());
    assert_eq!(&*undeclared.find_open("ids").unwrap().place, "batch.ids");
}

#[test]
fn beside_a_dictionary_names_tell_arguments_from_keys() {
    use ArgumentKind::Tensor;
    let dict = || ArgumentKind::Dict(Box::new(Tensor));
    let forward = signature(&[("x", Tensor), ("d", dict()), ("y", Tensor)]);
    let binding = Binding::new(&config(&["left", "y", "x", "right"], &[]), &forward).unwrap();
    let bound: Vec<_> = binding.inputs.iter().map(|input| (&*input.name, input.argument)).collect();
    assert_eq!(bound, [("x", 0), ("left", 1), ("right", 1), ("y", 2)]);
    // A key may have the name of the dictionary itself.
    assert!(Binding::new(&config(&["x", "d", "y"], &[]), &forward).is_ok());

    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &forward).unwrap();
    assert_eq!((undeclared.open, undeclared.inputs.len()), (true, 2));

    let failure = |inputs: &[&str]| Binding::new(&config(inputs, &[]), &forward).unwrap_err().to_string();
    assert_eq!(
        failure(&["x", "left"]),
        "no input is configured for the argument 'y' of forward(x, d, y): inputs have the names of its arguments, \
         those within lists, tuples and dictionaries as ARGUMENT.INDEX, ARGUMENT.FIELD and ARGUMENT.KEY"
    );
    assert!(failure(&["x", "y"]).starts_with("no input is configured for the values of the argument 'd'"));
}

/// `forward` with some arguments that may be left out.
fn forward(kinds: &[(&str, ArgumentKind, bool)]) -> Signature {
    let mut signature = signature(&kinds.iter().map(|(n, k, _)| (*n, k.clone())).collect::<Vec<_>>());
    for (argument, (_, _, optional)) in signature.arguments.iter_mut().zip(kinds) {
        argument.optional = *optional;
    }
    signature
}

/// Each input's place, and whether a request must bring it.
fn places(config: &ModelConfig, signature: &Signature) -> Result<Vec<(String, Presence)>, String> {
    let binding = Binding::new(config, signature).map_err(|error| error.to_string())?;
    Ok(binding.inputs.iter().map(|input| (input.place.to_string(), input.presence)).collect())
}

fn in_order(places: &[(&str, Presence)]) -> Result<Vec<(String, Presence)>, String> {
    Ok(places.iter().map(|(place, presence)| ((*place).to_owned(), *presence)).collect())
}

#[test]
fn any_argument_may_be_left_to_its_default() {
    use Presence::{Optional, Required};
    let scale = ArgumentKind::Scalar(Scalar::Float);
    let optional = forward(&[
        ("x", ArgumentKind::Tensor, false),
        ("mask", ArgumentKind::Tensor, true),
        ("bias", ArgumentKind::Tensor, true),
        ("scale", scale.clone(), true),
        ("late", ArgumentKind::Tensor, true),
    ]);
    let bind = |inputs: &[&str]| places(&config(inputs, &[]), &optional);
    // A number needn't be configured, and may come all the same.
    assert_eq!(bind(&["x"]), in_order(&[("x", Required), ("scale", Optional)]));
    assert_eq!(bind(&["bias", "x"]), in_order(&[("x", Required), ("bias", Required), ("scale", Optional)]));
    assert_eq!(bind(&["x", "mask", "bias", "late"]).unwrap().last(), Some(&("late".to_owned(), Required)));
    let mut some = config(&["x", "mask", "scale"], &[]);
    some.inputs[1].optional = true;
    some.inputs[2].dims = vec![1];
    assert_eq!(
        places(&some, &optional),
        in_order(&[("x", Required), ("mask", Optional), ("scale", Required)])
    );
    some.inputs[0].optional = true;
    assert_eq!(
        places(&some, &optional),
        Err("input 'x' is optional, but forward's argument 'x' has no default and can't be None".to_owned())
    );
    assert_eq!(
        places(&config(&["mask"], &[]), &optional).unwrap_err(),
        "no input is configured for the argument 'x' of forward(x, mask, bias, scale, late): inputs have the names \
         of its arguments, those within lists, tuples and dictionaries as ARGUMENT.INDEX, ARGUMENT.FIELD and \
         ARGUMENT.KEY"
    );
    // A number without a default: each request brings it, as an input or as a parameter.
    let needed = forward(&[("x", ArgumentKind::Tensor, false), ("scale", scale, false)]);
    assert_eq!(places(&config(&["x"], &[]), &needed), in_order(&[("x", Required), ("scale", Required)]));
}

#[test]
fn values_within_arguments_have_places_of_their_own() {
    use Presence::{Optional, Required, WithOthers};
    let tensor = || ArgumentKind::Tensor;
    let pair = || ArgumentKind::Tuple(vec![tensor(), ArgumentKind::Optional(Box::new(tensor()))]);
    let signature = forward(&[
        ("x", tensor(), false),
        ("state", pair(), false),
        ("more", pair(), true),
        ("named", ArgumentKind::Named(vec![("h".to_owned(), tensor())]), false),
        ("list", ArgumentKind::List(Box::new(tensor())), false),
        ("dict", ArgumentKind::Dict(Box::new(pair())), true),
    ]);
    let undeclared = ModelConfig::undeclared("m");
    assert_eq!(
        places(&undeclared, &signature),
        in_order(&[
            ("x", Required),
            ("state.0", Required),
            ("state.1", Optional),
            ("more.0", WithOthers),
            ("more.1", Optional),
            ("named.h", Required)
        ])
    );
    let binding = Binding::new(&undeclared, &signature).unwrap();
    for open in ["list.0", "list.17", "dict.a.0", "dict.a.1"] {
        assert_eq!(&*binding.find_open(open).unwrap().place, open);
    }
    for other in
        ["list", "list.", "list.0.", "x.", "list.x", "list.01", "dict.a", "dict.a.2", "state.2", "list.0.0"]
    {
        assert_eq!(binding.find_open(other), None, "{other}");
    }
    let lacks = |places: &[&str]| binding.lacks(places.iter().copied());
    let many: Vec<String> = (0..12).map(|index| format!("list.{index}")).collect();
    assert_eq!(lacks(&many.iter().map(String::as_str).collect::<Vec<_>>()), None);
    assert_eq!(lacks(&["list.0", "list.1", "dict.a.0", "state.0"]), None);
    assert_eq!(lacks(&["list.0", "list.2"]), Some(Lack::Before("list.1".to_owned())));
    assert_eq!(lacks(&["list.10", "list.9"]), Some(Lack::Before("list.0".to_owned())));
    assert_eq!(lacks(&["dict.a.1"]), Some(Lack::Beside("dict.a.0".to_owned())));
    assert_eq!(lacks(&["more.1"]), Some(Lack::Beside("more.0".to_owned())));

    let failure = |inputs: &[&str]| places(&config(inputs, &[]), &signature).unwrap_err();
    let whole = ["x", "state.0", "named.h", "list.0"];
    assert!(places(&config(&whole, &[]), &signature).is_ok());
    assert!(
        failure(&["x", "state.0", "named.h", "list.1"]).starts_with("no input is configured for 'list.0'")
    );
    assert!(failure(&["x", "state.1", "named.h", "list.0"]).contains("the argument 'state.0'"));
    assert!(failure(&["x", "state.0", "named.h", "more.1"]).contains("the argument 'more.0'"));
    assert!(failure(&["x", "state.0", "named.h", "dict.a.0"]).contains("the values of the argument 'list'"));
    assert_eq!(
        failure(&["x__0", "s__1", "n__3", "l__4"]),
        "input 's__1' refers to the argument 'state', which is of type 'Tuple[Tensor, Optional[Tensor]]'"
    );
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_way_out_unless_it_has_a_default() {
    let other = || ArgumentKind::Tuple(vec![ArgumentKind::Tensor, ArgumentKind::Other("Device".to_owned())]);
    let fine = forward(&[("x", ArgumentKind::Tensor, false), ("where", other(), true)]);
    assert_eq!(places(&ModelConfig::undeclared("m"), &fine), in_order(&[("x", Presence::Required)]));
    let not = forward(&[("x", ArgumentKind::Tensor, false), ("where", other(), false)]);
    assert_eq!(
        places(&ModelConfig::undeclared("m"), &not).unwrap_err(),
        "forward's argument 'where' is of type 'Tuple[Tensor, Device]' and has no default: 'Device' can't be sent, \
         but tensors, numbers, strings, and lists, tuples and dictionaries of them can. Save the module within \
         another one, whose forward takes what can be sent and makes 'where' of it"
    );
}

#[test]
fn numbers_are_of_their_kind_and_one() {
    let signature = forward(&[
        ("n", ArgumentKind::Scalar(Scalar::Int), false),
        ("l", ArgumentKind::Numbers(Scalar::Float), false),
    ]);
    let bind = |datatype: Datatype, dims: &[i64]| {
        let mut config = config(&["n", "l"], &[]);
        (config.inputs[0].datatype, config.inputs[0].dims) = (datatype, dims.to_vec());
        places(&config, &signature).map(|_| ())
    };
    assert_eq!(bind(Datatype::Int32, &[1]), Ok(()));
    assert_eq!(
        bind(Datatype::Fp32, &[1]).unwrap_err(),
        "forward's argument 'n' takes int: expected a datatype of whole numbers for input 'n', got FP32"
    );
    assert_eq!(
        bind(Datatype::Int64, &[3]).unwrap_err(),
        "forward's argument 'n' is one int: expected dims: [ 1 ] for input 'n', got [3]"
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
        assert_eq!([binding.inputs[0].leaf, binding.inputs[1].leaf], [Leaf::Strings, Leaf::Tensor]);
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
fn keys_of_two_dictionaries_are_told_apart_by_their_arguments() {
    let dict = || ArgumentKind::Dict(Box::new(ArgumentKind::Tensor));
    let forward = signature(&[("d", dict()), ("e", dict())]);
    let binding = Binding::new(&config(&["e.x", "d.x"], &[]), &forward).unwrap();
    let bound: Vec<_> = binding.inputs.iter().map(|input| (&*input.place, input.argument)).collect();
    assert_eq!(bound, [("d.x", 0), ("e.x", 1)]);
    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &forward).unwrap();
    assert_eq!(undeclared.find_open("x"), None);
    assert_eq!(&*undeclared.find_open("e.a.b").unwrap().place, "e.a.b");
}

#[test]
fn without_a_configuration_the_file_names_the_inputs() {
    let binding = Binding::new(&ModelConfig::undeclared("m"), &tensors(&["x", "y"])).unwrap();
    assert_eq!(
        binding.inputs[1],
        BoundInput {
            name: "y".to_owned(),
            place: Arc::from("y"),
            argument: 1,
            leaf: Leaf::Tensor,
            presence: Presence::Required,
            spec: None
        }
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
