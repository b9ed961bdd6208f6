//! A bare actix-web server that answers with the bytes that it gets: the
//! least that any HTTP server of this kind costs, with Cresset's allocator and
//! number of workers. `scripts/figures` measures Cresset beside it.
//!
//! Usage: `echo PORT`

use actix_web::{App, HttpResponse, HttpServer, web};
use cresset::settings::processors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<()> {
    actix_web::rt::System::new().block_on(echo())
}

async fn echo() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let server = HttpServer::new(|| {
        App::new()
            .app_data(web::PayloadConfig::new(64 << 20))
            .default_service(web::to(|body: web::Bytes| async { HttpResponse::Ok().body(body) }))
    })
    .workers(processors())
    .bind(("127.0.0.1", port))?;
    println!("echo http://{}", server.addrs()[0]);
    server.run().await
}
