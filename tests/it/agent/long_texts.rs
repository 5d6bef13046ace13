//! Texts that are longer than one question may be.

use qron::llm::scripted::{Scenario, Script};
use serde_json::json;

use super::bed::{Bed, planned, success};
use crate::support::qdrant_url;

#[tokio::test]
async fn a_page_of_300_kb_is_summed_up_within_150_000_tokens() {
    let lines: Vec<String> = (0..5_000)
        .map(|line| format!("Line {line:05} of the page tells of box {} and goes on.\n", line * 31))
        .collect();
    let page = lines.concat();
    assert!(page.len() > 250_000, "{}", page.len());
    let steps = json!([
        {"id": "page", "tool": "page", "arguments": {"text": page}},
        {"id": "sum", "instruction": "Sum up ${page}", "tools": []},
    ]);
    let on = || Scenario::on("sum up the page");
    let bed = Bed::new(vec![
        on().purpose("act").contains("you have part").text("boxes are told of"),
        on().purpose("act").contains("notes on its").text("A page about boxes."),
        on().purpose("answer").json(success("A page about boxes.")),
    ])
    .await;
    let (outcome, traces) = bed.run(&planned("sum up the page", &steps)).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("A page about boxes."));
    let requests: Vec<String> = bed.model.requests().iter().map(|request| request.body.to_string()).collect();
    for line in [0, 2_345, 4_999] {
        let wanted = format!("Line {line:05} ");
        assert_eq!(requests.iter().filter(|request| request.contains(&wanted)).count(), 1, "{wanted}");
    }
    // Four bytes of English are a token, about.
    let tokens = requests.iter().map(String::len).sum::<usize>() / 4;
    println!("{} requests, about {tokens} prompt tokens", requests.len());
    assert!(tokens < 150_000, "{tokens}");
    assert_eq!(traces.kinds().iter().filter(|kind| *kind == "step_split").count(), 1);
    assert!(!traces.kinds().iter().any(|kind| kind == "replanned"));
}

#[tokio::test]
async fn a_server_with_a_context_of_4096_tokens_gets_the_whole_goal_each_time() {
    let goal = format!("sum up the page {}of the end", "and of the boxes ".repeat(50));
    let page = "A line of the page. ".repeat(3_000);
    let steps = json!([
        {"id": "page", "tool": "page", "arguments": {"text": page}},
        {"id": "sum", "instruction": "Sum up ${page}", "tools": []},
    ]);
    let on = || Scenario::on("sum up the page");
    let script = Script::new(vec![
        on().purpose("act").text("A page of lines."),
        on().purpose("answer").json(success("A page of lines.")),
    ]);
    let bed = Bed::with(script.cutting_at(4096), &qdrant_url()).await;
    let (outcome, traces) = bed.run(&planned(&goal, &steps)).await;
    let result = outcome.result.expect("success");
    assert_eq!(result["output"], json!("A page of lines."));
    assert!(result["data_left_out"].as_u64().is_some_and(|bytes| bytes > 1_000), "a person must know of it: {result}");
    assert!(traces.kinds().iter().any(|kind| kind == "data_left_out"), "{:?}", traces.kinds());
    for request in bed.model.requests() {
        assert!(request.body.to_string().contains(&goal), "{}", request.purpose);
    }
}
