//! The configuration: its order of precedence, its errors, and that the defaults document themselves.

use std::io::Write as _;

use qron::config::{Config, ConfigError, DEFAULT_TOML};
use secrecy::ExposeSecret as _;

mod secrets;
mod sources;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut written = tempfile::NamedTempFile::new().expect("a file");
    written.write_all(file.as_bytes()).expect("written");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load_with(Some(written.path()), variables)
}

fn problems(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load(file, variables).expect_err("a configuration error").0
}

#[track_caller]
fn assert_problem(file: &str, variables: &[(&str, &str)], parts: &[&str]) {
    let found = problems(file, variables);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in parts {
        assert!(found[0].contains(part), "{:?} does not mention {part:?}", found[0]);
    }
}

#[test]
fn the_defaults_are_valid_by_themselves() {
    let config = Config::load_with(None, []).expect("valid defaults");
    assert_eq!(config.agents["generalist"].name, "generalist");
    assert_eq!(config.api.address.port(), 8080);
    assert!(!config.has_model());
}

#[test]
fn every_key_of_the_defaults_has_a_comment_above_it() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    let is_key = |line: &str| !line.starts_with('#') && line.contains(" = ");
    assert!(lines.iter().any(|line| is_key(line)));
    for pair in lines.windows(2).filter(|pair| is_key(pair[1])) {
        assert!(pair[0].starts_with("# "), "no comment above {:?}", pair[1]);
    }
}

#[test]
fn a_file_overrides_the_defaults_and_a_variable_the_file() {
    let file = "[worker]\ngrace_s = 7\nlease_ms = 60000\n[model]\nmodels = [\"a\"]\n";
    let config =
        load(file, &[("QRON__WORKER__GRACE_S", "9"), ("QRON__MODEL__MODELS", r#"["b", "c"]"#)]).expect("valid");
    assert_eq!(config.worker.grace_s, 9);
    assert_eq!(config.worker.lease_ms, 60_000);
    assert_eq!(config.worker.heartbeat_ms, 5_000, "untouched keys keep their default");
    assert_eq!(config.model.models, ["b", "c"]);
}

#[test]
fn a_retired_setting_is_left_out_with_a_warning_that_says_what_holds_instead() {
    let file = "[scheduler]\nwindow = 8\n[model]\nread_timeout_ms = 1\nconnect_timeout_ms = 1\n";
    let variables = [("QRON__SCHEDULER__CLAIM_BATCH", "1"), ("QRON__TOOLS__HTTP__MAX_REDIRECTS", "0")];
    let config = load(file, &variables).expect("valid");
    assert_eq!((config.scheduler.window, config.scheduler.claim_batch), (64, 256));
    assert_eq!((config.tools.http.max_redirects, config.model.read_timeout_ms), (5, 60_000));
    for (key, instead) in [
        ("scheduler.window", "64"),
        ("scheduler.claim_batch", "256"),
        ("model.connect_timeout_ms", "5 seconds"),
        ("model.read_timeout_ms", "60 seconds"),
        ("tools.http.max_redirects", "5 redirects"),
    ] {
        let about = |warning: &&String| warning.starts_with(key) && warning.contains(instead);
        assert_eq!(config.warnings().iter().filter(about).count(), 1, "{key}: {:?}", config.warnings());
    }
    assert_eq!(config.warnings().len(), 5);
    assert!(!DEFAULT_TOML.contains("claim_batch"), "a retired setting has no default");
}

#[test]
fn a_text_counts_as_a_list_wherever_a_list_is_wanted() {
    for (text, items) in [
        ("llama3.2", &["llama3.2"][..]),
        ("qwen3:8b", &["qwen3:8b"]),
        ("a,b", &["a", "b"]),
        (" a , b, ", &["a", "b"]),
        ("4", &["4"]),
        ("true", &["true"]),
        ("hf.co/x/Y-GGUF:Q4_K_M", &["hf.co/x/Y-GGUF:Q4_K_M"]),
        (r#"["a", "b"]"#, &["a", "b"]),
        (r#" ["a, b"]"#, &["a, b"]),
    ] {
        let config = load("", &[("QRON__MODEL__MODELS", text)]).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(config.model.models, items, "{text}");
    }
    let file = "[model]\nmodels = \"a, b\"\n[tools.http]\nallow = \"intranet\"\n[agents.x]\ncapabilities = \"sql\"\n";
    let config = load(file, &[("QRON__AGENTS__X__TOOLS", "calculate,read_file")]).expect("valid");
    assert_eq!(config.model.models, ["a", "b"]);
    assert_eq!(config.tools.http.allow, ["intranet"]);
    assert_eq!(config.agents["x"].capabilities, ["sql"]);
    assert!(config.agents["x"].allows("calculate") && config.agents["x"].allows("read_file"));
    assert!(!config.agents["x"].allows("write_file"));
}

#[test]
fn a_variable_that_ends_in_file_names_the_file_that_holds_the_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let (token, key, qdrant) = (secret("token", "t-1\n"), secret("key", " sk-2 \r\n"), secret("qdrant", "q-3"));
    let files = [
        ("QRON__API__TOKEN_FILE", token.as_str()),
        ("OPENAI_API_KEY_FILE", key.as_str()),
        ("QDRANT_API_KEY_FILE", qdrant.as_str()),
        ("QRON__WORKER__GRACE_S_FILE", &secret("grace", "9\n")),
        ("OPENAI_BASE_URL_FILE", ""),
    ];
    let config = load("", &files).expect("valid");
    assert_eq!(config.api.token.expose_secret(), "t-1");
    assert_eq!(config.model.api_key.expose_secret(), "sk-2");
    assert_eq!(config.store.api_key.expose_secret(), "q-3");
    assert_eq!(config.worker.grace_s, 9);

    let absent = folder.path().join("absent").to_string_lossy().into_owned();
    assert_problem("", &[("OPENAI_API_KEY_FILE", &absent)], &["OPENAI_API_KEY_FILE", &absent, "cannot be read"]);
    let both = [("QRON__API__TOKEN", "t-0"), ("QRON__API__TOKEN_FILE", token.as_str())];
    assert_problem("", &both, &["QRON__API__TOKEN", "QRON__API__TOKEN_FILE", "unset one"]);
    let empty = [("QDRANT_API_KEY", ""), ("QDRANT_API_KEY_FILE", qdrant.as_str())];
    assert_eq!(load("", &empty).expect("an empty one is unset").store.api_key.expose_secret(), "q-3");
    let long = secret("long", &"x".repeat(70_000));
    assert_problem("", &[("QRON__API__TOKEN_FILE", &long)], &["QRON__API__TOKEN_FILE", &long, "65536 bytes"]);
    assert_problem("", &[("QRON__API__TOKN_FILE", &token)], &["api.tokn_file", "QRON__API__TOKN_FILE", "token"]);
    let wrong = secret("wrong", "sk-very-secret soon");
    let told = problems("", &[("QRON__WORKER__GRACE_S_FILE", &wrong), ("QRON__API__TOKEN_FILE", &wrong)]).join("\n");
    assert!(told.contains("QRON__WORKER__GRACE_S"), "{told}");
}

#[test]
fn variables_of_openai_and_qdrant_are_understood_and_yield_to_those_of_qron() {
    let well_known = [
        ("OPENAI_API_KEY", "sk-1"),
        ("OPENAI_BASE_URL", "http://localhost:11434/v1"),
        ("QDRANT_URL", "http://qdrant:6334"),
        ("QDRANT_API_KEY", "12345"),
    ];
    let config = load("[store]\nurl = \"http://file:6334\"\n", &well_known).expect("valid");
    assert_eq!(config.model.api_key.expose_secret(), "sk-1");
    assert_eq!(config.model.base_url, "http://localhost:11434/v1");
    assert_eq!(config.store.url, "http://qdrant:6334");
    assert_eq!(config.store.api_key.expose_secret(), "12345", "digits stay text");
    assert!(config.has_model());

    let mut all = vec![("QRON__STORE__URL", "http://mine:6334"), ("OPENAI_BASE_URL", "")];
    all.extend(well_known.into_iter().filter(|(name, _)| *name != "OPENAI_BASE_URL"));
    let config = load("", &all).expect("valid");
    assert_eq!(config.store.url, "http://mine:6334");
    assert_eq!(config.model.base_url, "", "an empty variable says nothing");
}

#[test]
fn an_agent_of_the_user_joins_the_default_one_which_can_be_overridden() {
    let file = "[agents.sql]\ncapabilities = [\"sql\"]\n[agents.sql.budget]\nmax_steps = 3\n[agents.generalist]\ncapacity = 2\n";
    let config = load(file, &[]).expect("valid");
    assert_eq!(config.agents.keys().collect::<Vec<_>>(), ["generalist", "sql"]);
    assert_eq!(config.agents["generalist"].capacity, 2);
    assert!(!config.agents["generalist"].role.is_empty());
    assert_eq!(config.agents["sql"].budget.max_steps, 3);
    assert_eq!(config.agents["sql"].budget.max_replans, 2);
}

#[test]
fn an_unknown_key_is_named_with_its_source_and_the_valid_ones() {
    assert_problem("[worker]\ngrace = 3\n", &[], &["worker.grace ", "file /", "grace_s", "lease_ms"]);
    assert_problem("[wroker]\n", &[], &["wroker", "the sections are", "worker"]);
    assert_problem("[agents.x]\nname = \"y\"\n", &[], &["agents.x.name", "capabilities", "budget"]);
    assert_problem("[agents.x.budget]\nmax = 1\n", &[], &["agents.x.budget.max", "max_steps"]);
    assert_problem(
        "[model.prices.\"m\"]\nprompt = 1\ncompletion = 1\ninput = 1\n",
        &[],
        &["model.prices.m.input", "prompt"],
    );
    assert_problem("", &[("QRON__WORKER__GRACE", "3")], &["worker.grace ", "QRON__WORKER__GRACE", "grace_s"]);
    assert_problem("", &[("QRON__WORKER", "3")], &["QRON__WORKER", "QRON__SECTION__KEY"]);
    assert_problem(
        "",
        &[("QRON_WORKER__GRACE_S", "3")],
        &["variable QRON_WORKER__GRACE_S", "write it QRON__WORKER__GRACE_S"],
    );
}

#[test]
fn a_wrong_type_names_key_value_and_what_is_allowed() {
    assert_problem("[worker]\ngrace_s = \"soon\"\n", &[], &["worker.grace_s", "\"soon\"", "whole number"]);
    assert_problem("[worker]\ngrace_s = -1\n", &[], &["worker.grace_s", "-1", "zero or more"]);
    assert_problem("[model]\nmodels = 5\n", &[], &["model.models = 5", "file /", "a,b", r#"["a", "b"]"#]);
    assert_problem("[model]\nmodels = [5]\n", &[], &["model.models", "list"]);
    assert_problem("", &[("QRON__MODEL__MODELS", r#"["a", 5]"#)], &["QRON__MODEL__MODELS", "list"]);
    assert_problem("worker = 1\n", &[], &["worker", "section"]);
    assert_problem("", &[("QRON__WORKER__GRACE_S", "soon")], &["worker.grace_s", "soon", "whole number"]);
    assert_problem("[api]\naddress = \"here\"\n", &[], &["api.address = \"here\"", "file /", "127.0.0.1:8080"]);
    assert_problem("[scheduler]\nzone = \"Europe/Berln\"\n", &[], &["scheduler.zone", "Europe/Berln", "IANA"]);
    assert_problem("[log]\nformat = \"xml\"\n", &[], &["log.format", "xml", "text", "json"]);
    assert_problem("[model]\ntries = 5000000000\n", &[], &["model.tries", "5000000000"]);
}

#[test]
fn what_a_type_cannot_say_is_checked_too() {
    assert_problem("[worker]\nheartbeat_ms = 9000\n", &[], &["worker.heartbeat_ms = 9000", "5000"]);
    assert_problem("[agents.generalist]\ncapacity = 0\n", &[], &["agents.generalist.capacity", "1 or more"]);
    assert_problem("[api]\naddress = \"0.0.0.0:8080\"\n", &[], &["api.address", "api.token"]);
    assert_problem("[embedded]\naddress = \"0.0.0.0:6334\"\n", &[], &["embedded.address", "embedded.api_key"]);
    assert_problem("[scheduler]\nsweep = \"* * * * *\"\n", &[], &["scheduler.sweep", "seconds"]);
    assert_problem("[store]\nurl = \"qdrant:6334\"\n", &[], &["store.url", "http://"]);
    assert_problem("[store]\nprefix = \"a b\"\n", &[], &["store.prefix", "a b"]);
    assert_problem("[log]\nfilter = \"loud\"\n", &[], &["log.filter", "loud", "info"]);
    assert_problem("[agents.\"a b\"]\n", &[], &["a b", "letters"]);
    assert_problem("[model]\nmodels = [\"a\", \"\"]\n", &[], &["model.models"]);
    assert_problem("[agents.x]\ntools = [\"fly\"]\n", &[], &["agents.x.tools", "\"fly\"", "calculate"]);
    assert_problem("[agents.x]\nneeds_approval = [\"sned\"]\n", &[], &["agents.x.needs_approval", "\"sned\""]);
    assert_problem("[retry]\nbase_ms = 30000000\n", &[], &["retry.base_ms", "retry.max_ms"]);
    assert_problem("[embeddings]\nmodel = \"e\"\n", &[], &["embeddings.model", "OPENAI_BASE_URL"]);
    assert_problem("[tools.sql.x]\nurl = \"mysql://me:pw@h/d\"\n", &[], &["tools.sql.x.url", "sqlite://"]);
    assert_problem("", &[("OPENAI_API_KEY", "sk-a\nb")], &["model.api_key", "line break"]);
}

/// Times that no clock holds would end the program when they are added to its own.
#[test]
fn a_time_beyond_ten_years_is_refused() {
    for (section, key, most) in [
        ("worker", "grace_s", 315_360_000_u64),
        ("retention", "every_s", 315_360_000),
        ("api", "head_timeout_s", 315_360_000),
        ("model", "patience_s", 315_360_000),
        ("approvals", "expire_s", 315_360_000),
        ("model", "timeout_ms", 315_360_000_000),
        ("store", "timeout_ms", 315_360_000_000),
        ("tools", "timeout_ms", 315_360_000_000),
    ] {
        let name = format!("{section}.{key}");
        for value in [most + 1, u64::from(u32::MAX) * 1_000_000, i64::MAX.unsigned_abs()] {
            let file = format!("[{section}]\n{key} = {value}\n");
            assert_problem(&file, &[], &[&name, &value.to_string(), &format!("use {most} or less")]);
        }
        assert!(load(&format!("[{section}]\n{key} = {most}\n"), &[]).is_ok(), "{name}");
    }
}

#[test]
fn a_reachable_address_with_a_secret_is_accepted() {
    let config = load("[api]\naddress = \"0.0.0.0:80\"\ntoken = \"t\"\n", &[]).expect("valid");
    assert_eq!(config.api.address.port(), 80);
}

#[test]
fn all_problems_are_told_at_once() {
    let file =
        "[worker]\ngrace = 1\nlease_ms = \"x\"\n[api]\naddress = \"nowhere\"\n[agents.generalist]\ncapacity = 0\n";
    let found = problems(file, &[("QRON__LOG__FILTER", "loud"), ("QRON__NOPE__X", "1")]);
    for part in ["worker.grace", "worker.lease_ms", "api.address", "capacity", "log.filter", "nope"] {
        assert!(found.iter().any(|problem| problem.contains(part)), "{part} is missing in {found:?}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
}

#[test]
fn one_setting_moves_all_data_but_what_is_set_itself() {
    let folders = |variables: &[(&str, &str)]| {
        let config = load("", variables).expect("valid");
        let shown = config.effective_toml().to_owned();
        for folder in [&config.tools.workspace, &config.artifacts.folder] {
            assert!(shown.contains(&folder.display().to_string()), "{} is not shown", folder.display());
        }
        (config.tools.workspace, config.artifacts.folder)
    };
    let both = |workspace: &str, artifacts: &str| (workspace.into(), artifacts.into());
    assert_eq!(folders(&[]), both("qron-data/workspace", "qron-data/artifacts"));
    let moved = ("QRON__EMBEDDED__DATA_DIR", "/srv/qron");
    assert_eq!(folders(&[moved]), both("/srv/qron/workspace", "/srv/qron/artifacts"));
    let own = ("QRON__ARTIFACTS__FOLDER", "/mnt/shared");
    assert_eq!(folders(&[moved, own]), both("/srv/qron/workspace", "/mnt/shared"));
    let own = ("QRON__TOOLS__WORKSPACE", "/mnt/work");
    assert_eq!(folders(&[moved, own]), both("/mnt/work", "/srv/qron/artifacts"));
}

#[test]
fn an_abbreviation_is_no_zone() {
    assert_problem("", &[("QRON__SCHEDULER__ZONE", "EST")], &["scheduler.zone", "\"EST\"", "America/New_York"]);
    assert_problem("", &[("QRON__SCHEDULER__ZONE", "PST")], &["scheduler.zone", "America/Los_Angeles"]);
    assert_problem("[scheduler]\nzone = \"CET\"\n", &[], &["scheduler.zone", "Europe/Berlin"]);
    let config = load("[scheduler]\nzone = \"America/New_York\"\n", &[]).expect("valid");
    assert_eq!(config.tools.zone, config.scheduler.zone);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let error = Config::load_with(Some("/nowhere/qron.toml".as_ref()), []).expect_err("missing");
    assert!(error.to_string().contains("/nowhere/qron.toml"), "{error}");
    assert_problem("[worker\n", &[], &["not valid TOML", "line 1"]);
}

#[test]
fn no_secret_is_shown_neither_in_the_effective_settings_nor_in_an_error() {
    let file = "[api]\ntoken = \"canary-1\"\n[tools.sql.s]\nurl = \"postgres://u:canary-2@h/d\"\n\
                [model]\nbase_url = \"http://u:canary-3@h/v1\"\napi_key = \"canary-4\"\n";
    let config = load(file, &[("QDRANT_API_KEY", "canary-5")]).expect("valid");
    assert!(!config.effective_toml().contains("canary"), "{}", config.effective_toml());
    assert!(config.effective_toml().contains("token = \"***\""));
    assert!(!format!("{config:?}").contains("canary-1"));

    let wrong =
        "[api]\ntoken = [\"canary-1\"]\n[store]\nurl = \"x://u:canary-2@h\"\n[tools.sql.s]\nurl = \"y:canary-3\"\n";
    let error = load(wrong, &[]).expect_err("wrong").to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn the_effective_settings_can_be_read_again() {
    let file = "[agents.x]\nrole = \"says \\\"hi\\\"\\n\"\n[model.prices.\"gpt 5\"]\nprompt = 0.25\ncompletion = 2\n";
    let config = load(file, &[]).expect("valid");
    let again = load(config.effective_toml(), &[]).expect("valid");
    assert_eq!(again.effective_toml(), config.effective_toml());
    assert_eq!(again.agents["x"].role, "says \"hi\"\n");
    assert!((again.model.prices["gpt 5"].completion - 2.0).abs() < f64::EPSILON);

    for text in ["https://wiki.example/?page=1#top", "me:you@example.org", "Look at https://x.example/?a=b c"] {
        let config = load(&format!("[agents.x]\ninstructions = \"{text}\"\n"), &[]).expect("valid");
        assert!(config.effective_toml().contains(text), "{}", config.effective_toml());
    }
}

#[test]
fn a_budget_that_the_one_of_a_tree_cuts_short_is_warned_of() {
    let of = |budget: &str| format!("[agents.writer]\n[agents.writer.budget]\n{budget}\n");
    for (key, value, limit) in [
        ("max_model_calls", "501", "500"),
        ("max_tokens", "5000001", "5000000"),
        ("max_cost_usd", "50.5", "50"),
        ("max_duration_s", "86401", "86400"),
    ] {
        let warnings = load(&of(&format!("{key} = {value}")), &[]).expect("valid").warnings().to_vec();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let told = format!("agents.writer.budget.{key} = {value} is more than tree.{key} = {limit}");
        assert!(warnings[0].starts_with(&told), "{warnings:?}");
        assert_eq!(load(&of(&format!("{key} = {limit}")), &[]).expect("valid").warnings(), [""; 0], "{key}");
    }
}

#[test]
fn further_fields_of_requests_take_any_name_and_value_but_those_of_qron() {
    let file = "[model.extra_body.\"qwen3:8b\"]\nseed = 7\nreasoning_effort = \"low\"\nx = { y = [1, true] }\ntemperature = 0\n";
    let config = load(file, &[("QRON__MODEL__EXTRA_BODY__M__TOP_K", "5")]).expect("valid");
    let fields = serde_json::to_value(&config.model.extra_body).expect("JSON");
    let expected = serde_json::json!({"m": {"top_k": 5},
        "qwen3:8b": {"seed": 7, "reasoning_effort": "low", "x": {"y": [1, true]}, "temperature": 0}});
    assert_eq!(fields, expected);
    let file = "[model.extra_body.m]\nmax_tokens = 5\n";
    assert_problem(file, &[], &["model.extra_body.\"m\".max_tokens = 5", "use model.max_output_tokens"]);
    assert_problem("[model.extra_body]\nm = 5\n", &[], &["model.extra_body.m", "a section"]);
}
