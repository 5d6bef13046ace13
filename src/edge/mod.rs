//! An embedded Qdrant.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

/// Section `[embedded]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the data; one process at a time.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Take the next free port when that one is taken.
    pub next_free_port: bool,
    /// Key that clients must present; empty for none.
    pub api_key: SecretString,
}
