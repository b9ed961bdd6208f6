use super::*;

fn given(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let variable = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
    };
    let read = read(arguments.iter().map(OsString::from), &variable)?;
    let arguments: Vec<_> = read.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    // Said of every command line of that program's, and tested by itself.
    Ok((arguments.join(" ").replace(" --id=triton", ""), read.notes))
}

#[test]
fn a_server_that_is_started_as_triton_is_called_so() {
    let last = |arguments: &[&str], environment: &[(&str, &str)]| {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
        };
        let read = read(arguments.iter().map(OsString::from), &variable).unwrap();
        read.arguments.last().unwrap().to_string_lossy().into_owned()
    };
    assert_eq!(last(&["tritonserver"], &[]), "--id=triton");
    assert_eq!(last(&["cresset", "tritonserver", "--http-port=1"], &[]), "--id=triton");
    assert_eq!(last(&["tritonserver", "--id=mine"], &[]), "--id=mine");
    assert_eq!(last(&["tritonserver"], &[("CRESSET_ID", "mine")]), "serve");
    assert_eq!(last(&["cresset", "serve"], &[]), "serve");
}

fn becomes(arguments: &[&str]) -> String {
    given(arguments, &[]).unwrap().0
}

#[test]
fn serve_may_be_left_out_and_other_commands_stay() {
    assert_eq!(becomes(&["cresset", "--model-repository", "/m"]), "cresset serve --model-repository /m");
    assert_eq!(becomes(&["cresset", "serve", "--http-port=1"]), "cresset serve --http-port=1");
    for own in
        [&["cresset"][..], &["cresset", "--help"], &["cresset", "-V"], &["cresset", "bench", "--log-info=0"]]
    {
        assert_eq!(becomes(own), own.join(" "));
    }
}

#[test]
fn the_server_starts_under_tritons_name() {
    assert_eq!(becomes(&["/opt/tritonserver/bin/tritonserver"]), "/opt/tritonserver/bin/tritonserver serve");
    assert_eq!(becomes(&["tritonserver", "--help"]), "tritonserver serve --help");
    // KServe's runtime; the image's entry point stands before it.
    let kserve = [
        "cresset",
        "tritonserver",
        "--model-store=/mnt/models",
        "--grpc-port=9000",
        "--http-port=8080",
        "--allow-grpc=true",
        "--allow-http=true",
    ];
    assert_eq!(
        becomes(&kserve),
        "cresset serve --model-repository=/mnt/models --grpc-port=9000 --http-port=8080"
    );
}

#[test]
fn a_flag_without_effect_is_told_and_one_that_matters_is_refused() {
    let (arguments, notes) =
        given(&["cresset", "serve", "--model-load-thread-count", "4", "--id=t"], &[]).unwrap();
    assert_eq!(arguments, "cresset serve --id=t");
    assert_eq!(
        notes,
        ["--model-load-thread-count=4 has no effect: models are loaded one after another at start"]
    );
    let refused = |argument| given(&["tritonserver", argument], &[]).unwrap_err();
    assert!(refused("--http-restricted-api=health:k=v").contains("there are no keys"));
    assert!(refused("--allow-metrics=false").starts_with("--allow-metrics=false: the metrics port"));
    assert!(refused("--metrics-config=summary_latencies=maybe").contains("expected true or false"));
    assert!(refused("--metrics-config=all").contains("expected a setting and its value"));
    assert!(refused("--strict-readiness=maybe").contains("expected true or false"));
    assert!(refused("--model-store").contains("lacks its value"));
    assert_eq!(
        becomes(&["tritonserver", "--strict-readiness=0"]),
        "tritonserver serve --strict-readiness=false"
    );
    assert_eq!(becomes(&["tritonserver", "--no-such=1"]), "tritonserver serve --no-such=1");
}

#[test]
fn summaries_are_asked_for_by_tritons_flag() {
    let (arguments, notes) = given(
        &[
            "tritonserver",
            "--metrics-config",
            "summary_latencies=true",
            "--metrics-config=counter_latencies=false",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(arguments, "tritonserver serve --metrics-summaries=true");
    let why = "which series there are is fixed: /metrics shows them";
    assert_eq!(notes, [format!("--metrics-config=counter_latencies=false has no effect: {why}")]);
}

#[test]
fn levels_are_read_together() {
    let log = |flags: &[&str]| {
        let all = [&["tritonserver"], flags].concat();
        becomes(&all).trim_start_matches("tritonserver serve").trim().to_owned()
    };
    assert_eq!(log(&["--log-verbose=0"]), "--log=info");
    assert_eq!(log(&["--log-verbose=2"]), "--log=debug");
    assert_eq!(log(&["--log-verbose=1", "--log-info=true"]), "--log=debug");
    assert_eq!(log(&["--log-info=false"]), "--log=warn");
    assert_eq!(log(&["--log-info=false", "--log-warning=0", "--log-error=off"]), "--log=off");
    assert_eq!(log(&["--log-format=ISO8601"]), "--log-format=human");
    assert_eq!(log(&["--log-format=json"]), "--log-format=json");
}

#[test]
fn addresses_agree() {
    let all =
        ["tritonserver", "--http-address=0.0.0.0", "--grpc-address=0.0.0.0", "--metrics-address=0.0.0.0"];
    assert_eq!(becomes(&all), "tritonserver serve --host=0.0.0.0");
    let apart = given(&["tritonserver", "--http-address=0.0.0.0", "--metrics-address=127.0.0.1"], &[]);
    assert!(
        apart.unwrap_err().starts_with("--metrics-address=127.0.0.1: HTTP, gRPC and metrics listen on one")
    );
    assert!(given(&["tritonserver", "--grpc-address=0.0.0.0"], &[]).is_err());
}

#[test]
fn the_environments_port_is_heard_last() {
    let with =
        |arguments: &[&str], environment: &[(&str, &str)]| given(arguments, environment).map(|read| read.0);
    assert_eq!(with(&["cresset", "serve"], &[("PORT", "8080")]).unwrap(), "cresset serve --http-port=8080");
    assert_eq!(with(&["cresset", "serve"], &[("PORT", "")]).unwrap(), "cresset serve");
    assert_eq!(with(&["cresset", "bench"], &[("PORT", "8080")]).unwrap(), "cresset bench");
    let own = [("PORT", "8080"), ("CRESSET_HTTP_PORT", "1")];
    assert_eq!(with(&["cresset", "serve"], &own).unwrap(), "cresset serve");
    assert_eq!(
        with(&["cresset", "serve", "--http-port", "1"], &own[..1]).unwrap(),
        "cresset serve --http-port 1"
    );
    assert!(
        with(&["cresset", "serve"], &[("PORT", "tcp://10.0.0.1")]).unwrap_err().contains("PORT is 'tcp://")
    );
}
