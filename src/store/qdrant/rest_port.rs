//! Recognises a `store.url` that leads to an HTTP port, such as Qdrant's REST port 6333, where gRPC is needed.

use std::io;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::store::StoreError;

/// Ports of Qdrant unless it is configured otherwise.
const REST_PORT: u16 = 6333;
const GRPC_PORT: u16 = 6334;
/// Longest wait for the answer of a port that did not answer as a gRPC server.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read of an answer; that of Qdrant has some 100.
const ENOUGH: u64 = 8_192;

/// What a port turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Port {
    /// The REST port of a Qdrant.
    Rest,
    /// That of another HTTP/1 server.
    Http,
}

/// The error to show for a connection to `url` that failed with `error`: one that names the right port when an HTTP/1
/// server answers there, else `error` itself.
pub(in crate::store) async fn explain(url: &str, error: StoreError) -> StoreError {
    // Such an error comes from a server that speaks gRPC.
    if matches!(error, StoreError::Incompatible(_)) {
        return error;
    }
    let Ok(url) = Url::parse(url) else { return error };
    let port = match url.scheme() {
        "http" => match timeout(PROBE_TIMEOUT, probe(&url)).await {
            Ok(Ok(port)) => port,
            Ok(Err(reason)) => {
                tracing::debug!(%reason, "store.url does not answer HTTP/1 either");
                None
            }
            Err(_) => None,
        },
        // An encrypted port is not asked; its number says enough.
        _ => (url.port() == Some(REST_PORT)).then_some(Port::Rest),
    };
    port.map_or(error, |port| StoreError::Incompatible(advice(&url, &port)))
}

/// Asks like a browser. A gRPC server closes the connection.
async fn probe(url: &Url) -> io::Result<Option<Port>> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Ok(None) };
    let mut stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer).await?;
    Ok(read(&answer))
}

/// What an answer tells of the port.
fn read(answer: &[u8]) -> Option<Port> {
    let answer = String::from_utf8_lossy(answer);
    if !answer.starts_with("HTTP/1.") {
        return None;
    }
    // The body may come in chunks, so it is found by its braces.
    let body = answer.find('{').zip(answer.rfind('}')).and_then(|(start, end)| answer.get(start..=end));
    let body: Option<Value> = body.and_then(|body| serde_json::from_str(body).ok());
    let title = body.as_ref().and_then(|body| body.get("title")?.as_str());
    Some(if title.is_some_and(|title| title.to_lowercase().contains("qdrant")) { Port::Rest } else { Port::Http })
}

fn advice(url: &Url, port: &Port) -> String {
    let at = |port: Option<u16>| {
        let host = url.host_str().unwrap_or_default();
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}", url.scheme())
    };
    let (here, grpc) = (at(url.port()), at(Some(GRPC_PORT)));
    match port {
        Port::Rest => format!(
            "{here} is Qdrant's REST port; did you mean {grpc} (gRPC)? Set store.url or QDRANT_URL to the gRPC port"
        ),
        Port::Http => format!(
            "{here} answers HTTP and not gRPC: set store.url or QDRANT_URL to the gRPC port of a Qdrant, by default {grpc}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_both_ports_and_no_password() {
        let advice = |url: &str, port: Port| advice(&Url::parse(url).expect("a URL"), &port);
        let message = advice("http://me:secret@qdrant:6333/", Port::Rest);
        assert!(
            message.starts_with("http://qdrant:6333 is Qdrant's REST port; did you mean http://qdrant:6334 (gRPC)?")
        );
        let message = advice("https://[::1]:8443/deep?x=1", Port::Http);
        assert!(message.starts_with("https://[::1]:8443 answers HTTP and not gRPC"), "{message}");
        assert!(message.contains("https://[::1]:6334"), "{message}");
        assert!(advice("http://qdrant", Port::Http).contains("http://qdrant:6334"));
    }

    #[test]
    fn an_answer_tells_what_the_port_is() {
        let qdrant = r#"{"title":"qdrant - vector search engine","version":"1.18.3","commit":"x"}"#;
        let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n48\r\n{qdrant}\r\n0\r\n\r\n");
        for (answer, expected) in [
            (format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{qdrant}"), Some(Port::Rest)),
            (chunked, Some(Port::Rest)),
            ("HTTP/1.1 200 OK\r\n\r\n{\"title\": \"shop\"}".to_owned(), Some(Port::Http)),
            ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), Some(Port::Http)),
            ("HTTP/1.0 400 Bad Request\r\n\r\n} {".to_owned(), Some(Port::Http)),
            ("\0\0\u{12}\u{4}\0\0".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(read(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
