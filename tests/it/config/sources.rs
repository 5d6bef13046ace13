//! Each problem names the key, the value and where it came from; no variable that looks like one of qron goes unnoticed.

use super::{assert_problem, load, problems};

#[test]
fn a_value_out_of_range_is_told_with_its_source() {
    for (variable, value, parts) in [
        ("QRON__MODEL__BASE_URL", "nonsense", &["model.base_url = \"nonsense\" (", "is no HTTP URL"][..]),
        ("OPENAI_BASE_URL", "ftp://u:secret-word@h/v1", &["(OPENAI_BASE_URL)", "is no HTTP URL"]),
        ("QRON__SCHEDULER__ZONE", "Mars/Base", &["scheduler.zone = \"Mars/Base\" ("]),
        (
            "QRON__SCHEDULER__SWEEP",
            "often",
            &["scheduler.sweep = \"often\" (variable QRON__SCHEDULER__SWEEP) is no cron"],
        ),
        ("QRON__AGENTS__X__TOOLS", "calculte", &["agents.x.tools = [\"calculte\"] (", "names the unknown tool"]),
        ("QRON__AGENTS__X__CAPACITY", "0", &["agents.x.capacity = 0 (", ") is too small: use 1 or more"]),
        (
            "QRON__TOOLS__SQL__SHOP__URL",
            "mysql://u:secret-word@h/d",
            &["tools.sql.shop.url = ***", "is no database URL"],
        ),
        ("QRON__API__MAX_BODY_BYTES", "5", &["api.max_body_bytes = 5 (", ") is too small"]),
        ("QRON__API__ADDRESS", "localhost:9090", &["api.address = \"localhost:9090\" (", "127.0.0.1:9090"]),
    ] {
        assert_problem("", &[(variable, value)], parts);
        let found = &problems("", &[(variable, value)])[0];
        assert!(found.contains(variable) && !found.contains("secret-word"), "{found}");
    }
    let found = &problems("[api]\nhead_timeout_s = 0\n", &[])[0];
    assert!(found.starts_with("api.head_timeout_s = 0 (file "), "{found}");
}

#[test]
fn a_variable_that_nearly_names_a_setting_is_told() {
    for (variable, value, meant) in [
        ("QRON_API_ADDRESS", "127.0.0.1:1", "write it QRON__API__ADDRESS"),
        ("QRON_API_ADRESS", "127.0.0.1:1", "write it QRON__API__ADDRESS"),
        ("QRON_MODEL_MODELS", "x", "write it QRON__MODEL__MODELS"),
        ("QRON_WORKER__GRACE_S", "5", "write it QRON__WORKER__GRACE_S"),
        ("QRON_NOMODEL", "1", "write it QRON_NO_MODEL"),
        ("QRON_NO_MODEL", "maybe", "QRON_NO_MODEL = \"maybe\": use 1, true, yes or on"),
    ] {
        assert_problem("", &[(variable, value)], &[variable, meant]);
    }
    for (variable, value) in [
        ("QRON_NO_MODEL", "yes"),
        ("QRON_URL", "http://h"),
        // What Kubernetes gives to pods beside a service of the name qron, and what others make up.
        ("QRON_PORT", "tcp://10.0.0.1:80"),
        ("QRON_SERVICE_HOST", "10.0.0.1"),
        ("QRON_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("QRON_TEST_QDRANT_URL", "http://h:1"),
        ("QRON_VERSION", "1.0"),
    ] {
        load("", &[(variable, value)]).unwrap_or_else(|error| panic!("{variable}: {error}"));
    }
}

#[test]
fn a_misspelt_section_or_key_has_a_suggestion() {
    assert_problem("[schedular]\nsweep = \"x\"\n", &[], &["unknown key schedular", "did you mean \"scheduler\"?"]);
    assert_problem("[api]\nadress = \"127.0.0.1:1\"\n", &[], &["unknown key api.adress", "did you mean \"address\"?"]);
}

#[test]
fn the_rest_port_of_qdrant_is_warned_of() {
    let config = load("", &[("QDRANT_URL", "http://u:secret-word@qdrant:6333")]).expect("valid");
    let warned = config.warnings().join("; ");
    assert!(
        warned.contains("(QDRANT_URL) has port 6333") && warned.contains("did you mean http://qdrant:6334?"),
        "{warned}"
    );
    assert!(!warned.contains("secret-word"), "{warned}");
}
