//! The page about plans and tools says what the program says.

use serde_json::Value;

use crate::examples::{Qron, example_of};
use crate::read;

const PAGE: &str = "docs/plans-and-tools.md";

#[test]
fn the_page_describes_every_tool_as_the_program_does() {
    let qron = Qron::start();
    let listing = qron.ask("GET", "/api/v1/tools", "");
    let tools = listing["items"].as_array().expect("tools");
    assert_eq!(tools.len(), qron::tools::NAMES.len(), "{listing}");
    for tool in tools {
        let description = tool["description"].as_str().expect("a description");
        assert!(description.contains("Answers {"), "{} does not say what it answers", tool["name"]);
        assert_eq!(tool["agents"], serde_json::json!(["generalist"]));
    }
    let expected = qron.run(&["tools", "--markdown"]);
    assert!(expected.contains("### http_request\n"), "{expected}");
    let page = read(PAGE);
    let (_, tools) = page.split_once("\n## Tools\n").expect("a chapter");
    let (_, described) = tools.split_once("\n### ").expect("tools");
    assert_eq!(format!("### {described}").trim_end(), expected.trim_end(), "put into {PAGE}: qron tools --markdown");
}

#[test]
fn a_tool_is_shown_with_its_arguments() {
    let qron = Qron::start();
    let said = qron.run(&["tools", "http_request"]);
    for part in [
        "http_request\n",
        "Answers {\"status\"",
        "Used by: generalist",
        "url (text, required): http or https",
        "Its output:\n    status (whole number)",
        "when its method",
    ] {
        assert!(said.contains(part), "{part:?} is missing in\n{said}");
    }
    assert!(!said.contains("read_file"), "{said}");
    let json: Value = serde_json::from_str(&qron.run(&["tools", "calculate", "read_file", "--json"])).expect("JSON");
    let names: Vec<&str> =
        json["items"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["calculate", "read_file"]);
    assert_eq!(json["items"][0]["parameters"]["type"], "object");
    assert_eq!(json["items"][0]["output"]["required"], serde_json::json!(["value", "exact"]));
    let refused = qron.output(&["tools", "fly"]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert!(told.contains("no tool is called \"fly\"") && told.contains("calculate, create_task"), "{told}");
}

#[test]
fn the_example_of_a_plan_is_taken() {
    let qron = Qron::start();
    let mut task: Value = serde_json::from_str(&example_of(PAGE, "json", "\"plan\"")).expect("JSON");
    // Due when the test has ended: the example reads a page of the internet.
    task["run_at"] = "2100-01-01T00:00:00Z".into();
    let submitted = qron.ask("POST", "/api/v1/tasks", &task.to_string());
    assert_eq!(submitted["status"], "pending", "{submitted}");
}
