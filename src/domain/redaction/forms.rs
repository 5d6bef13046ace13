//! The forms that a secret takes when it is encoded as a whole.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

use super::MIN_BYTES;
use super::plain::Decoded;

/// The secret that a pattern encodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Index of the secret.
    pub(super) secret: usize,
    /// Whether the letters around it may belong to it.
    pub(super) is_base64: bool,
}

/// Every form of `secret`, whose index is `index`.
pub(super) fn forms_of(secret: &[u8], index: usize) -> Vec<(Vec<u8>, Form)> {
    let whole = Form { secret: index, is_base64: false };
    let mut forms = vec![(secret.to_vec(), whole)];
    let mut add = |text: Vec<u8>, form| {
        if !forms.iter().any(|(other, _)| *other == text) {
            forms.push((text, form));
        }
    };
    // A secret may look like an escape itself, and is then decoded with the text around it.
    let mut decoded = Decoded::of(secret);
    while let Some(layer) = decoded.next_layer() {
        if layer.text().len() >= MIN_BYTES {
            add(layer.text().to_vec(), whole);
        }
    }
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    add(hex.to_uppercase().into_bytes(), whole);
    add(hex.into_bytes(), whole);
    if let Ok(text) = str::from_utf8(secret) {
        add(text.chars().rev().collect::<String>().into_bytes(), whole);
    }
    for before in 0..3 {
        let (standard, url_safe) = base64_of(secret, before);
        add(standard, Form { is_base64: true, ..whole });
        add(url_safe, Form { is_base64: true, ..whole });
    }
    forms
}

/// The letters of Base64 that `secret` alone decides when it begins `before` bytes, modulo three, behind the start of what is
/// encoded: in the standard alphabet and in that of URLs.
fn base64_of(secret: &[u8], before: usize) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    // A letter holds six bits.
    let first = (before * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    let cut = |text: String| text.as_bytes().get(first..last).unwrap_or_default().to_vec();
    (cut(BASE64_STANDARD_NO_PAD.encode(&bytes)), cut(BASE64_URL_SAFE_NO_PAD.encode(&bytes)))
}

/// Whether `byte` is a letter of Base64, in either alphabet.
pub(super) const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}
