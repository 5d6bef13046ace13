//! The same server through the Python client from `PyPI`, which converts everything its own way.

use std::process::Command;

use crate::support;
use crate::support::skipped;

#[test]
fn the_python_client_sees_a_qdrant_server() {
    let available = Command::new("python3").args(["-c", "import qdrant_client"]).output();
    if !available.is_ok_and(|output| output.status.success()) {
        return skipped("the Python client is not installed (pip install qdrant-client)");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/test_embedded.py");
    let output = Command::new("python3")
        .arg(script)
        .env("QDRANT_TEST_PYTHON_URL", support::qdrant_url())
        .env("QDRANT_TEST_PYTHON_PREFIX", support::unique_prefix())
        .output()
        .expect("python runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("all cases passed"), "{told}");
}
