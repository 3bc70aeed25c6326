//! The crypto provider of clients that panic without one.

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// Makes `ring` the crypto provider of the process, unless there is one already.
pub(crate) fn install_default() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may be first; either provider will do.
        let _ = ring::default_provider().install_default();
    }
}
