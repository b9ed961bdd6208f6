//! Bound sockets for the surfaces.

use std::net::{SocketAddr, TcpListener};

/// How many connections may wait to be accepted, on each listener.
const BACKLOG: i32 = 4096;

/// Binds `address`; port 0 becomes a free one. `flag` is the operator's flag for
/// the port.
///
/// # Errors
/// If the address can't be bound.
pub fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    bind(address)
        .map_err(|error| anyhow::anyhow!("can't listen on {address}: {error}; choose another with --{flag}"))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    // A restarted server must not wait for its predecessor's last packets.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
