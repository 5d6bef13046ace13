use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const KEY: &str = "sk-proj/Canary+4711~ä?&\"\\x";

fn redactor(secrets: &[&str]) -> Redactor {
    let secrets: Vec<Secret> = secrets.iter().filter_map(|value| Secret::new("key", value)).collect();
    Redactor::new(&secrets).expect("few secrets")
}

/// Every encoding that a server sends a key back in, by name.
fn encodings(key: &str) -> Vec<(&'static str, String)> {
    let percent = |keep: fn(&u8) -> bool| -> String {
        key.bytes()
            .map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let escaped = |form: fn(u32) -> String| -> String {
        key.encode_utf16().map(|unit| form(u32::from(unit))).collect::<Vec<String>>().concat()
    };
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<String>>().concat();
    let all_percent = percent(|_| false);
    let json_text = json!(key).to_string();
    let base64 = BASE64_STANDARD.encode(format!("user:{key}"));
    let (half, rest) = base64.split_at(base64.len() / 2);
    let lines = format!("{half}\r\n{rest}");
    vec![
        ("plain", key.to_owned()),
        ("base64", BASE64_STANDARD.encode(key)),
        ("base64 without padding", BASE64_STANDARD_NO_PAD.encode(key)),
        ("base64 for URLs", BASE64_URL_SAFE.encode(key)),
        ("base64 for URLs without padding", BASE64_URL_SAFE_NO_PAD.encode(key)),
        ("basic of user:key", format!("Basic {}", BASE64_STANDARD.encode(format!("user:{key}")))),
        ("basic of u:key", format!("Basic {}", BASE64_STANDARD.encode(format!("u:{key}")))),
        ("basic of :key", BASE64_STANDARD.encode(format!(":{key}"))),
        ("basic of key:", BASE64_STANDARD.encode(format!("{key}:"))),
        ("bearer in base64", BASE64_URL_SAFE_NO_PAD.encode(format!("Bearer {key}, thanks"))),
        ("base64 in lines", lines.clone()),
        ("base64 in lines in JSON", json!(lines).to_string()),
        ("base64 with escaped slashes", base64.replace('/', "\\/")),
        ("hex", hex.clone()),
        ("upper hex", hex.to_uppercase()),
        ("percent", percent(u8::is_ascii_alphanumeric)),
        ("lower percent", key.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<String>>().concat()),
        ("percent everywhere", all_percent.clone()),
        ("percent twice", all_percent.replace('%', "%25")),
        ("percent thrice", all_percent.replace('%', "%2525")),
        ("base64 in a URL", base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")),
        ("JSON", json_text.clone()),
        ("JSON with escaped slashes", json_text.replace('/', "\\/")),
        ("JSON escapes", escaped(|unit| format!("\\u{unit:04x}"))),
        ("upper JSON escapes", escaped(|unit| format!("\\u{unit:04X}"))),
        ("JSON in JSON", json!(json_text).to_string()),
        ("JSON escapes in JSON", json!(escaped(|unit| format!("\\u{unit:04x}"))).to_string()),
        ("some JSON escapes", json_text.replace('s', "\\u0073").replace('4', "\\u0034")),
        ("HTML", key.replace('&', "&amp;").replace('"', "&quot;")),
        ("HTML in numbers", escaped(|unit| format!("&#{unit};"))),
        ("HTML in hex numbers", escaped(|unit| format!("&#x{unit:X};"))),
        ("in lines", key.replacen('C', "\nC", 1)),
        ("backwards", key.chars().rev().collect()),
    ]
}

/// What is left of the key, four characters of it or more, in any encoding.
fn remains(redacted: &str, encoded: &str) -> Option<String> {
    let letters: Vec<char> = encoded.chars().collect();
    let parts = letters.windows(6).map(|part| part.iter().collect::<String>());
    parts.into_iter().find(|part| redacted.contains(part.as_str()) && !"Basic user:thanks".contains(part.as_str()))
}

#[test]
fn words_and_plain_numbers_are_not_taken_out_of_data() {
    let is_unmistakable = |value: &str| Secret::new("s", value).expect("a secret").is_unmistakable();
    for word in ["analytics", "change-me", "schedule", "completed", "schedule_id", "12345678", "production-database"] {
        assert!(!is_unmistakable(word), "{word}");
    }
    for secret in ["sk-canary-1", "hG7fk2Lq", "0123456789abcdef0123456789abcdef", "correct horse battery staple"] {
        assert!(is_unmistakable(secret), "{secret}");
    }
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    for key in ["sk-canary", "12345678", "a8F/b7+qQ~", KEY] {
        let redactor = redactor(&[key]);
        for (name, encoded) in encodings(key) {
            let redacted = redactor.redact(&encoded).into_owned();
            assert!(redacted.contains("[key]"), "{name} of {key}: {encoded} became {redacted}");
            // What is not of the secret stays: the user beside it, the words around it.
            if !encoded.contains(&BASE64_STANDARD_NO_PAD.encode("user:")[..6])
                && !name.contains("bas")
                && !name.contains("lines")
            {
                assert_eq!(remains(&redacted, &encoded), None, "{name} of {key}: {encoded} became {redacted}");
            }
            let within = format!("{{\"error\": \"wrong key {encoded}!\"}} and on");
            let redacted = redactor.redact(&within).into_owned();
            assert!(
                redacted.starts_with("{\"error\": \"wrong key ") && redacted.ends_with("!\"} and on"),
                "{redacted}"
            );
        }
    }
}

#[test]
fn only_what_is_a_secret_is_taken_out() {
    let text = "no api_key xxx for x: none, ollama, postgres and password are fine";
    for key in ["", "x", "xxx", "none", "ollama", "EMPTY", "postgres", "PASSWORD", "aaaaaaaa", " "] {
        assert_eq!(redactor(&[key]).redact(text), text, "{key}");
    }
    assert!(matches!(redactor(&["sk-canary"]).redact(text), Cow::Borrowed(_)));
}

#[test]
fn every_one_of_several_is_replaced_by_its_own_name() {
    let secrets = [("model.api_key", "sk-one-111"), ("api.token", "token-two-22"), ("store.api_key", "sk-one-111222")];
    let secrets: Vec<Secret> = secrets.iter().filter_map(|(name, value)| Secret::new(*name, value)).collect();
    let redactor = Redactor::new(&secrets).expect("few");
    assert_eq!(
        redactor.redact("a sk-one-111, b token-two-22 c sk-one-111222 sk-one-111"),
        "a [model.api_key], b [api.token] c [store.api_key] [model.api_key]"
    );
    assert_eq!(format!("{secrets:?}"), "[Secret(model.api_key), Secret(api.token), Secret(store.api_key)]");
}

#[test]
fn json_stays_json_and_numbers_stay_numbers() {
    let redactor = redactor(&["12345678"]);
    let text = json!({"at": 1_712_345_678_000_u64, "12345678": ["a 12345678", {"b": "MTIzNDU2Nzg="}]}).to_string();
    let redacted: Value = serde_json::from_slice(&redactor.redact_json(text.as_bytes())).expect("JSON");
    assert_eq!(redacted, json!({"at": 1_712_345_678_000_u64, "[key]": ["a [key]", {"b": "[key]"}]}));
    let broken = redactor.redact_json(b"{12345678").into_owned();
    assert_eq!(broken, b"{[key]");
}

#[test]
fn names_that_the_program_gives_stay_and_all_others_go() {
    let redactor = redactor(&["sk-canary-1"]);
    let Value::Object(mut fields) = json!({"sk-canary-1": {"sk-canary-1": "a sk-canary-1"}, "b": "sk-canary-1"}) else {
        panic!("an object")
    };
    redactor.redact_values(&mut fields);
    assert_eq!(Value::Object(fields), json!({"sk-canary-1": {"[key]": "a [key]"}, "b": "[key]"}));
}

/// Backslashes before the secret must not escape what stands in its place.
#[test]
fn json_within_a_text_stays_json() {
    let redactor = redactor(&["nsk-canary"]);
    for inner in ["\nsk-canary", "\\nsk-canary", "\\\\nsk-canary", "x\\u006esk-canary", "\"nsk-canary\""] {
        let text = json!({ "a": inner }).to_string();
        let redacted = redactor.redact(&text).into_owned();
        assert!(serde_json::from_str::<Value>(&redacted).is_ok(), "{text} became {redacted}");
    }
}

#[test]
fn a_secret_is_found_in_a_long_text_wherever_it_is_and_at_its_ends() {
    let redactor = redactor(&["sk-canary-0123456789"]);
    let encoded: String =
        "sk-canary-0123456789".bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<String>>().concat();
    for before in [0, 1, 65_500, 65_535, 65_536, 131_000, 200_001] {
        let text = format!("{}{encoded}", "ä\n".repeat(before / 3));
        let redacted = redactor.redact(&text).into_owned();
        assert!(redacted.ends_with("[key]") && !redacted.contains('%'), "at {before}");
    }
}

proptest! {
    /// Whatever surrounds a secret, and however it is cut, nothing panics and what has no secret stays as it is.
    #[test]
    fn any_text_passes(text in "[%&\\\\\\n#;uxsk0-9a-f\"/ä-]{0,80}") {
        let redactor = redactor(&["sk-canary", "\\\\\\u0000%%%"]);
        let redacted = redactor.redact(&text);
        prop_assert!(redacted.contains("[key]") || redacted == text);
    }

    /// Any secret is found in any surroundings, in the encodings that need no escape of their own. (A secret that ends
    /// like a piece of an escape may be completed by the text behind it.)
    #[test]
    fn any_secret_is_found(secret in "[!-$'-~]{8,40}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
        let redactor = redactor(&[&secret]);
        prop_assume!(Secret::new("key", &secret).is_some());
        let within = format!("{before}{secret}{after}");
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<String>>().concat();
        for text in [BASE64_STANDARD.encode(&within), BASE64_URL_SAFE_NO_PAD.encode(&within), json!(within).to_string(), percent, within] {
            let redacted = redactor.redact(&text).into_owned();
            prop_assert!(redacted.contains("[key]"), "{} became {}", text, redacted);
            prop_assert!(!redacted.contains(&secret));
        }
    }
}
