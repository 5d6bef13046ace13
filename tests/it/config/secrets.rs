//! No secret in an error, in `config show`, or in what is told of a file: wherever it stands, and whatever is wrong with it.

use std::os::unix::fs::PermissionsExt as _;

use qron::config::Config;

use super::{load, problems};

/// Every letter of it in a row that no message holds by itself.
const CANARY: &str = "c4n4ry";

#[track_caller]
fn assert_silent(told: &str, what: &str) {
    assert!(!told.to_lowercase().contains(CANARY), "{what}: {told}");
}

#[test]
fn a_line_that_is_no_toml_is_not_repeated() {
    for line in [
        "api_key = \"sk-c4n4ry",
        "api_key = sk-c4n4ry",
        "api_key = 'sk-c4n4ry",
        "api_key = \"\"\"sk-c4n4ry",
        "api_key = \"sk-c4n4ry\\q\"",
        "api_key = \"sk-c4n4ry\" trailing",
        "api_key \"sk-c4n4ry\"",
        "api_key = [\"sk-c4n4ry\"",
        "api_key = {a = \"sk-c4n4ry\"",
        "sk-c4n4ry",
        "\"sk-c4n4ry",
        "api_key = \"sk-c4n4ry\u{1}\"",
        "api_key = \"x\"\napi_key = \"sk-c4n4ry\"",
        "api_key = 12sk-c4n4ry",
        "base_url = http://u:c4n4ry@h",
        "| c4n4ry = ",
        "3 | c4n4ry",
    ] {
        let told = problems(&format!("# first\n[model]\n{line}\n"), &[]).join("\n");
        assert!(told.contains("is not valid TOML") && told.contains("line "), "{told}");
        assert_silent(&told, line);
    }
}

#[test]
fn a_secret_of_the_wrong_type_or_in_the_wrong_place_is_not_repeated() {
    for file in [
        "[model]\napi_key = [\"sk-c4n4ry\"]\n",
        "[model]\napi_key = { a = \"sk-c4n4ry\" }\n",
        "[model.api_key]\nvalue = \"sk-c4n4ry\"\n",
        "[store]\napi_key = [[\"sk-c4n4ry\"]]\n",
        "[api]\ntoken = { file = \"sk-c4n4ry\" }\n",
        "model = \"sk-c4n4ry\"\n",
        "[tools]\nsql = \"postgres://u:c4n4ry@h/d?password=c4n4ry\"\n",
        "[tools.sql]\nsales = \"postgres://u:c4n4ry@h/d\"\n",
        "[tools.sql.sales]\nurl = [\"postgres://u:c4n4ry@h/d\"]\n",
        "[tools.sql.sales]\nurl = \"mysql://u:c4n4ry@h/d\"\n",
        "[tools.sql.sales]\nuri = \"postgres://u:c4n4ry@h/d\"\n",
        "[store]\nurl = \"qdrant:6334?key=c4n4ry\"\n",
        "[store]\nurl = \"x://u:c4n4ry@h\"\n",
        "[store]\nurl = [\"http://u:c4n4ry@h\"]\n",
        "[model]\nbase_url = \"ftp://h?key=c4n4ry\"\n",
        "[model]\nmodels = [\"a\", 5]\napi_keys = \"sk-c4n4ry\"\n",
        "api_key = \"sk-c4n4ry\"\n",
        "[agents]\ngeneralist = \"sk-c4n4ry\"\n",
        "[limits.keys]\nx = \"sk-c4n4ry\"\n",
    ] {
        let found = problems(file, &[]);
        assert!(!found.is_empty());
        assert_silent(&found.join("\n"), file);
    }
    for (variable, value) in [
        ("QRON__MODEL", "sk-c4n4ry"),
        ("QRON__TOOLS__SQL", "postgres://u:c4n4ry@h/d"),
        ("QRON__TOOLS__SQL__X", "postgres://u:c4n4ry@h/d"),
        ("QRON__TOOLS__SQL__X__URL", "u:c4n4ry@h/d"),
        ("QRON__MODEL__API_KEY__X", "sk-c4n4ry"),
        ("QRON__MODEL__APIKEY", "sk-c4n4ry"),
        ("QRON_MODEL__API_KEY", "sk-c4n4ry"),
        ("QRON__MODEL__API_KEY", "sk c4n4ry"),
        ("QRON__API__TOKEN", "c4n4ry\u{1}"),
        ("QRON__STORE__URL", "u:c4n4ry@h"),
        ("OPENAI_API_KEY", "sk-c4n4ry\nx"),
        ("OPENAI_API_KEY_FILE", "sk-c4n4ry"),
        ("QRON__API__TOKEN_FILE", "c4n4ry.token"),
        ("QDRANT_URL", "u:c4n4ry@h"),
    ] {
        let found = problems("", &[(variable, value)]);
        assert!(!found.is_empty());
        assert_silent(&found.join("\n"), variable);
    }
}

/// A file named by a variable holds a secret, whichever setting it is read for.
#[test]
fn what_a_named_file_holds_is_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "sk-c4n4ry\n").expect("written");
    let path = path.to_string_lossy().into_owned();
    for variable in
        ["QRON__WORKER__GRACE_S_FILE", "QRON__EMBEDDED__NEXT_FREE_PORT_FILE", "QRON__AGENTS__X__CAPACITY_FILE"]
    {
        let told = problems("", &[(variable, &path)]).join("\n");
        assert!(told.contains(variable.trim_end_matches("_FILE")), "{told}");
        assert_silent(&told, variable);
    }
}

#[test]
fn what_holds_is_shown_without_secrets_and_with_all_else() {
    let file = "[store]\nurl = \"https://me:c4n4ry@qdrant:6334/?api_key=c4n4ry&tenant=c4n4ry#c4n4ry\"\napi_key = \"c4n4ry\"\n\
                [model]\nbase_url = \"https://c4n4ry@h/v1?key=c4n4ry\"\napi_key = \"c4n4ry\"\n\
                [embedded]\napi_key = \"c4n4ry\"\n[api]\ntoken = \"c4n4ry\"\n\
                [tools.sql.s]\nurl = \"postgres://u:c4n4ry@h/d?password=c4n4ry\"\n[tools.sql.t]\nurl = \"sqlite:///c4n4ry\"\n";
    let config = load(file, &[]).expect("valid");
    assert_silent(config.effective_toml(), "config show");
    for shown in
        ["url = \"https://***@qdrant:6334/?api_key=***&tenant=***#***\"", "base_url = \"https://***@h/v1?key=***\""]
    {
        assert!(config.effective_toml().contains(shown), "{}", config.effective_toml());
    }
}

#[test]
fn a_file_with_a_secret_that_every_user_may_read_is_warned_of_with_its_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("qron.toml");
    let warnings = |text: &str, mode: u32, variables: &[(&str, &str)]| {
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load_with(Some(&path), variables).expect("valid").warnings().to_vec()
    };
    let name = path.display().to_string();
    for text in [
        "[api]\ntoken = \"token-0123456789\"\n",
        "[tools.sql.s]\nurl = \"postgres://u:pw-0123456789@h/d\"\n",
        "[store]\nurl = \"http://h:6334?api_key=key-0123456789\"\n",
    ] {
        for (mode, is_open) in [(0o644, true), (0o604, true), (0o666, true), (0o640, false), (0o600, false)] {
            let found = warnings(text, mode, &[]);
            assert_eq!(found.len(), usize::from(is_open), "{mode:o}: {found:?}");
            let told = found.join("");
            assert!(!is_open || told.contains(&name) && told.contains(&format!("{mode:04o}")), "{told}");
            assert!(!told.contains("0123456789"), "{told}");
        }
    }
    assert!(warnings("[worker]\ngrace_s = 5\n", 0o644, &[]).is_empty(), "no secret in it");

    let token = folder.path().join("token");
    std::fs::write(&token, "token-0123456789").expect("written");
    let variable = [("QRON__API__TOKEN_FILE", token.to_str().expect("UTF-8"))];
    for (mode, count) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(warnings("", 0o644, &variable).len(), count, "{mode:o}");
    }
}
