//! The sources of the sidecar's status page, and the actions that a visitor may start there.

use std::{net::SocketAddr, sync::Arc};

use super::{check::check_serving, serve::Options, sidecar::listening_on};
use crate::{
    error::{Error, causes},
    proxy::handler::{GatewayState, Handler},
    server::{
        in_process,
        startup::{AccessControl, Backend},
    },
    status::{
        Actions, Facts, Sources,
        actions::{Action, Chat, Check},
    },
};
use tower_vertex::redact;

/// The sources of the status page. Its actions use the options of this gateway.
pub(super) fn sources(
    options: &Options,
    addr: SocketAddr,
    is_local: bool,
    shared: &Arc<GatewayState>,
    backend: &Backend,
    access: &AccessControl,
) -> Result<Sources, Error> {
    const NOT_LOCAL: &str = "the admin listener is not at a loopback address, so it may be open to \
         others; use `vertex-gateway check` on the machine of the gateway";
    let (target, listing) = (options.serving.target.clone(), options.serving.listing.clone());
    let emulator = backend.emulator.clone();
    let check: Check = Box::new(move || {
        let (target, listing, emulator) = (target.clone(), listing.clone(), emulator.clone());
        Box::pin(check_serving(target, listing, emulator))
    });
    let handler = Handler::new(Arc::clone(shared))?;
    let chat: Chat = Box::new(move |request| {
        let sent = in_process::call(handler.clone(), request);
        Box::pin(async move { sent.await.map_err(|error| causes(&error)) })
    });
    let actions = match (is_local, access.is_mutual()) {
        (false, _) => {
            Actions { check: Action::Refused(NOT_LOCAL), chat: Action::Refused(NOT_LOCAL) }
        }
        (true, true) => Actions {
            check: Action::Offered(check),
            chat: Action::Refused(
                "clients of this gateway present certificates, and the page has none",
            ),
        },
        (true, false) => Actions { check: Action::Offered(check), chat: Action::Offered(chat) },
    };
    let show = |text: &str| redact::value(text).to_string();
    let upstream = &shared.upstream;
    let facts = Facts {
        listening_on: listening_on(addr, shared),
        upstream: show(&upstream.to_string()),
        project: upstream.project().map(show),
        location: upstream.location().map(|location| show(location.as_str())),
        credentials: backend.identity.to_string(),
        tls: shared.tls.is_some(),
        client_certificates: access.is_mutual(),
        emulator: backend.emulator.is_some(),
        workers: options.workers(),
    };
    Ok(Sources {
        facts,
        telemetry: Arc::clone(&shared.telemetry),
        clients: Arc::clone(&access.clients),
        models: backend.models.layer().clone(),
        browsers: Arc::clone(&access.browsers),
        actions,
    })
}
