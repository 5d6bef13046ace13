//! Admits only callers that show the API key, as `api-key` or as a bearer token; the health check is open to all.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Checks each request; without a key everyone is admitted.
#[derive(Clone)]
pub(crate) struct KeyCheck {
    /// Hash of the key: fixed length, so comparing tells nothing about the key's length either.
    expected: Option<[u8; 32]>,
}

impl KeyCheck {
    /// An empty key admits everyone.
    pub(crate) fn new(key: &SecretString) -> Self {
        let key = key.expose_secret();
        Self { expected: (!key.is_empty()).then(|| digest(key.as_bytes())) }
    }
}

impl Interceptor for KeyCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.expected else { return Ok(request) };
        match shown(request.metadata()) {
            Some(key) if same(expected, &digest(key.as_bytes())) => Ok(request),
            Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
            None => Err(Status::unauthenticated("Must provide an API key or an Authorization bearer token")),
        }
    }
}

fn shown(metadata: &MetadataMap) -> Option<&str> {
    let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
    text("api-key").or_else(|| text("authorization").and_then(|value| value.strip_prefix("Bearer ")))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compares in constant time: every byte is looked at whatever the first ones are.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(header: Option<(&'static str, &'static str)>) -> bool {
        let mut request = Request::new(());
        if let Some((name, value)) = header {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        KeyCheck::new(&SecretString::from("secret")).call(request).is_ok()
    }

    #[test]
    fn only_the_right_key_is_admitted() {
        assert!(asked(Some(("api-key", "secret"))));
        assert!(asked(Some(("authorization", "Bearer secret"))));
        assert!(!asked(Some(("api-key", "secre"))));
        assert!(!asked(Some(("authorization", "secret"))));
        assert!(!asked(None));
    }
}
