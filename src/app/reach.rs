//! Tells at start who can reach this process without a key.

use std::net::SocketAddr;

use secrecy::ExposeSecret as _;

use crate::config::Config;

/// Warns of the API at `api` and of the embedded store at `store`, where they ask for no key. Both then listen on loopback alone.
pub(super) fn log_addresses(config: &Config, api: SocketAddr, store: Option<SocketAddr>) {
    if config.api.token.expose_secret().is_empty() {
        tracing::warn!(
            "the API at http://{api} needs no token, so every user and program of this machine can read, submit, approve and \
             cancel tasks; set api.token (QRON__API__TOKEN)"
        );
    }
    if let Some(store) = store.filter(|_| config.embedded.api_key.expose_secret().is_empty()) {
        tracing::warn!(
            "the embedded Qdrant at {} needs no key, so every user and program of this machine can read and change all that \
             qron stores; set embedded.api_key (QRON__EMBEDDED__API_KEY)",
            store
        );
    }
}
