//! Compose file, Kubernetes manifest, systemd unit and image.

use qron::config::Config;

use crate::{read, root};

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
        // A URL cannot be made up.
        .filter(|(key, _)| key != "OPENAI_BASE_URL")
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

#[test]
fn what_the_deployments_set_is_a_valid_configuration() {
    let compose = compose_variables(compose_service(&read("deploy/compose.yaml"), "qron"));
    let kubernetes = kubernetes_variables(&read("deploy/kubernetes/qron.yaml"));
    for (variables, least) in [(compose, 8), (kubernetes, 8)] {
        assert!(variables.len() >= least, "variables are not found any more: {variables:?}");
        Config::load_with(None, variables.clone()).unwrap_or_else(|error| panic!("{variables:?}:\n{error}"));
    }
    let wrong = vec![("QRON__WORKER__GRACE".to_owned(), "30".to_owned())];
    assert!(Config::load_with(None, wrong).is_err(), "this test would notice a key that does not exist");
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
fn every_service_is_hardened_watched_and_published_on_loopback_only() {
    let compose = read("deploy/compose.yaml");
    for name in ["qdrant", "qron", "prometheus", "grafana"] {
        let service = compose_service(&compose, name);
        for needed in ["<<: *hardened", "user: \"", "healthcheck:", "volumes:", "ports: ["] {
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
