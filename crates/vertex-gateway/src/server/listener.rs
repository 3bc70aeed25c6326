//! The listener of clients accepts connections and passes them to the workers.

use std::{future::Future, io, net::SocketAddr, pin::pin};

use tokio::net::{TcpListener, TcpStream};

use super::{
    accept_errors::{AcceptErrors, rest},
    worker::Workers,
};
use crate::error::Error;

/// Binds the address on which clients are served.
pub(crate) async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    Ok((listener, addr))
}

pub(crate) fn cannot_listen(addr: SocketAddr, error: &io::Error) -> Error {
    Error::new(format!("cannot listen on {addr}: {error}; choose another address with --listen"))
}

/// Accepts connections until `stop`.
///
/// # Errors
///
/// Returns an error if no worker is left.
pub(crate) async fn accept(
    listener: &TcpListener,
    workers: &Workers,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (mut stop, errors) = (pin!(stop), AcceptErrors::default());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let served = match accepted {
            Ok((socket, _)) => {
                // Further connections wait in the kernel meanwhile.
                let (room, stops) = tokio::select! {
                    room = workers.room() => (room, false),
                    () = &mut stop => (None, true),
                };
                let served = workers.serve(socket, room);
                if stops {
                    return Ok(());
                }
                served
            }
            Err(error) => Err(error),
        };
        match served {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                return Err(Error::negative(error.to_string()));
            }
            Err(error) => errors.wait(&error, "accept failed").await,
        }
    }
}

/// Closes the listener. Connections that the kernel has already accepted are still served, because
/// their clients cannot know of the shutdown.
pub(crate) fn accept_rest(listener: TcpListener, workers: &Workers) {
    let Ok(listener) = listener.into_std() else { return };
    // The listener does not block.
    let next = || listener.accept().map(|(socket, _)| socket);
    for socket in rest(next) {
        let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        if let Err(error) = socket.and_then(|socket| workers.serve(socket, None)) {
            tracing::warn!(%error, "connection not served");
        }
    }
}
