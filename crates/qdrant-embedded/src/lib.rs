//! An embedded Qdrant: a server that speaks Qdrant's gRPC protocol over the engine of the crate `qdrant-edge`.
//!
//! It runs in the caller's process and listens on loopback, so that everything else may know only the protocol and a
//! real server is a drop-in replacement. It owns the data folder, durability and the translation of the protocol; it
//! knows nothing of what is stored.
//!
//! ```no_run
//! use qdrant_embedded::{Server, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::start(&Settings {
//!     data_dir: "data".into(),
//!     address: "127.0.0.1:6334".parse()?,
//!     next_free_port: true,
//!     api_key: String::new().into(),
//! })
//! .await?;
//! let client = qdrant_client::Qdrant::from_url(&server.url()).build()?;
//! client.health_check().await?;
//! server.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do answers `UNIMPLEMENTED` and names the method: aliases, snapshots, sharding, inference,
//! grouping, and the legacy recommend and discover calls (the universal query does both).
//!
//! Without the feature `engine`, which is on by default, only [`Settings`] and [`connections`] are left: what a program
//! needs that uses a Qdrant server instead.

#[cfg(feature = "engine")]
pub mod bm25;
pub mod connections;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(feature = "engine", feature = "fuzzing"))]
mod journal;
#[cfg(feature = "engine")]
mod server;
mod settings;

#[cfg(feature = "engine")]
pub use server::{Server, ServerError};
pub use settings::Settings;
