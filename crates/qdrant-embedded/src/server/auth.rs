//! Who a caller is, by the keys it shows: as `api-key` or as a bearer token.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderValue};
use uuid::Uuid;

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// This process: its connections never give way to others.
    Own,
    /// Any other client that may call.
    Client,
}

/// Checks the keys of each request; without a configured key everyone is admitted.
#[derive(Clone)]
pub(crate) struct KeyCheck {
    /// Hash of the configured key: fixed length, so comparing tells nothing about the key's length either.
    expected: Option<[u8; 32]>,
    /// Hash of the key of this process.
    own: [u8; 32],
}

impl KeyCheck {
    /// An empty `key` admits everyone. `own` is that of this process, and is admitted, too.
    pub(crate) fn new(key: &SecretString, own: &SecretString) -> Self {
        let key = key.expose_secret();
        Self {
            expected: (!key.is_empty()).then(|| digest(key.as_bytes())),
            own: digest(own.expose_secret().as_bytes()),
        }
    }

    /// Who calls. A key that is sent twice, or that cannot be read, is a wrong one.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Status> {
        let api_key = single(headers, "api-key")?;
        let bearer = single(headers, "authorization")?.and_then(|value| value.strip_prefix("Bearer "));
        let shown: Vec<[u8; 32]> = api_key.into_iter().chain(bearer).map(|key| digest(key.as_bytes())).collect();
        if !shown.is_empty() && shown.iter().all(|key| same(&self.own, key)) {
            return Ok(Caller::Own);
        }
        match &self.expected {
            None => Ok(Caller::Client),
            Some(_) if shown.is_empty() => {
                Err(Status::unauthenticated("Must provide an API key or an Authorization bearer token"))
            }
            Some(expected) if shown.iter().all(|key| same(expected, key)) => Ok(Caller::Client),
            Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
        }
    }
}

/// A key for the clients of this process, which no other process knows.
pub(crate) fn fresh_key() -> SecretString {
    SecretString::from(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Status> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        (Some(Err(_)), None) => Err(Status::unauthenticated(format!("the header {name} cannot be read: send ASCII"))),
        (Some(_), Some(_)) => Err(Status::unauthenticated(format!("the header {name} is there twice: send it once"))),
    }
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

    fn headers(shown: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in shown {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn caller(key: &str, shown: &[(&'static str, &[u8])]) -> Option<Caller> {
        KeyCheck::new(&SecretString::from(key), &SecretString::from("own")).caller(&headers(shown)).ok()
    }

    #[test]
    fn only_the_right_key_is_admitted() {
        let admitted: [&[(&str, &[u8])]; 3] = [
            &[("api-key", b"secret")],
            &[("authorization", b"Bearer secret")],
            &[("api-key", b"secret"), ("authorization", b"Bearer secret")],
        ];
        for shown in admitted {
            assert_eq!(caller("secret", shown), Some(Caller::Client), "{shown:?}");
        }
        let refused: [&[(&str, &[u8])]; 10] = [
            &[],
            &[("api-key", b"")],
            &[("api-key", b"secre")],
            &[("api-key", b"secret ")],
            &[("authorization", b"secret")],
            &[("authorization", b"Basic secret")],
            &[("api-key", b"secret"), ("api-key", b"secret")],
            &[("api-key", b"secret"), ("authorization", b"Bearer other")],
            &[("api-key", b"secr\xe9t")],
            &[("api-key", b"secret"), ("authorization", b"\xff")],
        ];
        for shown in refused {
            assert_eq!(caller("secret", shown), None, "{shown:?}");
        }
    }

    #[test]
    fn this_process_is_known_by_its_own_key() {
        for key in ["", "secret"] {
            assert_eq!(caller(key, &[("api-key", b"own")]), Some(Caller::Own), "{key}");
            assert_eq!(caller(key, &[("api-key", b"own"), ("api-key", b"own")]), None, "{key}");
        }
        assert_eq!(caller("", &[]), Some(Caller::Client));
        assert_eq!(caller("", &[("api-key", b"anything")]), Some(Caller::Client));
        assert_eq!(caller("secret", &[("api-key", b"own"), ("authorization", b"Bearer secret")]), None);
        assert_ne!(fresh_key().expose_secret(), fresh_key().expose_secret());
    }
}
