//! What a plan costs beside a conversation in which a model calls one tool after another.

use qron::domain::task::Task;
use qron::llm::scripted::{Reply, Scenario, Turn};
use serde_json::{Value, json};

use super::bed::{Bed, judged, plan, planned, success, task, written};

/// Four bytes of English are a token, about.
const BYTES_PER_TOKEN: usize = 4;
/// Providers keep beginnings of at least so many tokens, in steps of [`CACHE_STEP`], and bill them at a tenth.
const CACHE_LEAST: usize = 1_024;
const CACHE_STEP: usize = 128;
/// Pages that are fetched.
const PAGES: usize = 4;

/// Prompt tokens of several requests.
#[derive(Debug, Default)]
struct Tokens {
    raw: f64,
    billed: f64,
}

/// The tokens of `prompts`, each with what it shares at its beginning with one before it, or with one of `earlier`, billed at a
/// tenth.
fn tokens_of(earlier: &[String], prompts: &[String]) -> Tokens {
    let mut tokens = Tokens::default();
    for (index, prompt) in prompts.iter().enumerate() {
        let before = earlier.iter().chain(&prompts[..index]);
        let shared = before.map(|before| shared_bytes(before, prompt)).max().unwrap_or(0);
        let cached = shared / BYTES_PER_TOKEN / CACHE_STEP * CACHE_STEP;
        let cached = if cached < CACHE_LEAST { 0 } else { cached };
        let whole = prompt.len() / BYTES_PER_TOKEN;
        let float = |tokens: usize| f64::from(u32::try_from(tokens).expect("a small number"));
        tokens.raw += float(whole);
        tokens.billed += float(whole - cached) + float(cached) / 10.0;
    }
    tokens
}

fn shared_bytes(left: &str, right: &str) -> usize {
    left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count()
}

/// A prompt as models read it: the tools, then the messages.
fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().expect("messages").iter();
    let tools = if body["tools"].is_null() { String::new() } else { body["tools"].to_string() };
    messages.fold(tools, |text, message| text + "\n" + &message.to_string())
}

/// Runs a task whose pages are `page`, and returns its prompts.
async fn prompts_of(bed: &Bed, task: &Task, page: &str) -> Vec<String> {
    bed.board.shows(Ok(json!(page)));
    let before = bed.model.requests().len();
    let (outcome, _) = bed.run(task).await;
    assert_eq!(outcome.result.expect("success")["output"], "All boards are green.");
    bed.model.requests()[before..].iter().map(|request| prompt(&request.body)).collect()
}

/// A run of a plan that the model makes: the pages are fetched, and one step sums them up. The agent has done another task before.
async fn by_plan(page: &str) -> Tokens {
    let ids: Vec<String> = (1..=PAGES).map(|page| format!("p{page}")).collect();
    let mut steps: Vec<Value> = ids.iter().map(|id| written(id, "board", &json!({}), &[])).collect();
    let references: Vec<String> = ids.iter().map(|id| format!("${{{id}}}")).collect();
    steps.push(judged("sum", &format!("Sum up {}", references.join(" ")), &[]));
    let mut plan = plan(&steps);
    plan["answer"] = json!("sum");
    let on = || Scenario::on("boards");
    let bed = Bed::new(vec![on().purpose("plan").json(plan), on().purpose("act").text("All boards are green.")]).await;
    let earlier = prompts_of(&bed, &task("tell whether the boards are green"), "Another page.").await;
    let prompts = prompts_of(&bed, &task("sum up the boards"), page).await;
    assert_eq!(prompts.len(), 2, "the plan, and the step that answers");
    tokens_of(&earlier, &prompts)
}

/// One conversation with all tools: each turn fetches a page, and the last one sums up. Its first prompt is the one of a step that
/// is the whole goal; each further prompt adds a call and its result, whole. The agent has done another task before.
async fn by_conversation(page: &str) -> Tokens {
    let fetch = Turn::new(Reply::ToolCalls(vec![("board".to_owned(), json!({}))]));
    let on = || Scenario::on("boards");
    let bed = Bed::new(vec![
        on().purpose("act").turn(fetch).text("All boards are green."),
        on().purpose("answer").json(success("All boards are green.")),
    ])
    .await;
    let steps = json!([{"id": "goal", "instruction": "Reach the goal."}]);
    let earlier = prompts_of(&bed, &planned("tell whether the boards are green", &steps), "Another page.").await;
    let prompts = prompts_of(&bed, &planned("sum up the boards", &steps), page).await;
    let (first, turn) = (&prompts[0], &prompts[1][prompts[0].len()..]);
    assert!(prompts[1].starts_with(first) && turn.contains(page), "the second prompt adds a call and its result");
    let grown: Vec<String> = (0..=PAGES).map(|turns| format!("{first}{}", turn.repeat(turns))).collect();
    tokens_of(&earlier[..1], &grown)
}

#[tokio::test]
async fn a_plan_that_reads_four_pages_costs_less_than_a_conversation_that_does() {
    for (kilobytes, most_billed) in [(1, 0.55), (4, 0.75), (16, 0.95)] {
        let page = "A line of the board. ".repeat(kilobytes * 1024 / 21);
        let (plan, conversation) = (by_plan(&page).await, by_conversation(&page).await);
        let (raw, billed) = (plan.raw / conversation.raw, plan.billed / conversation.billed);
        println!(
            "pages of {kilobytes} KiB: {:.0} of {:.0} prompt tokens ({:.0} %), billed as {:.0} of {:.0} ({:.0} %)",
            plan.raw,
            conversation.raw,
            raw * 100.0,
            plan.billed,
            conversation.billed,
            billed * 100.0
        );
        assert!(raw <= 0.4, "{kilobytes} KiB: {raw} raw");
        assert!(billed <= most_billed, "{kilobytes} KiB: {billed} billed");
    }
}
