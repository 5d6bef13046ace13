//! TLS for the tools that talk to other hosts.

/// Installs the cryptography provider of the process unless one is installed; clients cannot be built without one.
pub(crate) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was faster, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}
