//! Several writes in one request.

use qdrant_client::qdrant::points_update_operation::{Operation, PointStructList, SetPayload};
use qdrant_client::qdrant::{Condition, Filter, PointsIdsList, PointsUpdateOperation, UpdateBatchPointsBuilder};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{client, code, count, payload, plain_collection, point, stored};

fn upsert(id: u64, value: Value) -> PointsUpdateOperation {
    let list = PointStructList { points: vec![point(id, value)], ..Default::default() };
    PointsUpdateOperation { operation: Some(Operation::Upsert(list)) }
}

fn set(
    selector: impl Into<qdrant_client::qdrant::points_selector::PointsSelectorOneOf>,
    value: Value,
) -> PointsUpdateOperation {
    let selector = qdrant_client::qdrant::PointsSelector { points_selector_one_of: Some(selector.into()) };
    let set = SetPayload { payload: payload(value).into(), points_selector: Some(selector), ..Default::default() };
    PointsUpdateOperation { operation: Some(Operation::SetPayload(set)) }
}

#[tokio::test]
async fn a_batch_is_applied_in_order() {
    let client = client();
    let name = plain_collection(&client).await;
    let operations = vec![
        upsert(1, json!({"state": "new"})),
        set(Filter::must([Condition::matches("state", "new".to_owned())]), json!({"state": "old"})),
        set(Filter::must([Condition::matches("state", "old".to_owned())]), json!({"seen": true})),
    ];
    let reply = client.update_points_batch(UpdateBatchPointsBuilder::new(&name, operations).wait(true)).await.unwrap();
    assert_eq!(reply.result.len(), 3);
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"state": "old", "seen": true})));
}

#[tokio::test]
async fn the_first_failure_ends_a_batch_and_what_came_before_stays() {
    let client = client();
    let name = plain_collection(&client).await;
    let missing = PointsIdsList { ids: vec![404.into()] };
    let operations = vec![upsert(1, json!({})), set(missing, json!({"x": 1})), upsert(2, json!({}))];
    let refused = client.update_points_batch(UpdateBatchPointsBuilder::new(&name, operations).wait(true)).await;
    assert_eq!(code(refused), Code::NotFound);
    assert_eq!(stored(&client, &name, 1).await, Some(json!({})));
    assert_eq!(count(&client, &name, None).await, 1);
}
