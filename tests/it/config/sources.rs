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
        ("QRON_API_TOKEN_FILE", "/x", "write it QRON__API__TOKEN_FILE"),
        ("QRON_URLL", "http://h", "write it QRON_URL"),
        ("QRON_CONFG", "/x.toml", "write it QRON_CONFIG"),
        ("QRON__URL", "http://h", "use QRON_URL"),
        ("QRON__TOKEN", "x", "use QRON__API__TOKEN"),
        ("QRON__API_TOKEN", "x", "use QRON__API__TOKEN"),
        ("QRON__NONSENSE", "x", "use QRON__SECTION__KEY"),
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
        let config = load("", &[(variable, value)]).unwrap_or_else(|error| panic!("{variable}: {error}"));
        assert_eq!(config.warnings(), [""; 0], "{variable}");
    }
}

#[test]
fn a_variable_that_is_called_as_a_key_without_its_section_is_warned_of() {
    for (variable, meant) in [
        ("QRON_TOKEN", "QRON__API__TOKEN?"),
        ("QRON_TOKEN_FILE", "QRON__API__TOKEN_FILE?"),
        ("QRON_MODEL", "QRON__MODEL__MODELS"),
        ("QRON_ZONE", "QRON__SCHEDULER__ZONE?"),
        ("QRON_ADDRESS", "QRON__API__ADDRESS"),
        ("QRON_API_KEY", "QRON__API__TOKEN or "),
        ("QRON_LOG_LEVEL", "QRON__LOG__FILTER?"),
        ("QRON_DATA_DIR", "QRON__EMBEDDED__DATA_DIR?"),
    ] {
        let config = load("", &[(variable, "hidden-word")]).unwrap_or_else(|error| panic!("{variable}: {error}"));
        let [warning] = config.warnings() else { panic!("{variable}: {:?}", config.warnings()) };
        assert!(warning.contains(&format!("variable {variable} ")) && warning.contains(meant), "{warning}");
        assert!(!warning.contains("hidden-word"), "{warning}");
        assert_eq!(config.unknown_variables(), config.warnings());
    }
}

#[test]
fn a_well_known_variable_that_does_nothing_is_warned_of_unless_its_setting_has_a_source() {
    for (variable, read, setting) in [
        ("OPENAI_API_BASE", "OPENAI_BASE_URL", "model.base_url"),
        ("OPENAI_BASEURL", "OPENAI_BASE_URL", "model.base_url"),
        ("OLLAMA_HOST", "OPENAI_BASE_URL", "model.base_url"),
        ("OPENAI_KEY", "OPENAI_API_KEY", "model.api_key"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY", "model.api_key"),
        ("OPENAI_MODEL", "QRON__MODEL__MODELS", "model.models"),
        ("QDRANT_HOST", "QDRANT_URL", "store.url"),
        ("QDRANT_URI", "QDRANT_URL", "store.url"),
        ("RUST_LOG", "QRON__LOG__FILTER", "log.filter"),
    ] {
        let config = load("", &[(variable, "hidden-word")]).expect("valid");
        let [warning] = config.warnings() else { panic!("{variable}: {:?}", config.warnings()) };
        for part in [variable, read, setting] {
            assert!(warning.contains(part) && !warning.contains("hidden-word"), "{part:?} is missing in {warning}");
        }
        assert_eq!(config.unknown_variables(), [""; 0]);
    }
    let set = [("OPENAI_API_BASE", "x"), ("OPENAI_BASE_URL", "http://h/v1")];
    assert_eq!(load("", &set).expect("valid").warnings(), [""; 0]);
    let file = "[log]\nfilter = \"warn\"\n[model]\nbase_url = \"http://h/v1\"\n";
    assert_eq!(load(file, &[("RUST_LOG", "debug"), ("OLLAMA_HOST", "h")]).expect("valid").warnings(), [""; 0]);
    for variable in ["OPENAI_ORG_ID", "OPENAI_PROJECT", "QDRANT__SERVICE__GRPC_PORT", "OPENAI_API_BASE_"] {
        assert_eq!(load("", &[(variable, "")]).expect("valid").warnings(), [""; 0], "{variable}");
    }
    for variable in ["OPENAI_ORG_ID", "OPENAI_PROJECT", "QDRANT__SERVICE__GRPC_PORT"] {
        assert_eq!(load("", &[(variable, "x")]).expect("valid").warnings(), [""; 0], "{variable}");
    }
}

#[test]
fn numbers_of_variables_are_shown() {
    let variables = [
        ("QRON__WORKER__GRACE_S", "9"),
        ("QRON__TREE__MAX_TOKENS", "18000000000000000000"),
        ("QRON__TREE__MAX_COST_USD", "2.5"),
    ];
    let shown = load("[api]\nhead_timeout_s = 7\n", &variables).expect("valid").effective_toml().to_owned();
    for line in ["grace_s = 9\n", "max_tokens = 18000000000000000000\n", "max_cost_usd = 2.5\n", "head_timeout_s = 7\n"]
    {
        assert!(shown.contains(line), "{line} is missing in {shown}");
    }
    assert_problem(
        "",
        &[("QRON__TOOLS__SQL__X__URL", "sqlite:///x"), ("QRON__TOOLS__SQL__X__MAX_CONNECTIONS", "101")],
        &["max_connections = 101 ("],
    );
}

#[test]
fn a_misspelt_section_or_key_has_a_suggestion() {
    assert_problem("[schedular]\nsweep = \"x\"\n", &[], &["unknown key schedular", "did you mean \"scheduler\"?"]);
    let sweep = ["unknown key scheduler.swep_s", "did you mean \"sweep\"?"];
    assert_problem("[scheduler]\nswep_s = 1\n", &[], &sweep);
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
