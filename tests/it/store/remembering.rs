//! Memory and the search of any collection.

use qdrant_client::Payload;
use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, PointStruct, UpsertPointsBuilder, VectorParamsBuilder};
use qron::domain::id::{TaskId, derived};
use qron::domain::memory::Memory;
use serde_json::json;

use super::bed::{Bed, NOW};

fn memory(id: u64, goal: &str, user: Option<&str>) -> Memory {
    Memory {
        id: derived(&["memory", &id.to_string()]),
        task_id: TaskId::Number(id),
        agent: "a".into(),
        user: user.map(str::to_owned),
        goal: goal.to_owned(),
        succeeded: true,
        summary: "it worked".into(),
        outline: "s1 ok".into(),
        at: NOW,
        schedule_id: None,
        goal_hash: None,
        form: None,
        facts: None,
    }
}

async fn recalled(bed: &Bed, text: &str, embedding: Option<Vec<f32>>, user: Option<&str>) -> Vec<TaskId> {
    let found = bed.store.recall(text, embedding, user, 10).await.expect("recalled");
    assert!(found.is_sorted_by(|one, next| one.score >= next.score), "best first");
    found.into_iter().map(|recalled| recalled.memory.task_id).collect()
}

#[tokio::test]
async fn memories_are_recalled_by_their_words_best_first() {
    let bed = Bed::new().await;
    let memories = [
        memory(1, "compute the factorial of ten", None),
        memory(2, "write a report about sales of umbrellas in Berlin", None),
        memory(3, "report the weather in Berlin", None),
        memory(4, "count the lines of a file", None),
    ];
    for memory in &memories {
        bed.store.remember(memory, None).await.expect("remembered");
    }
    assert_eq!(recalled(&bed, "Umbrella sales report for Berlin", None, None).await[..2], [2, 3].map(TaskId::Number));
    assert_eq!(recalled(&bed, "FACTORIALS", None, None).await, [TaskId::Number(1)]);
    assert!(recalled(&bed, "the of a in", None, None).await.is_empty(), "nothing but stop words");
    assert!(recalled(&bed, "", None, None).await.is_empty());
    assert!(recalled(&bed, "quantum chromodynamics", None, None).await.is_empty());
    let found = bed.store.recall("factorial", None, None, 1).await.expect("recalled").remove(0);
    assert_eq!(found.memory, memories[0]);
}

#[tokio::test]
async fn a_task_is_remembered_once_as_it_ended_last() {
    let bed = Bed::new().await;
    let failed = Memory { succeeded: false, summary: "the printer was on fire".into(), ..memory(1, "print it", None) };
    bed.store.remember(&failed, None).await.expect("remembered");
    bed.store.remember(&memory(1, "print it", None), None).await.expect("remembered");
    assert!(recalled(&bed, "printer fire", None, None).await.is_empty());
    assert_eq!(recalled(&bed, "print", None, None).await, [TaskId::Number(1)]);
}

#[tokio::test]
async fn nobody_recalls_what_belongs_to_another_user() {
    let bed = Bed::new().await;
    for (id, user) in [(1, None), (2, Some("ann")), (3, Some("bob")), (4, Some("everybody"))] {
        bed.store.remember(&memory(id, "the secret plan", user), None).await.expect("remembered");
    }
    let sorted = async |user: Option<&str>| {
        let mut ids = recalled(&bed, "secret plan", None, user).await;
        ids.sort();
        ids
    };
    assert_eq!(sorted(None).await, [1].map(TaskId::Number));
    assert_eq!(sorted(Some("ann")).await, [1, 2].map(TaskId::Number));
    assert_eq!(sorted(Some("bob")).await, [1, 3].map(TaskId::Number));
    assert_eq!(sorted(Some("carl")).await, [1].map(TaskId::Number));
}

#[tokio::test]
async fn words_and_meaning_are_fused() {
    let bed = Bed::with_vectors(Some(2)).await;
    for (id, goal, embedding) in
        [(1, "apples and pears", [1.0, 0.0]), (2, "cars and trains", [0.0, 1.0]), (3, "apples and trains", [0.9, 0.1])]
    {
        bed.store.remember(&memory(id, goal, None), Some(embedding.into())).await.expect("remembered");
    }
    // By words 1 and 3 are equal; by meaning 3 is the second of three, 2 the best.
    let both = recalled(&bed, "apples", Some(vec![0.2, 1.0]), None).await;
    assert_eq!(both.len(), 3);
    assert_eq!(both[0], TaskId::Number(3));
    assert_eq!(recalled(&bed, "the", Some(vec![0.0, 1.0]), None).await[0], TaskId::Number(2));
    assert_eq!(recalled(&bed, "pears", None, None).await, [TaskId::Number(1)]);
    let error = bed.store.recall("x", Some(vec![1.0; 3]), None, 1).await.expect_err("another size");
    assert!(error.to_string().contains('3') && error.to_string().contains('2'), "{error}");
}

#[tokio::test]
async fn embeddings_may_come_later_and_change_their_size() {
    let bed = Bed::new().await;
    bed.store.remember(&memory(1, "apples", None), None).await.expect("remembered");
    for size in [3_u64, 5] {
        let store = bed.connect(Some(size)).await.expect("connected");
        let length = usize::try_from(size).expect("small");
        store.remember(&memory(size, "pears", None), Some(vec![0.5; length])).await.expect("remembered");
        let found = store.recall("apples", Some(vec![0.5; length]), None, 10).await.expect("recalled");
        assert!(found.iter().any(|recalled| recalled.memory.task_id == TaskId::Number(1)), "old ones by their words");
    }
}

#[tokio::test]
async fn any_collection_is_searched_by_vector_and_filter() {
    let bed = Bed::new().await;
    let name = bed.collection("state_of_others");
    let vectors = VectorParamsBuilder::new(2, Distance::Dot);
    bed.client.create_collection(CreateCollectionBuilder::new(&name).vectors_config(vectors)).await.expect("created");
    let point = |id: u64, vector: [f32; 2], city: &str| {
        PointStruct::new(id, vector.to_vec(), Payload::try_from(json!({"city": city, "n": id})).expect("an object"))
    };
    let points = vec![point(1, [1.0, 0.0], "Rome"), point(2, [0.9, 0.1], "Oslo"), point(3, [0.0, 1.0], "Rome")];
    bed.client.upsert_points(UpsertPointsBuilder::new(&name, points).wait(true)).await.expect("points");
    let filter = json!({"must": [{"key": "city", "match": {"value": "Rome"}}], "must_not": [{"has_id": [3]}]});
    let found = bed.store.search_collection(&name, None, vec![1.0, 0.0], None, 2).await.expect("found");
    assert_eq!(found.iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), [json!("1"), json!("2")]);
    let found = bed.store.search_collection(&name, None, vec![0.0, 1.0], Some(filter), 5).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["payload"], json!({"city": "Rome", "n": 1}));
    assert!(found[0]["score"].is_number());
    let error =
        bed.store.search_collection("no_such_thing", None, vec![1.0], None, 1).await.expect_err("no collection");
    assert!(error.to_string().contains("no_such_thing"), "{error}");
    bed.client.delete_collection(&name).await.expect("deleted");
}
