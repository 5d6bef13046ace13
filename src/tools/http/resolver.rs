//! Name resolution that vets: what a connection is made to is exactly what was vetted, so a name cannot answer one
//! address to the check and another to the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::network::{AllowList, ClosedRange};

/// Finds the addresses of a host.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host`.
    ///
    /// # Errors
    /// When the host cannot be resolved.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// An address that may not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("host {host:?} has the address {address}, which is {closed}; tools.http.allow can open it")]
pub(super) struct ClosedAddress {
    pub(super) host: String,
    pub(super) address: IpAddr,
    pub(super) closed: ClosedRange,
}

/// Resolves names for connections, and lets only open addresses through.
pub(super) struct VettingResolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allow: Arc<AllowList>,
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow) = (Arc::clone(&self.lookup), Arc::clone(&self.allow));
        Box::pin(async move {
            let host = name.as_str();
            let addresses = lookup.lookup(host).await?;
            // One closed address among open ones is an attack, or a network that the answer was not made for.
            for address in &addresses {
                vet(&allow, host, *address)?;
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Whether `host` may be reached at `address`.
pub(super) fn vet(allow: &AllowList, host: &str, address: IpAddr) -> Result<(), ClosedAddress> {
    match allow.objection(host, address) {
        None => Ok(()),
        Some(closed) => Err(ClosedAddress { host: host.to_owned(), address, closed }),
    }
}
