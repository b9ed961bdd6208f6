//! `cresset healthcheck`: a probe for a container's `HEALTHCHECK`, so that an
//! image needs no HTTP client. `cresset-healthcheck` is the same as a separate
//! binary.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Arguments of `cresset healthcheck`. They have the names and the environment
/// variables of `cresset serve`, so that the two agree in a container.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address that the server listens on; 0.0.0.0 and :: are asked at the loopback address
    #[arg(long, env = "CRESSET_HOST", value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,

    /// Port of its metrics listener, which answers probes too
    #[arg(long, env = "CRESSET_METRICS_PORT", value_name = "PORT", default_value_t = 8002)]
    pub metrics_port: u16,

    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub timeout_secs: u64,
}

impl Args {
    /// The address of the probe.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let host = match self.host {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            host @ (IpAddr::V4(_) | IpAddr::V6(_)) => host,
        };
        SocketAddr::new(host, self.metrics_port)
    }
}

/// Asks once.
///
/// # Errors
/// If the server doesn't answer, or isn't ready.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let timeout = Duration::from_secs(args.timeout_secs.max(1));
    let address = args.address();
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .with_context(|| format!("no server answers at {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let request = format!("GET /v2/health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).with_context(|| format!("the server at {address} broke off"))?;
    if status.starts_with(b"HTTP/1.") && status.ends_with(b" 200") {
        return Ok(());
    }
    anyhow::bail!("the server at {address} isn't ready: {}", String::from_utf8_lossy(&status))
}
