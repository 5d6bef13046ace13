//! Compose file, Kubernetes manifest, systemd unit and image.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use qron::config::Config;

use super::{read, root};

/// Variables that a deployment sets for qron: what is filled in by its user stands as `filled-in`.
type Variables = Vec<(String, String)>;

fn compose_service<'a>(compose: &'a str, name: &str) -> &'a str {
    let start = compose.find(&format!("\n  {name}:\n")).unwrap_or_else(|| panic!("no service {name}"));
    let body = &compose[start + 1..];
    let end = body.match_indices('\n').map(|(at, _)| at).find(|at| {
        body[at + 1..].starts_with("  ") && body[at + 3..].starts_with(|letter: char| letter.is_alphabetic())
    });
    let end = end.or_else(|| body.find("\n\n")).unwrap_or(body.len());
    &body[..end]
}

fn compose_variables(service: &str) -> Variables {
    let (_, environment) = service.split_once("\n    environment:\n").expect("an environment");
    environment
        .lines()
        .take_while(|line| line.starts_with("      "))
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(key, value)| {
            let value = value.trim_matches('"');
            (key.to_owned(), if value.starts_with("${") { "filled-in".to_owned() } else { value.to_owned() })
        })
        // A URL and a switch cannot be made up.
        .filter(|(key, _)| !["OPENAI_BASE_URL", "QRON_NO_MODEL"].contains(&key.as_str()))
        .collect()
}

fn kubernetes_variables(manifest: &str) -> Variables {
    let inline = manifest.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_prefix("- { name: ")?.split_once(", value: \"")?;
        Some((name.to_owned(), value.strip_suffix("\" }")?.to_owned()))
    });
    let secret = manifest.split("\n            - name: ").skip(1).filter_map(|item| {
        let (name, rest) = item.split_once('\n')?;
        rest.trim_start().starts_with("valueFrom:").then(|| (name.to_owned(), "filled-in".to_owned()))
    });
    inline.chain(secret).collect()
}

/// The variables with the files that they name put into `folder`, as a container platform mounts them.
fn with_files(variables: Variables, folder: &Path) -> Variables {
    let mount = |(key, value): (String, String)| {
        if !key.ends_with("_FILE") {
            return (key, value);
        }
        let path = folder.join(Path::new(&value).file_name().expect("a file"));
        fs::write(&path, "filled-in\n").expect("written");
        (key, path.to_string_lossy().into_owned())
    };
    variables.into_iter().map(mount).collect()
}

/// Variables that a service of the compose file passes on only when its user sets them.
fn compose_passed_on(service: &str) -> Vec<&str> {
    let (_, environment) = service.split_once("\n    environment:\n").expect("an environment");
    let lines = environment.lines().take_while(|line| line.starts_with("      "));
    lines.filter_map(|line| line.trim().strip_suffix(':')).collect()
}

/// The text under a key of a manifest that ends in `: |`, without its indentation.
fn block(manifest: &str, key: &str) -> String {
    let (_, rest) = manifest.split_once(&format!("\n  {key}: |\n")).unwrap_or_else(|| panic!("no {key}"));
    rest.lines().map_while(|line| line.strip_prefix("    ")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn what_the_deployments_set_is_a_valid_configuration() {
    let compose = compose_variables(compose_service(&read("deploy/compose.yaml"), "qron"));
    let kubernetes = kubernetes_variables(&read("deploy/kubernetes/qron.yaml"));
    let folder = tempfile::tempdir().expect("a folder");
    for (variables, least) in [(compose, 8), (kubernetes, 8)] {
        let variables = with_files(variables, folder.path());
        assert!(variables.len() >= least, "variables are not found any more: {variables:?}");
        Config::load_with(None, variables.clone()).unwrap_or_else(|error| panic!("{variables:?}:\n{error}"));
    }
    let wrong = vec![("QRON__WORKER__GRACE".to_owned(), "30".to_owned())];
    assert!(Config::load_with(None, wrong).is_err(), "this test would notice a key that does not exist");
}

#[test]
fn the_configuration_files_of_the_deployments_are_valid_as_they_are_and_with_their_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    let compose = read("deploy/qron.toml");
    // Prose begins a line with a capital letter or a backquote, an example with a section or a key.
    let is_example =
        |line: &str| line.strip_prefix("# ").is_some_and(|text| text.contains(" = ") || text.starts_with('['));
    let uncommented: Vec<&str> =
        compose.lines().map(|line| if is_example(line) { line.trim_start_matches("# ") } else { line }).collect();
    let kubernetes = block(&read("deploy/kubernetes/qron.yaml"), "qron.toml");
    assert!(kubernetes.contains("models = "), "there is no place for the name of a model");
    for text in [&compose, &uncommented.join("\n"), &kubernetes] {
        let path = folder.path().join("qron.toml");
        fs::write(&path, text).expect("written");
        Config::load_with(Some(&path), []).unwrap_or_else(|error| panic!("{text}:\n{error}"));
    }
    assert!(uncommented.iter().any(|line| line.starts_with("models = ")), "{uncommented:?}");
}

#[test]
fn a_person_can_fill_in_settings_models_secrets_and_a_contact() {
    let (compose, example) = (read("deploy/compose.yaml"), read("deploy/env.example"));
    let service = compose_service(&compose, "qron");
    let passed_on = compose_passed_on(service);
    assert!(passed_on.contains(&"QRON__MODEL__MODELS") && passed_on.contains(&"OPENAI_API_KEY_FILE"), "{passed_on:?}");
    for name in passed_on {
        assert!(example.contains(&format!("\n#{name}=")), "deploy/env.example does not tell about {name}");
    }
    for needed in
        ["extra_hosts: [\"host.docker.internal:host-gateway\"]", "./qron.toml:/etc/qron/qron.toml:ro", "./secrets:"]
    {
        assert!(service.contains(needed), "qron lacks {needed}");
    }
    for variable in compose_variables(service).iter().filter(|(name, _)| name == "QRON_CONFIG") {
        assert!(service.contains(&format!(":{}:ro", variable.1)), "{variable:?} is not mounted");
    }
    // What was passed on would end in the settings of qron.
    let example = example.lines().filter_map(|line| line.strip_prefix("#QRON__")?.split_once('='));
    for (name, value) in example {
        let variables = [(format!("QRON__{name}"), value.to_owned())];
        Config::load_with(None, variables).unwrap_or_else(|error| panic!("deploy/env.example: {error}"));
    }

    let manifest = read("deploy/kubernetes/qron.yaml");
    for (name, path) in kubernetes_variables(&manifest) {
        if name == "QRON_CONFIG" || name.ends_with("_FILE") {
            let folder = Path::new(&path).parent().expect("a folder").display().to_string();
            assert!(
                manifest.contains(&format!("mountPath: {folder}, readOnly: true")),
                "{name}: {folder} is not mounted"
            );
        }
    }
    assert!(read("deploy/prometheus/prometheus.yml").contains("targets: [\"alertmanager:9093\"]"));
}

/// The Alertmanager's configuration, first as it is, then with each of its commented contact points filled in.
fn contacts() -> Vec<String> {
    let text = read("deploy/alertmanager/alertmanager.yml");
    let is_code =
        |line: &str| line.strip_prefix("    #").is_some_and(|rest| !rest.starts_with(' ') || rest.starts_with("  "));
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].ends_with("_configs:")).collect();
    let filled_in = starts.iter().map(|start| {
        let uncomment = |(at, line): (usize, &&str)| {
            let follows = at >= *start && lines[*start..=at].iter().all(|line| is_code(line));
            if follows { line.replacen('#', "", 1) } else { (*line).to_owned() }
        };
        lines.iter().enumerate().map(uncomment).collect::<Vec<_>>().join("\n") + "\n"
    });
    std::iter::once(text.clone()).chain(filled_in).collect()
}

#[test]
fn amtool_agrees_with_each_contact_point() {
    let contacts = contacts();
    assert!(contacts.len() > 3, "the contact points are not found any more: {contacts:?}");
    for (at, text) in contacts.iter().enumerate() {
        assert_eq!(
            text.contains("\n    email_configs:")
                || text.contains("\n    slack_configs:")
                || text.contains("\n    webhook_configs:"),
            at > 0
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alertmanager.yml");
        fs::write(&path, text).expect("written");
        let output = match Command::new("amtool").arg("check-config").arg(&path).output() {
            Ok(output) => output,
            Err(error) => {
                // Written past the capture of the test harness: a check that did not run has to be seen.
                writeln!(
                    io::stderr(),
                    "SKIPPED: amtool cannot be run ({error}); Debian has it in the package prometheus-alertmanager"
                )
                .expect("standard error");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "amtool check-config: {said}\n{text}");
    }
}

#[test]
fn running_tasks_get_their_grace_before_the_process_is_killed() {
    let compose = read("deploy/compose.yaml");
    let variables = compose_variables(compose_service(&compose, "qron"));
    let config = Config::load_with(None, variables).expect("a valid configuration");
    let default = Config::load_with(None, []).expect("the defaults");
    for (path, prefix, suffix, grace_s) in [
        ("deploy/compose.yaml", "stop_grace_period: ", "s", config.worker.grace_s),
        ("deploy/kubernetes/qron.yaml", "terminationGracePeriodSeconds: ", "", default.worker.grace_s),
        ("deploy/qron.service", "TimeoutStopSec=", "", default.worker.grace_s),
    ] {
        let text = read(path);
        let limit =
            text.lines().find_map(|line| line.trim().strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<u64>().ok());
        assert!(limit.is_some_and(|limit| limit > grace_s), "{path}: {prefix}{limit:?} is within {grace_s} s");
    }
}

#[test]
fn every_service_is_hardened_limited_watched_and_published_on_loopback_only() {
    let compose = read("deploy/compose.yaml");
    for name in ["qdrant", "qron", "prometheus", "alertmanager", "grafana"] {
        let service = compose_service(&compose, name);
        for needed in ["<<: *hardened", "user: \"", "healthcheck:", "volumes:", "ports: [", "mem_limit: "] {
            assert!(service.contains(needed), "{name} lacks {needed}");
        }
        assert!(!service.contains("user: \"0"), "{name} runs as root");
        let ports = service.lines().find_map(|line| line.trim().strip_prefix("ports: [")).unwrap_or_default();
        assert!(ports.split(',').all(|port| port.trim().starts_with("\"127.0.0.1:")), "{name}: {ports}");
        assert!(!service.contains(":latest"), "{name} is not pinned");
    }
    for needed in ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"] {
        assert!(compose.contains(needed), "{needed} is gone");
    }
}

#[test]
fn every_file_that_a_deployment_mounts_or_copies_is_there() {
    for line in read("deploy/compose.yaml").lines() {
        let Some((source, _)) = line.trim().strip_prefix("- ").and_then(|mount| mount.split_once(":/")) else {
            continue;
        };
        if source.starts_with('.') {
            assert!(root().join("deploy").join(source).exists(), "compose mounts {source}, which is not there");
        }
    }
    for line in read("deploy/Dockerfile").lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from="))
    {
        let mut sources: Vec<&str> = line.split(' ').skip(1).collect();
        sources.pop();
        for source in sources {
            assert!(root().join(source).exists(), "the image copies {source}, which is not there");
        }
    }
}

#[test]
fn every_variable_of_the_compose_file_is_in_the_example() {
    let example = read("deploy/env.example");
    for (at, _) in read("deploy/compose.yaml").match_indices("${") {
        let compose = read("deploy/compose.yaml");
        let name = compose[at + 2..].split([':', '}']).next().unwrap_or_default().to_owned();
        assert!(example.lines().any(|line| line == format!("{name}=")), "deploy/env.example lacks {name}");
    }
}

#[test]
fn the_image_and_the_unit_run_without_rights() {
    let image = read("deploy/Dockerfile");
    assert!(image.lines().any(|line| line == "USER 65532:65532"), "the image runs as root");
    assert!(image.contains("--profile dist") && image.contains("--locked"));
    let unit = read("deploy/qron.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "KillSignal=SIGTERM",
    ] {
        assert!(unit.lines().any(|found| found == line), "the unit lacks {line}");
    }
}
