//! The tools, with real sockets, files and databases. Whatever reliability asks to be refused is a fixture here.

mod support;
mod table;

mod files;
mod http;
mod opened_folders;
mod postgres;
mod postgres_server;
mod sqlite;
mod store;
#[cfg(feature = "embedded")]
mod stuck;
mod toolbox;
