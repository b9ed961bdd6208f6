//! A bare actix-web server that answers with the bytes that it gets, or with
//! so many: the least that any HTTP server of this kind costs, with Cresset's
//! allocator, number of workers and keep-alive. `scripts/limits` measures
//! Cresset beside it.
//!
//! Usage: `echo PORT [BYTES]`

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use cresset::settings::processors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<()> {
    actix_web::rt::System::new().block_on(echo())
}

async fn echo() -> std::io::Result<()> {
    let number = |at| std::env::args().nth(at).and_then(|text| text.parse::<usize>().ok());
    let port = number(1).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let answer = number(2).map(|bytes| web::Bytes::from(vec![b'.'; bytes]));
    let server = HttpServer::new(move || {
        let answer = answer.clone();
        App::new().app_data(web::PayloadConfig::new(64 << 20)).default_service(web::to(
            move |body: web::Bytes| {
                let answer = answer.clone().unwrap_or(body);
                async move { HttpResponse::Ok().body(answer) }
            },
        ))
    })
    .workers(processors())
    .keep_alive(Duration::from_secs(75))
    .bind(("127.0.0.1", port))?;
    println!("echo http://{}", server.addrs()[0]);
    server.run().await
}
