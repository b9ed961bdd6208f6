//! Tests that need a container; `scripts/test-images` starts one and runs them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::load::{Load, busy_request};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("scripts/test-images sets {name}"))
}

/// `CRESSET_TEST_CONTAINER` serves the test model `busy` at
/// `CRESSET_TEST_ADDRESS`, its own and not a published port: Docker's proxy
/// takes requests that no server ever sees. `CRESSET_TEST_DOCKER` is the
/// client to stop it with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container; scripts/test-images runs it"]
async fn docker_stop_under_load_loses_nothing() {
    let address: SocketAddr = variable("CRESSET_TEST_ADDRESS").parse().unwrap();
    let load = Load::start(address, &busy_request(), 32);
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop_is_coming();
    let stopped = tokio::task::spawn_blocking(|| {
        // With Docker's own grace of ten seconds.
        Command::new(variable("CRESSET_TEST_DOCKER"))
            .args(["stop", &variable("CRESSET_TEST_CONTAINER")])
            .status()
    });
    assert!(stopped.await.unwrap().unwrap().success());
    let answered = tokio::time::timeout(Duration::from_secs(60), load.answered("docker stop")).await.unwrap();
    assert!(answered > 100, "{answered} answers");
    println!("{answered} requests answered, none lost");
}
