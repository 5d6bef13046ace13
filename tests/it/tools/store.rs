//! The tools that keep things in the store.

use std::sync::Arc;
use std::time::Duration;

use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, PointStruct, UpsertPointsBuilder, VectorParamsBuilder};
use qdrant_client::{Payload, Qdrant};
use qron::clock;
use qron::domain::agent::AgentProfile;
use qron::domain::failure::Failure;
use qron::domain::handover::{Handover, HandoverDraft};
use qron::domain::id::TaskId;
use qron::domain::task::Task;
use qron::domain::tool::ToolResult;
use qron::domain::tree::Lineage;
use qron::queue::Queue;
use qron::store::Store;
use qron::tools::vector_search::TextEmbedder;
use qron::tools::{Settings, ToolContext, Toolbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{agent, call_of, connect, context, promised, settings};
use crate::support::qdrant_url;

pub(super) struct Place {
    _folder: TempDir,
    store: Store,
    prefix: String,
    toolbox: Toolbox,
    queue: Queue,
}

impl Place {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, prefix) = connect(folder.path()).await;
        let queue = Queue::new(store.clone(), "tools-test");
        // Many calls wait for each other here, on a machine that may be busy.
        let mut settings = Settings { timeout_ms: 60_000, ..settings(folder.path()) };
        settings.http.allow = vec!["127.0.0.1".to_owned()];
        let toolbox = Toolbox::new(&settings, &store, &queue).expect("a toolbox");
        Self { _folder: folder, store, prefix, toolbox, queue }
    }

    pub(super) async fn call(&self, context: &ToolContext, tool: &str, arguments: Value) -> ToolResult {
        self.call_by(&agent(&json!(["*"])), context, tool, arguments).await
    }

    pub(super) async fn call_by(
        &self,
        agent: &AgentProfile,
        context: &ToolContext,
        tool: &str,
        arguments: Value,
    ) -> ToolResult {
        let outcome = self.toolbox.call(agent, context, &call_of(tool, arguments)).await;
        let spec = self.toolbox.all().find(|spec| spec.name == tool).expect("a tool");
        promised(spec, outcome)
    }

    /// A task of `user` in the store, and the context of a call in it.
    pub(super) async fn task(&self, user: Option<&str>, change: impl FnOnce(&mut Task)) -> ToolContext {
        let mut task = Task::new(TaskId::fresh(), "a goal", clock::now());
        task.spec.user = user.map(str::to_owned);
        change(&mut task);
        self.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
        let idempotency_key = format!("{}/s1/1", task.id);
        ToolContext { task_id: task.id, user: task.spec.user, idempotency_key, ..context() }
    }
}

fn next_call(context: &ToolContext, number: usize) -> ToolContext {
    ToolContext { idempotency_key: format!("{}/s1/{number}", context.task_id), ..context.clone() }
}

#[tokio::test]
async fn state_is_shared_by_the_tasks_of_one_user_and_by_nobody_else() {
    let place = Place::new().await;
    let (ada, eve) = (place.task(Some("ada"), |_| {}).await, place.task(Some("eve"), |_| {}).await);
    let (other, nobody) = (place.task(Some("ada"), |_| {}).await, context());
    place.call(&ada, "set_state", json!({ "key": "k", "value": { "a": 1 } })).await.expect("set");
    place.call(&ada, "set_state", json!({ "key": "own", "value": 2, "scope": "task" })).await.expect("set");
    let get = async |context: &ToolContext, arguments: Value| {
        place.call(context, "get_state", arguments).await.expect("an answer")["value"].clone()
    };
    assert_eq!(get(&other, json!({ "key": "k" })).await, json!({ "a": 1 }));
    assert_eq!(get(&eve, json!({ "key": "k" })).await, Value::Null);
    assert_eq!(get(&nobody, json!({ "key": "k" })).await, Value::Null);
    assert_eq!(get(&ada, json!({ "key": "own", "scope": "task" })).await, json!(2));
    assert_eq!(get(&other, json!({ "key": "own", "scope": "task" })).await, Value::Null);
    let missing = place.call(&eve, "get_state", json!({ "key": "k" })).await.expect("an answer");
    assert_eq!(missing, json!({ "found": false, "value": null }));
}

#[tokio::test]
async fn state_expires_and_is_bounded() {
    let place = Place::new().await;
    let set = json!({ "key": "k", "value": 1, "ttl_s": 1 });
    let set = place.call(&context(), "set_state", set).await.expect("set");
    assert!(set["expires_at"].is_string(), "{set}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while place.call(&context(), "get_state", json!({ "key": "k" })).await.expect("an answer")["found"] == true {
        assert!(tokio::time::Instant::now() < deadline, "it never expired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let large = json!({ "key": "big", "value": "x".repeat(70_000) });
    let failure = place.call(&context(), "set_state", large).await.expect_err("too large");
    assert!(failure.message.contains("\"big\"") && failure.message.contains("save_artifact"), "{failure}");
}

#[tokio::test]
async fn exfiltration_artifacts_are_read_by_the_same_user_only() {
    let place = Place::new().await;
    let (ada, other) = (place.task(Some("ada"), |_| {}).await, place.task(Some("ada"), |_| {}).await);
    let eve = place.task(Some("eve"), |_| {}).await;
    let save = json!({ "name": "report.md", "content": "# Ä", "media_type": "text/markdown" });
    let saved = place.call(&ada, "save_artifact", save).await.expect("saved");
    assert_eq!((&saved["artifact"], &saved["bytes"]), (&json!("report.md"), &json!(4)));
    let own = place.call(&ada, "read_artifact", json!({ "name": "report.md" })).await.expect("read");
    assert_eq!((&own["content"], &own["media_type"]), (&json!("# Ä"), &json!("text/markdown")));
    let theirs = json!({ "name": "report.md", "task_id": ada.task_id });
    assert_eq!(place.call(&other, "read_artifact", theirs.clone()).await.expect("read")["content"], "# Ä");
    let refused = place.call(&eve, "read_artifact", theirs).await.expect_err("another user's");
    let unknown = json!({ "name": "report.md", "task_id": TaskId::fresh() });
    let missing = place.call(&eve, "read_artifact", unknown).await.expect_err("no such task");
    let shape = |text: &str| text.split(' ').filter(|word| word.len() != 36).collect::<Vec<_>>().join(" ");
    assert_eq!(shape(&refused.message), shape(&missing.message), "whether it exists is not told");
    let bytes = json!({ "name": "b", "content": "iVD/", "encoding": "base64", "media_type": "image/png" });
    place.call(&ada, "save_artifact", bytes).await.expect("saved");
    let read = place.call(&ada, "read_artifact", json!({ "name": "b" })).await.expect("read");
    assert_eq!((&read["encoding"], &read["content"]), (&json!("base64"), &json!("iVD/")));
    let odd = json!({ "name": "c.md", "content": "# C", "media_type": "markdown" });
    place.call(&ada, "save_artifact", odd).await.expect("a word that is no media type loses no text");
    for name in ["../x", "a/b", ".."] {
        let failure = place.call(&ada, "save_artifact", json!({ "name": name, "content": "" })).await.expect_err(name);
        assert!(failure.message.contains(&format!("{name:?}")), "{failure}");
    }
}

#[tokio::test]
async fn the_parts_of_an_artifact_that_fit_a_query_are_read() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    let line = |number: usize| format!("Shelf {number} holds boxes that two persons count.\n");
    let text: String =
        (0..400).map(line).chain(["The gate has the code 12.\n".to_owned()]).chain((400..800).map(line)).collect();
    let page = json!({ "status": 200, "text": text });
    for content in [json!(text), page] {
        place.call(&ada, "save_artifact", json!({ "name": "long", "content": content })).await.expect("saved");
        let asked = json!({ "name": "long", "query": "which code has the gate?", "length": 500 });
        let read = place.call(&ada, "read_artifact", asked).await.expect("read");
        let content = read["content"].as_str().expect("a text");
        assert!(content.contains("The gate has the code 12.") && content.len() <= 500, "{content}");
    }
    let bytes = json!({ "name": "b", "content": "iVD/", "encoding": "base64", "media_type": "image/png" });
    place.call(&ada, "save_artifact", bytes).await.expect("saved");
    let failure = place.call(&ada, "read_artifact", json!({ "name": "b", "query": "x" })).await.expect_err("no text");
    assert!(failure.message.contains("read it without a query"), "{failure}");
}

#[tokio::test]
async fn content_given_as_json_is_saved_as_its_text() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    for (content, media_type, saved) in [
        (json!({"rows": [1, 2]}), "application/json", "{\n  \"rows\": [\n    1,\n    2\n  ]\n}"),
        (json!([]), "application/json", "[]"),
        (json!(42), "text/plain", "42"),
        (json!("[1]"), "text/plain", "[1]"),
    ] {
        place.call(&ada, "save_artifact", json!({ "name": "a", "content": content })).await.expect("saved");
        let read = place.call(&ada, "read_artifact", json!({ "name": "a" })).await.expect("read");
        assert_eq!((&read["content"], &read["media_type"]), (&json!(saved), &json!(media_type)));
        place.call(&ada, "write_file", json!({ "path": "a", "content": content })).await.expect("written");
        let read = place.call(&ada, "read_file", json!({ "path": "a" })).await.expect("read");
        assert_eq!(read["content"], json!(saved));
    }
    let failure = place.call(&ada, "save_artifact", json!({ "name": "a", "content": null })).await.expect_err("none");
    assert!(failure.message.contains("/content"), "{failure}");
}

/// The form in which numbers of any length reach the tools, and one that only a plan can hold.
#[tokio::test]
async fn state_keeps_the_digits_of_whole_numbers() {
    let place = Place::new().await;
    let numbers = json!([i64::MAX, i64::MIN, u64::MAX, "18446744073709551616"]);
    place.call(&context(), "set_state", json!({ "key": "n", "value": numbers })).await.expect("set");
    let read = place.call(&context(), "get_state", json!({ "key": "n" })).await.expect("an answer");
    assert_eq!(read["value"], numbers);
}

#[tokio::test]
async fn a_follow_up_task_is_created_once_and_at_once_known() {
    let place = Place::new().await;
    let parent = place.task(Some("ada"), |_| {}).await;
    let arguments = json!({
        "goal": "count the words", "run_at": "2030-01-01T00:00:00Z", "priority": 9, "capabilities": ["sql"],
        "context": { "file": "a.txt", "spawn_depth": 0, "spawned_by": "nobody" },
        "plan": { "steps": [{ "id": "a", "tool": "calculate", "arguments": { "expression": "1+1" } }] },
    });
    let first = place.call(&parent, "create_task", arguments.clone()).await.expect("created");
    let again = place.call(&parent, "create_task", arguments).await.expect("known");
    assert_eq!((&first["created"], &again["created"]), (&json!(true), &json!(false)));
    assert_eq!(first["task_id"], again["task_id"]);
    tokio::time::timeout(Duration::from_secs(5), place.queue.woken()).await.expect("the scheduler is woken");
    let id: TaskId = first["task_id"].as_str().expect("an id").parse().expect("an id");
    let task = place.store.task(id).await.expect("an answer").expect("the task");
    assert_eq!(
        (task.spec.goal.as_str(), task.spec.priority, task.spec.user.as_deref()),
        ("count the words", 9, Some("ada"))
    );
    assert_eq!(task.spec.context["file"], "a.txt");
    assert_eq!(task.spec.context["spawn_depth"], 0, "what the model writes is data");
    assert_eq!((task.generation(), task.root()), (1, parent.task_id), "and does not decide how deep it is");
    assert_eq!(task.spec.parent, Some(parent.task_id));
    assert_eq!(task.spec.run_at.to_rfc3339(), "2030-01-01T00:00:00.000Z");

    let keyed = json!({ "goal": "weekly report", "unique_key": "week 1" });
    let one = place.call(&next_call(&parent, 2), "create_task", keyed.clone()).await.expect("created");
    let same = place.call(&next_call(&parent, 3), "create_task", keyed.clone()).await.expect("known");
    assert_eq!(one["task_id"], same["task_id"]);
    let eve = place.task(Some("eve"), |_| {}).await;
    let hers = place.call(&eve, "create_task", keyed).await.expect("created");
    assert_ne!(one["task_id"], hers["task_id"], "keys of different users do not meet");
}

#[tokio::test]
async fn a_task_that_cannot_be_done_is_not_created() {
    let place = Place::new().await;
    let parent = place.task(None, |_| {}).await;
    let step = |tool: &str, wait: &str| json!({ "steps": [{ "id": "a", "tool": tool, "depends_on": [wait] }] });
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let deep_step = json!({ "id": "a", "tool": "calculate", "arguments": { "expression": nested(13) } });
    let deep_plan = json!({ "steps": [deep_step] });
    for (arguments, told) in [
        (json!({ "goal": "  " }), "the goal has 0 characters: use 10 to 5000"),
        (json!({ "goal": "too short" }), "the goal has 9 characters: use 10 to 5000"),
        (json!({ "goal": "x".repeat(5_001) }), "the goal has 5001 characters: use 10 to 5000"),
        (json!({ "goal": "do it later", "priority": 11 }), "priority 11 is out of range: use 0 to 10"),
        (json!({ "goal": "do it later", "run_at": "tomorrow" }), "tomorrow"),
        (json!({ "goal": "do it later", "user": "root" }), "user"),
        (json!({ "goal": "do it later", "tags": ["x"] }), "tags"),
        (json!({ "goal": "do it later", "context": { "big": "x".repeat(70_000) } }), "context has"),
        (
            json!({ "goal": "do it later", "context": { "deep": nested(17) } }),
            "context is nested deeper than 16 levels",
        ),
        (json!({ "goal": "do it later", "plan": deep_plan }), "plan is nested deeper than 16 levels"),
        (
            json!({ "goal": "do it later", "unique_key": "k".repeat(257) }),
            "unique_key: a text of 257 characters; use 1 to 256",
        ),
        (
            json!({ "goal": " ", "priority": 11, "run_at": "never" }),
            "; the goal has 0 characters: use 10 to 5000; priority 11",
        ),
        (json!({ "goal": "do it later", "plan": { "steps": [] } }), "no steps"),
        (json!({ "goal": "do it later", "plan": step("fly", "a") }), "\"fly\""),
        (json!({ "goal": "do it later", "plan": step("calculate", "a") }), "a -> a"),
        (json!({ "goal": "do it later", "plan": { "steps": [{ "id": "a", "nonsense": 1 }] } }), "nonsense"),
    ] {
        let failure = place.call(&parent, "create_task", arguments.clone()).await.expect_err("refused");
        assert!(failure.message.contains(told), "{arguments}: {failure}");
    }
    let tasks = place.store.tasks(&qron::store::TaskFilter::default(), 10, None).await.expect("tasks");
    assert_eq!(tasks.items.len(), 1, "only the parent is there");
}

/// The limits of a goal are those of the API. They hold for what the agent writes: outputs make it longer.
#[tokio::test]
async fn a_goal_that_refers_to_outputs_may_be_as_long_as_a_goal_is_stored() {
    let place = Place::new().await;
    let parent = place.task(None, |_| {}).await;
    let call = async |number: usize, written: &str, output: String| {
        let values = json!({ "page": output }).as_object().cloned().expect("an object");
        let handover = Handover { goal: Some(written.replace("${page}", "${deps.parent.page}")), values };
        let handed_over = Some(HandoverDraft { handover, plan: None });
        let context = ToolContext { handed_over, ..next_call(&parent, number) };
        place.call(&context, "create_task", json!({ "goal": written.replace("${page}", &output) })).await
    };
    call(1, "summarise ${page}", "x".repeat(49_000)).await.expect("created");
    for (number, written, length, told) in [
        (2, "summarise ${page}".to_owned(), 50_000, "the goal has 50010 characters: use 1 to 50000"),
        (3, "x".repeat(5_000) + "${page}", 1, "characters: use 10 to 5000"),
    ] {
        let failure = call(number, &written, "x".repeat(length)).await.expect_err("refused");
        assert!(failure.message.contains(told), "{failure}");
    }
}

#[tokio::test]
async fn recursion_ends_after_five_generations() {
    let place = Place::new().await;
    let mut parent = place.task(None, |_| {}).await;
    for generation in 1..=6 {
        let made = place.call(&parent, "create_task", json!({ "goal": "make another" })).await;
        if generation == 6 {
            let failure = made.expect_err("too deep");
            assert!(failure.message.contains("5 generations"), "{failure}");
            assert!(failure.message.contains(&parent.task_id.to_string()), "{failure}");
            return;
        }
        let id = made.expect("created")["task_id"].as_str().expect("an id").parse().expect("an id");
        parent = ToolContext { task_id: id, idempotency_key: format!("{id}/s1/1"), ..parent };
    }
}

#[tokio::test]
async fn recursion_a_child_without_a_recorded_tree_makes_no_tasks() {
    let place = Place::new().await;
    for (depth, parent, makes) in [(1, true, false), (4, true, false), (1, false, true), (0, true, true)] {
        let task = place
            .task(Some("ada"), |task| {
                task.spec.parent = parent.then(TaskId::fresh);
                task.spec.context.insert("spawn_depth".to_owned(), json!(depth));
            })
            .await;
        let made = place.call(&task, "create_task", json!({ "goal": "make another" })).await;
        assert_eq!(made.is_ok(), makes, "{depth} {parent}: {made:?}");
        if let Err(failure) = made {
            assert!(
                failure.message.contains(&format!("task {} says that another task made it", task.task_id)),
                "{failure}"
            );
        }
    }
}

#[tokio::test]
async fn recursion_one_task_makes_at_most_a_hundred_even_in_parallel() {
    let place = Place::new().await;
    let parent = place.task(None, |_| {}).await;
    let earlier: Vec<Task> = (0..98)
        .map(|_| {
            Task::new(TaskId::fresh(), "made earlier", clock::now()).with(|task| {
                task.spec.parent = Some(parent.task_id);
                task.spec.lineage = Lineage { root: Some(parent.task_id), generation: 1, ..Lineage::default() };
            })
        })
        .collect();
    place.store.insert(&earlier).await.expect("inserted");
    let calls = (0..7).map(|number| {
        let (place, context) = (&place, next_call(&parent, number));
        async move { place.call(&context, "create_task", json!({ "goal": "make one more" })).await }
    });
    let outcomes = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refused.len(), 5, "{refused:?}");
    assert!(refused.iter().all(|failure| failure.message.contains("has made 100 tasks")), "{refused:?}");
    let made = outcomes.iter().position(Result::is_ok).expect("two were made");
    let again = place.call(&next_call(&parent, made), "create_task", json!({ "goal": "make one more" })).await;
    assert_eq!(again.expect("known")["created"], false, "a repeated call is no new task");
}

#[tokio::test]
async fn vectors_are_searched_in_any_collection_of_somebody_else() {
    let place = Place::new().await;
    let client = Qdrant::from_url(&qdrant_url()).skip_compatibility_check().build().expect("a client");
    let name = format!("docs_{}", uuid::Uuid::new_v4().simple());
    let vectors = VectorParamsBuilder::new(2, Distance::Dot);
    client.create_collection(CreateCollectionBuilder::new(&name).vectors_config(vectors)).await.expect("a collection");
    let point = |id: u64, vector: Vec<f32>, city: &str| {
        PointStruct::new(id, vector, Payload::try_from(json!({ "city": city })).expect("a payload"))
    };
    let points =
        vec![point(1, vec![1.0, 0.0], "Rome"), point(2, vec![2.0, 0.0], "Oslo"), point(3, vec![0.0, 1.0], "Rome")];
    client.upsert_points(UpsertPointsBuilder::new(&name, points).wait(true)).await.expect("points");
    let search = json!({ "collection": name, "vector": [1.0, 0.0], "limit": 2 });
    let found = place.call(&context(), "vector_search", search).await.expect("points");
    let ids: Vec<String> =
        found["points"].as_array().expect("points").iter().map(|one| one["id"].to_string()).collect();
    assert_eq!(ids.iter().map(|id| id.trim_matches('"')).collect::<Vec<_>>(), ["2", "1"], "{found}");
    assert_eq!(found["points"][0]["payload"], json!({ "city": "Oslo" }));
    let filter = json!({ "must": [{ "key": "city", "match": { "value": "Rome" } }] });
    let search = json!({ "collection": name, "vector": [1.0, 0.0], "filter": filter, "limit": 1 });
    let found = place.call(&context(), "vector_search", search).await.expect("points");
    assert_eq!(found["points"][0]["payload"], json!({ "city": "Rome" }));
    let failure = place.call(&context(), "vector_search", json!({ "collection": "nowhere", "vector": [1.0] })).await;
    assert!(failure.expect_err("no such collection").message.contains("nowhere"));
    client.delete_collection(&name).await.expect("deleted");
}

/// Says `Rome` with one vector and everything else with another.
struct Words;

#[async_trait::async_trait]
impl TextEmbedder for Words {
    async fn embed(&self, text: String) -> Result<Vec<f32>, Failure> {
        Ok(if text == "Rome" { vec![1.0, 0.0] } else { vec![0.0, 1.0] })
    }
}

#[tokio::test]
async fn a_text_is_searched_for_where_embeddings_are_configured() {
    let place = Place::new().await;
    let client = Qdrant::from_url(&qdrant_url()).skip_compatibility_check().build().expect("a client");
    let name = format!("docs_{}", uuid::Uuid::new_v4().simple());
    let vectors = VectorParamsBuilder::new(2, Distance::Dot);
    client.create_collection(CreateCollectionBuilder::new(&name).vectors_config(vectors)).await.expect("a collection");
    let points = vec![
        PointStruct::new(1, vec![1.0, 0.0], Payload::try_from(json!({ "city": "Rome" })).expect("a payload")),
        PointStruct::new(2, vec![0.0, 1.0], Payload::try_from(json!({ "city": "Oslo" })).expect("a payload")),
    ];
    client.upsert_points(UpsertPointsBuilder::new(&name, points).wait(true)).await.expect("points");
    let search = json!({ "collection": name, "text": "Rome", "limit": 1 });
    let failure = place.call(&context(), "vector_search", search.clone()).await.expect_err("no embeddings");
    assert!(failure.message.contains("bad arguments for vector_search"), "{failure}");
    let place = Place { toolbox: place.toolbox.clone().with_embedder(Arc::new(Words)).expect("a toolbox"), ..place };
    let found = place.call(&context(), "vector_search", search).await.expect("points");
    assert_eq!(found["points"][0]["payload"], json!({ "city": "Rome" }));
    let found = json!({ "collection": name, "vector": [0.0, 1.0], "limit": 1 });
    let found = place.call(&context(), "vector_search", found).await.expect("points");
    assert_eq!(found["points"][0]["payload"], json!({ "city": "Oslo" }));
    for (arguments, told) in [
        (json!({ "collection": name }), "neither vector nor text"),
        (json!({ "collection": name, "text": "Rome", "vector": [1.0, 0.0] }), "both vector and text"),
    ] {
        let failure = place.call(&context(), "vector_search", arguments).await.expect_err("refused");
        assert!(failure.message.contains(told), "{failure}");
    }
    client.delete_collection(&name).await.expect("deleted");
}

#[tokio::test]
async fn poisoning_and_exfiltration_qrons_own_collections_are_closed_to_vector_search() {
    let place = Place::new().await;
    for own in [
        "tasks",
        "memory",
        "state",
        "artifacts",
        "attempts",
        "events",
        "dead_letters",
        "schedules",
        "replicas",
        "later",
    ] {
        let name = format!("{}{own}", place.prefix);
        let failure = place.call(&context(), "vector_search", json!({ "collection": name, "vector": [1.0] })).await;
        let failure = failure.expect_err(own);
        assert!(failure.message.starts_with("refused: ") && failure.message.contains(&name), "{failure}");
    }
}
