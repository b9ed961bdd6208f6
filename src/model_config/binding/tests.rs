use super::*;
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
    assert!(binding.dictionary);
    assert_eq!(binding.inputs.len(), 3);
    assert_eq!(binding.inputs[2].name, "types");
    let undeclared = Binding::new(&ModelConfig::undeclared("m"), &dictionary).unwrap();
    assert!(undeclared.dictionary && undeclared.inputs.is_empty());
}

#[test]
fn other_arguments_are_refused() {
    let failure = |arguments: &[(&str, ArgumentKind)]| {
        Binding::new(&ModelConfig::undeclared("m"), &signature(arguments)).unwrap_err().to_string()
    };
    assert_eq!(
        failure(&[("x", ArgumentKind::Tensor), ("d", ArgumentKind::TensorDict)]),
        "multiple inputs of kind DictType were detected: \
         only a single input of type Dict(str, Tensor) is supported"
    );
    assert_eq!(
        failure(&[("d", ArgumentKind::TensorDict), ("x", ArgumentKind::Tensor)]),
        "an input of type 'Dict(str, Tensor)' was detected in the model (forward's argument 'd'): \
         only a single input of type Dict(str, Tensor) or input(s) of type Tensor are supported"
    );
    assert_eq!(
        failure(&[("n", ArgumentKind::Other("int".to_owned()))]),
        "an input of type 'int' was detected in the model (forward's argument 'n'): \
         only a single input of type Dict(str, Tensor) or input(s) of type Tensor are supported"
    );
    assert_eq!(
        failure(&[("s", ArgumentKind::Strings)]),
        "forward's argument 's' is of type 'List[str]': string tensors are not served yet"
    );
}

#[test]
fn without_a_configuration_the_file_names_the_inputs() {
    let binding = Binding::new(&ModelConfig::undeclared("m"), &tensors(&["x", "y"])).unwrap();
    assert_eq!(binding.inputs[1], BoundInput { name: "y".to_owned(), argument: 1, spec: None });
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
