//! Operators that libtorch doesn't have: torchvision's, beside Python's
//! answers, and those of users' own libraries. `scripts/models/operator_fixtures.py`
//! makes the models.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::server::{Server, checkout, command, post};

/// torchvision's, and its detectors.
const MODELS: [&str; 11] = [
    "nms",
    "batched_nms",
    "roi_align",
    "roi_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "deform_conv2d",
    "faster_rcnn",
    "mask_rcnn",
    "ssd",
    "retinanet",
];

/// Asks for `cresset_test::twice`.
const TWICE: &str = "twice";

fn put(root: &Path, name: &str, file: &str) {
    std::fs::create_dir_all(root.join(name).join("1")).unwrap();
    let file = checkout("tests/operators").join(format!("{file}.pt"));
    std::fs::copy(file, root.join(name).join("1/model.pt")).unwrap();
}

fn configure(root: &Path, name: &str, library: &str) {
    let config = format!("model_operations {{ op_library_filename: [ \"{library}\" ] }}");
    std::fs::write(root.join(name).join("config.pbtxt"), config).unwrap();
}

/// What a server that can't serve anything says.
fn refused(root: &Path, arguments: &[&str]) -> String {
    let output = command(root, arguments).stderr(Stdio::piped()).stdout(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether each number is what it should be, up to rounding.
fn assert_near(name: &str, got: &Value, expected: &Value) {
    assert_eq!(got["shape"], expected["shape"], "{name}");
    assert_eq!(got["datatype"], expected["datatype"], "{name}");
    let numbers = |tensor: &Value| -> Vec<f64> {
        tensor["data"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (got, expected) = (numbers(got), numbers(expected));
    let most = expected.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
    assert_eq!(got.len(), expected.len(), "{name}");
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 5e-5 * most, "{name}: {got} is not {expected}");
    }
}

#[tokio::test]
async fn torchvisions_operators_and_detectors_answer_as_in_python() {
    let root = tempfile::tempdir().unwrap();
    MODELS.iter().for_each(|name| put(root.path(), name, name));
    let text = std::fs::read(checkout("tests/operators/references.json")).unwrap();
    let references: Value = serde_json::from_slice(&text).unwrap();
    let server = Server::start(root.path(), &[]);
    for name in MODELS {
        let mut inputs = references[name]["inputs"].clone();
        if inputs == json!([]) {
            let mut picture = references["picture"].clone();
            picture["name"] = json!("x");
            inputs = json!([picture]);
        }
        let url = server.url(&format!("/v2/models/{name}/infer"));
        let expected = references[name]["outputs"].as_array().unwrap();
        // The executor rewrites the code behind the first runs.
        for _ in 0..3 {
            let (status, answer) = post(&url, json!({ "inputs": inputs }).to_string()).await;
            assert_eq!(status, 200, "{name}: {answer}");
            let outputs = answer["outputs"].as_array().unwrap();
            assert_eq!(outputs.len(), expected.len(), "{name}");
            for (got, expected) in outputs.iter().zip(expected) {
                assert_near(name, got, expected);
            }
        }
    }
}

#[tokio::test]
async fn boxes_that_overlap_are_suppressed() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "nms", "nms");
    let server = Server::start(root.path(), &[]);
    let request = json!({"inputs": [
        {"name": "boxes", "datatype": "FP32", "shape": [3, 4],
         "data": [0.0, 0.0, 10.0, 10.0, 0.0, 0.0, 10.0, 9.0, 20.0, 20.0, 30.0, 30.0]},
        {"name": "scores", "datatype": "FP32", "shape": [3], "data": [0.5, 0.6, 0.7]}
    ]});
    let (status, answer) = post(&server.url("/v2/models/nms/infer"), request.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["outputs"],
        json!([{"name": "OUTPUT__0", "datatype": "INT64", "shape": [2], "data": [2, 1]}])
    );
}

/// Compiles a library; `None` if this machine has no compiler.
fn compile(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> Option<PathBuf> {
    let (code, library) = (folder.join(format!("{name}.cc")), folder.join(name));
    std::fs::write(&code, source).unwrap();
    let mut compiler = Command::new("g++");
    compiler.args(["-std=c++17", "-shared", "-fPIC", "-O0", "-o"]).arg(&library).arg(&code).args(arguments);
    match compiler.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(_) => None,
    }
}

const OWN: &str = r#"
    #include <torch/library.h>
    #include <ATen/ops/add.h>
    static at::Tensor twice(const at::Tensor& x) { return at::add(x, x); }
    TORCH_LIBRARY(cresset_test, library) { library.def("twice(Tensor x) -> Tensor", &twice); }
"#;

/// A user's own library, as torch's tools build one: it needs Python's part of
/// torch by name.
fn own_library(folder: &Path) -> Option<PathBuf> {
    let torch = Path::new(option_env!("LIBTORCH").unwrap_or(".libtorch"));
    let torch = checkout(&torch.to_string_lossy());
    let (include, lib) = (torch.join("include"), torch.join("lib"));
    let include = format!("-I{}", include.display());
    let (lib, stand_ins) =
        (format!("-L{}", lib.display()), format!("-L{}", lib.join("torchvision").display()));
    let arguments = [
        &*include,
        &*lib,
        &*stand_ins,
        "-Wl,--no-as-needed",
        "-lc10",
        "-ltorch_cpu",
        "-ltorch",
        "-ltorch_python",
    ];
    compile(folder, "libown.so", OWN, &arguments)
}

async fn assert_doubles(server: &Server, name: &str) {
    let request =
        json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1.0, 2.5, -3.0]}]});
    let (status, answer) = post(&server.url(&format!("/v2/models/{name}/infer")), request.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 5.0, -6.0]));
}

#[tokio::test]
async fn a_users_library_is_opened_for_its_model_or_for_all() {
    let work = tempfile::tempdir().unwrap();
    let Some(library) = own_library(work.path()) else { return };
    let root = tempfile::tempdir().unwrap();

    put(root.path(), TWICE, TWICE);
    let error = refused(root.path(), &[]);
    assert!(
        error.contains("unknown operator cresset_test::twice: if a library brings it, name that"),
        "{error}"
    );

    let all = Server::start(root.path(), &["--op-library", library.to_str().unwrap()]);
    assert_doubles(&all, TWICE).await;
    drop(all);

    // Two models, each with a copy of its own, and torchvision's behind them.
    for name in ["a", "b"] {
        put(root.path(), name, TWICE);
        std::fs::create_dir(root.path().join(name).join("lib")).unwrap();
        std::fs::copy(&library, root.path().join(name).join("lib/libown.so")).unwrap();
        configure(root.path(), name, "lib/libown.so");
    }
    put(root.path(), "c_nms", "nms");
    // Another library with the same operator would end the process.
    put(root.path(), "d", TWICE);
    let mut other = std::fs::read(&library).unwrap();
    other.push(0);
    std::fs::write(root.path().join("d/libother.so"), other).unwrap();
    configure(root.path(), "d", "libother.so");
    let server = Server::start(root.path(), &[]);
    for name in ["a", "b"] {
        assert_doubles(&server, name).await;
    }
    assert!(server.announced.contains("c_nms version 1: cpu"), "{}", server.announced);
    let line = server.announced.lines().find(|line| line.contains("NOT served: d")).unwrap();
    assert!(line.contains("the library of operators 'libother.so' can't be opened"), "{line}");
    assert!(line.contains("cresset_test"), "what the initialiser threw: {line}");
    assert!(!line.contains(root.path().to_str().unwrap()), "no path of the server's: {line}");
}

#[tokio::test]
async fn a_library_that_can_not_be_opened_takes_its_model_out_of_service_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "good", "nms");
    let text = |name: &str| {
        put(root.path(), name, TWICE);
        configure(root.path(), name, "lib.so");
        root.path().join(name).join("lib.so")
    };
    let mut expected = vec![("missing", "'lib.so' is missing")];
    text("missing");
    std::fs::write(text("no_library"), "#!/bin/sh\n").unwrap();
    expected.push(("no_library", "file too short"));
    std::fs::write(text("other"), [0x5a; 4096]).unwrap();
    expected.push(("other", "invalid ELF header"));
    std::fs::create_dir(text("folder")).unwrap();
    expected.push(("folder", "it is not a file"));
    for (name, source, reason) in [
        (
            "torch",
            "namespace at { void none(); } extern \"C\" void f() { at::none(); }",
            "build it for libtorch",
        ),
        ("python", "extern \"C\" void PyErr_None(); void f() { PyErr_None(); }", "is_python_module=False"),
        (
            "aborts",
            "#include <cstdlib>\n__attribute__((constructor)) void f() { abort(); }",
            "end the process",
        ),
        (
            "throws",
            "#include <stdexcept>\nint f() { throw std::runtime_error(\"no licence\"); } int g = f();",
            "no licence",
        ),
        (
            "leaves",
            "#include <cstdlib>\n__attribute__((constructor)) void f() { _Exit(9); }",
            "exit status: 9",
        ),
    ] {
        let library = text(name);
        if compile(library.parent().unwrap(), "lib.so", source, &[]).is_some() {
            expected.push((name, reason));
        }
    }
    let server = Server::start(root.path(), &[]);
    for (name, reason) in expected {
        let line =
            server.announced.lines().find(|line| line.contains(&format!("NOT served: {name}: "))).unwrap();
        assert!(line.contains("the library of operators 'lib.so'") && line.contains(reason), "{line}");
        assert!(!line.contains(root.path().to_str().unwrap()), "no path of the server's: {line}");
    }
    assert!(server.announced.contains("good version 1: cpu"), "{}", server.announced);
    drop(server);

    let error = refused(root.path(), &["--op-library", "/nowhere/lib.so"]);
    assert!(
        error.contains("--op-library /nowhere/lib.so: the library of operators 'lib.so' can't be opened"),
        "{error}"
    );
}

#[test]
fn without_torchvisions_library_the_reason_says_so_and_what_to_do() {
    // libtorch's folder, but for that.
    let torch = tempfile::tempdir().unwrap();
    let lib = checkout(option_env!("LIBTORCH").unwrap_or(".libtorch")).join("lib");
    for entry in std::fs::read_dir(lib).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "torchvision" {
            std::os::unix::fs::symlink(entry.path(), torch.path().join(entry.file_name())).unwrap();
        }
    }
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "nms", "nms");
    let mut command = command(root.path(), &[]);
    let output =
        command.env("LD_LIBRARY_PATH", torch.path()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let error = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(error.contains("unknown operator torchvision::nms: torchvision's operators"), "{error}");
    assert!(error.contains("aren't beside this libtorch; run scripts/libtorch anew"), "{error}");
    assert!(error.contains("--op-library PATH"), "{error}");
}
