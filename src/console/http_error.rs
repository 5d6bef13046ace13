//! What lies below an error of the HTTP client.

use std::io;

/// What the HTTP client says of bytes that are no HTTP/1.1, such as those of gRPC.
pub(super) const NO_HTTP: [&str; 2] = ["invalid HTTP", "unexpected message"];

/// Whether the operating system failed the connection, and not what answered.
pub(super) fn is_of_system(error: &reqwest::Error) -> bool {
    system_error(error).is_some() || causes(error).any(|cause| cause.to_string().contains("dns"))
}

/// The error of the operating system that lies below.
fn system_error(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let system = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    system.filter(|error| error.raw_os_error().is_some()).map(io::Error::kind).next()
}

/// The error and all that led to it, the first cause last.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}

/// The first cause in words.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Whether a connection ended without an answer, and without one that is no HTTP/1.1.
pub(super) fn ended_early(error: &reqwest::Error) -> bool {
    let cause = root_cause(error);
    let was_connected = !error.is_connect() || system_error(error) == Some(io::ErrorKind::ConnectionReset);
    was_connected && !error.is_timeout() && !NO_HTTP.iter().any(|text| cause.contains(text))
}
