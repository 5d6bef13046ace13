//! The HTTP API: translates requests into calls of the other modules. Holds no rules.

use std::net::SocketAddr;

use secrecy::SecretString;
use serde::Deserialize;

/// Section `[api]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token; empty for none, which only loopback allows.
    pub token: SecretString,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
}
