//! The settings of the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

/// Where the server keeps its data, and where it listens. Every key must be given; there are no defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the data, created when it does not exist. One process at a time.
    pub data_dir: PathBuf,
    /// Address to listen on; port 0 takes any free one. Other than loopback only with an API key.
    pub address: SocketAddr,
    /// When the port is taken, take the next free one instead of failing.
    pub next_free_port: bool,
    /// Key that every client must show; empty admits everyone who reaches the address.
    pub api_key: SecretString,
}
