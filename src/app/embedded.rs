//! The embedded store of this process, or the error of a build that leaves it out.

#[cfg(feature = "embedded")]
pub(crate) use with_engine::{EmbeddedStore, EmbeddedStoreError, setting_of};
#[cfg(not(feature = "embedded"))]
pub(crate) use without_engine::{EmbeddedStore, EmbeddedStoreError, setting_of};

#[cfg(feature = "embedded")]
mod with_engine {
    use std::net::SocketAddr;
    use std::time::Duration;

    use qdrant_embedded::{Server, Settings};

    use crate::store;

    pub(crate) use qdrant_embedded::ServerError as EmbeddedStoreError;

    /// The setting that `error` is about, for people.
    pub(crate) const fn setting_of(error: &EmbeddedStoreError) -> &'static str {
        match error {
            EmbeddedStoreError::Listen { .. } => " (embedded.address, QRON__EMBEDDED__ADDRESS)",
            _ => "",
        }
    }

    /// A running embedded Qdrant.
    pub(crate) struct EmbeddedStore(Server);

    impl EmbeddedStore {
        /// Starts it with `settings`.
        ///
        /// # Errors
        /// When its folder or its address cannot be used.
        pub(crate) async fn start(settings: &Settings) -> Result<Self, EmbeddedStoreError> {
            Server::start(settings).await.map(Self)
        }

        /// `settings` of the store, with the address and the key of this process in them.
        pub(crate) fn connection(&self, settings: &store::Settings) -> store::Settings {
            store::Settings { url: self.0.url(), api_key: self.0.own_key().clone(), ..settings.clone() }
        }

        /// Where it listens.
        pub(crate) fn address(&self) -> SocketAddr {
            self.0.address()
        }

        /// Stops it, and writes everything down.
        ///
        /// # Errors
        /// When it did not stop well.
        pub(crate) async fn shutdown(self) -> Result<(), EmbeddedStoreError> {
            self.0.shutdown().await
        }

        /// Stops it, and writes down what can be written within about `limit`.
        ///
        /// # Errors
        /// When it did not stop well.
        pub(crate) async fn shutdown_within(self, limit: Duration) -> Result<(), EmbeddedStoreError> {
            self.0.shutdown_within(limit).await
        }
    }
}

#[cfg(not(feature = "embedded"))]
mod without_engine {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::time::Duration;

    use qdrant_embedded::Settings;

    use crate::store;

    /// This build has no embedded store.
    #[derive(Debug, thiserror::Error)]
    #[error(
        "this build of qron has no embedded store: set store.url (QRON__STORE__URL) to the gRPC port of a Qdrant server, or \
         use a build with the feature \"embedded\""
    )]
    pub struct EmbeddedStoreError;

    /// None: the error itself names the setting.
    pub(crate) const fn setting_of(_: &EmbeddedStoreError) -> &'static str {
        ""
    }

    /// An embedded Qdrant; no value of it exists in this build.
    pub(crate) struct EmbeddedStore(Infallible);

    #[expect(clippy::unused_async, reason = "the same signatures as with the engine")]
    impl EmbeddedStore {
        /// Refuses.
        pub(crate) async fn start(_: &Settings) -> Result<Self, EmbeddedStoreError> {
            Err(EmbeddedStoreError)
        }

        pub(crate) fn connection(&self, _: &store::Settings) -> store::Settings {
            match self.0 {}
        }

        pub(crate) fn address(&self) -> SocketAddr {
            match self.0 {}
        }

        pub(crate) async fn shutdown(self) -> Result<(), EmbeddedStoreError> {
            match self.0 {}
        }

        pub(crate) async fn shutdown_within(self, _: Duration) -> Result<(), EmbeddedStoreError> {
            match self.0 {}
        }
    }
}
