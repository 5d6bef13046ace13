//! Changing payloads in place.

use qdrant_client::qdrant::{
    ClearPayloadPointsBuilder, Condition, DeletePayloadPointsBuilder, Filter, PointsIdsList, SetPayloadPointsBuilder,
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    client, code, has_ids, ids, insert, numbered_collection, payload, plain_collection, point, stored,
};

fn only(id: u64) -> PointsIdsList {
    PointsIdsList { ids: vec![id.into()] }
}

#[tokio::test]
async fn set_payload_merges_and_null_removes() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"keep": 1, "drop": 2, "change": 3}))]).await;
    let patch = payload(json!({"change": [4], "drop": null, "new": {"a": 1}}));
    let request = SetPayloadPointsBuilder::new(&name, patch).points_selector(only(1)).wait(true);
    client.set_payload(request).await.unwrap();
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"keep": 1, "change": [4], "new": {"a": 1}})));
}

#[tokio::test]
async fn a_claim_by_filter_takes_only_what_still_matches() {
    let client = client();
    let name = numbered_collection(&client, 6).await;
    let claim = |owner: &str, from: u64| {
        let free = Filter {
            must: vec![has_ids(from..from + 4)],
            must_not: vec![Condition::matches("taken", true)],
            ..Default::default()
        };
        let patch = payload(json!({"owner": owner, "taken": true}));
        SetPayloadPointsBuilder::new(&name, patch).points_selector(free).wait(true)
    };
    client.set_payload(claim("first", 1)).await.unwrap();
    client.set_payload(claim("second", 3)).await.unwrap();
    assert_eq!(
        ids(&client, &name, Filter::must([Condition::matches("owner", "first".to_owned())])).await,
        [1, 2, 3, 4]
    );
    assert_eq!(ids(&client, &name, Filter::must([Condition::matches("owner", "second".to_owned())])).await, [5, 6]);
}

#[tokio::test]
async fn set_payload_below_a_key_touches_only_that_path() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"a": {"b": {"x": 1}, "c": 1}}))]).await;
    let request =
        SetPayloadPointsBuilder::new(&name, payload(json!({"y": 2}))).points_selector(only(1)).key("a.b").wait(true);
    client.set_payload(request).await.unwrap();
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"a": {"b": {"x": 1, "y": 2}, "c": 1}})));
}

#[tokio::test]
async fn overwrite_delete_and_clear() {
    let client = client();
    let name = numbered_collection(&client, 4).await;
    let overwrite =
        SetPayloadPointsBuilder::new(&name, payload(json!({"only": 1}))).points_selector(only(1)).wait(true);
    client.overwrite_payload(overwrite).await.unwrap();
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"only": 1})));
    let odd = Filter::must([Condition::matches("even", false)]);
    let delete = DeletePayloadPointsBuilder::new(&name, vec!["n".to_owned()]).points_selector(odd).wait(true);
    client.delete_payload(delete).await.unwrap();
    assert_eq!(stored(&client, &name, 3).await, Some(json!({"even": false})));
    assert_eq!(ids(&client, &name, Filter::must([Condition::matches("n", 3)])).await, Vec::<u64>::new());
    client.clear_payload(ClearPayloadPointsBuilder::new(&name).points(only(4)).wait(true)).await.unwrap();
    assert_eq!(stored(&client, &name, 4).await, Some(json!({})));
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"n": 2, "even": true})));
}

#[tokio::test]
async fn by_ids_a_missing_point_is_an_error_by_filter_it_is_not() {
    let client = client();
    let name = numbered_collection(&client, 2).await;
    let patch = || payload(json!({"x": 1}));
    let by_ids = PointsIdsList { ids: vec![1.into(), 77.into()] };
    let request = SetPayloadPointsBuilder::new(&name, patch()).points_selector(by_ids).wait(true);
    assert_eq!(code(client.set_payload(request).await), Code::NotFound);
    let by_filter = Filter::must([has_ids([2, 77])]);
    let request = SetPayloadPointsBuilder::new(&name, patch()).points_selector(by_filter).wait(true);
    client.set_payload(request).await.unwrap();
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"n": 2, "even": true, "x": 1})));
    assert_eq!(stored(&client, &name, 77).await, None);
    let nobody = SetPayloadPointsBuilder::new(&name, patch()).wait(true);
    assert_eq!(code(client.set_payload(nobody).await), Code::InvalidArgument);
}
