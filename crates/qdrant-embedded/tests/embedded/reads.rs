//! Scrolling, ordering, counting, faceting, and the filters they share.

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateFieldIndexCollectionBuilder, DatetimeRange, DeleteFieldIndexCollectionBuilder,
    Direction, FacetCountsBuilder, FieldType, Filter, GetPointsBuilder, IntegerIndexParamsBuilder, OrderByBuilder,
    PayloadExcludeSelector, PayloadIncludeSelector, Range, RepeatedStrings, ScrollPointsBuilder, Timestamp,
    facet_value, payload_index_params::IndexParams, start_from,
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    as_json, client, code, count, has_ids, ids, index, insert, number, numbered_collection, plain_collection, point,
};

#[tokio::test]
async fn scrolling_visits_every_point_once() {
    let client = client();
    let name = numbered_collection(&client, 25).await;
    let mut seen = Vec::new();
    let mut offset = None;
    loop {
        let mut request = ScrollPointsBuilder::new(&name).limit(10);
        if let Some(offset) = offset {
            request = request.offset(offset);
        }
        let page = client.scroll(request).await.unwrap();
        seen.extend(page.result.iter().map(number));
        offset = page.next_page_offset;
        if offset.is_none() {
            break;
        }
        assert_eq!(page.result.len(), 10);
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn ordered_scrolls_start_anywhere_in_both_directions() {
    let client = client();
    let name = plain_collection(&client).await;
    index(&client, &name, "rank", FieldType::Integer).await;
    let base = 1_700_000_000_000_i64;
    let points = (1..=9_u64).map(|id| point(id, json!({"rank": base + 10 - i64::try_from(id).unwrap()})));
    insert(&client, &name, points.chain([point(10, json!({"other": 1}))]).collect()).await;
    let ordered = |direction, start: Option<i64>, limit| {
        let mut order = OrderByBuilder::new("rank").direction(i32::from(direction));
        if let Some(start) = start {
            order = order.start_from(start_from::Value::Integer(start));
        }
        ScrollPointsBuilder::new(&name).order_by(order).limit(limit)
    };
    let ids = async |request: ScrollPointsBuilder| {
        client.scroll(request).await.unwrap().result.iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(ids(ordered(Direction::Asc, None, 3)).await, [9, 8, 7]);
    assert_eq!(ids(ordered(Direction::Desc, None, 3)).await, [1, 2, 3]);
    assert_eq!(ids(ordered(Direction::Asc, Some(base + 5), 2)).await, [5, 4]);
    assert_eq!(ids(ordered(Direction::Asc, None, 100)).await.len(), 9);
    let due = Filter::must([Condition::range("rank", Range { lte: Some(1_700_000_000_002.0), ..Default::default() })]);
    assert_eq!(ids(ordered(Direction::Asc, None, 10).filter(due)).await, [9, 8]);
    let unindexed = ScrollPointsBuilder::new(&name).order_by(OrderByBuilder::new("other"));
    assert_eq!(code(client.scroll(unindexed).await), Code::InvalidArgument);
    let both = ordered(Direction::Asc, None, 3).offset(3);
    assert_eq!(code(client.scroll(both).await), Code::InvalidArgument);
}

#[tokio::test]
async fn an_order_follows_updates() {
    let client = client();
    let name = numbered_collection(&client, 5).await;
    insert(&client, &name, vec![point(1, json!({"n": 50})), point(4, json!({}))]).await;
    let request = ScrollPointsBuilder::new(&name).order_by(OrderByBuilder::new("n")).limit(10);
    let order: Vec<_> = client.scroll(request).await.unwrap().result.iter().map(number).collect();
    assert_eq!(order, [2, 3, 5, 1]);
}

#[tokio::test]
async fn filters_select_what_they_say() {
    let client = client();
    let name = plain_collection(&client).await;
    for (field, kind) in [
        ("word", FieldType::Keyword),
        ("n", FieldType::Integer),
        ("f", FieldType::Float),
        ("at", FieldType::Datetime),
        ("key", FieldType::Uuid),
        ("text", FieldType::Text),
    ] {
        index(&client, &name, field, kind).await;
    }
    let uuid = "0190a0a0-0000-7000-8000-000000000001";
    insert(&client, &name, vec![
        point(1, json!({"word": "a", "n": 1, "f": 0.5, "at": "2026-01-01T00:00:00Z", "tags": ["x", "y"], "text": "quick brown fox"})),
        point(2, json!({"word": "b", "n": 2, "f": 1.5, "at": "2026-01-02T00:00:00Z", "tags": [], "key": uuid, "text": "lazy dog"})),
        point(3, json!({"word": "c", "n": 3, "f": 2.5, "tags": null, "list": [{"k": 1, "v": true}, {"k": 2, "v": false}]})),
        point(4, json!({})),
    ]).await;
    let check = async |filter: Filter, expected: &[u64]| {
        assert_eq!(ids(&client, &name, filter.clone()).await, expected, "{filter:?}");
        assert_eq!(count(&client, &name, Some(filter.clone())).await, expected.len() as u64, "{filter:?}");
    };
    let must = |condition: Condition| Filter::must([condition]);
    check(must(Condition::matches("word", "a".to_owned())), &[1]).await;
    check(must(Condition::matches("word", vec!["a".to_owned(), "c".to_owned()])), &[1, 3]).await;
    check(
        must(Condition::matches("word", MatchValue::ExceptKeywords(RepeatedStrings { strings: vec!["a".to_owned()] }))),
        &[2, 3],
    )
    .await;
    check(must(Condition::matches("n", vec![2, 3])), &[2, 3]).await;
    check(must(Condition::range("f", Range { gt: Some(0.5), lt: Some(2.5), ..Default::default() })), &[2]).await;
    let late = DatetimeRange { gte: Some(Timestamp { seconds: 1_767_312_000, nanos: 0 }), ..Default::default() };
    check(must(Condition::datetime_range("at", late)), &[2]).await;
    check(must(Condition::matches("key", uuid.to_owned())), &[2]).await;
    check(must(Condition::matches_text("text", "brown")), &[1]).await;
    check(must(Condition::matches("tags", "y".to_owned())), &[1]).await;
    check(must(Condition::is_empty("tags")), &[2, 3, 4]).await;
    check(must(Condition::is_null("tags")), &[3]).await;
    check(must(has_ids([4, 2, 99])), &[2, 4]).await;
    check(Filter::must_not([has_ids([1])]), &[2, 3, 4]).await;
    check(Filter::should([Condition::matches("n", 1), Condition::matches("word", "b".to_owned())]), &[1, 2]).await;
    let nested = Filter::must([Condition::matches("k", 1), Condition::matches("v", true)]);
    check(must(Condition::nested("list", nested)), &[3]).await;
    let crossed = Filter::must([Condition::matches("k", 1), Condition::matches("v", false)]);
    check(must(Condition::nested("list", crossed)), &[]).await;
    let within = Filter {
        must: vec![Filter::should([Condition::matches("n", 1), Condition::matches("n", 2)]).into()],
        must_not: vec![Condition::matches("word", "a".to_owned())],
        ..Default::default()
    };
    check(within, &[2]).await;
    check(
        Filter::min_should(
            2,
            [
                Condition::matches("n", 1),
                Condition::matches("word", "a".to_owned()),
                Condition::matches("word", "b".to_owned()),
            ],
        ),
        &[1],
    )
    .await;
}

#[tokio::test]
async fn counts_are_exact_or_close() {
    let client = client();
    let name = numbered_collection(&client, 20).await;
    let even = Filter::must([Condition::matches("even", true)]);
    assert_eq!(count(&client, &name, Some(even.clone())).await, 10);
    let close =
        client.count(CountPointsBuilder::new(&name).filter(even).exact(false)).await.unwrap().result.unwrap().count;
    assert!((5..=15).contains(&close), "{close}");
}

#[tokio::test]
async fn facets_count_values_of_an_indexed_field() {
    let client = client();
    let name = plain_collection(&client).await;
    index(&client, &name, "status", FieldType::Keyword).await;
    let status = |id| if id % 3 == 0 { "done" } else { "open" };
    insert(&client, &name, (1..=9_u64).map(|id| point(id, json!({"status": status(id)}))).collect()).await;
    let facets = client.facet(FacetCountsBuilder::new(&name, "status").exact(true)).await.unwrap().hits;
    let facets: Vec<_> = facets.into_iter().map(|hit| (hit.value.unwrap().variant.unwrap(), hit.count)).collect();
    let word = |word: &str| facet_value::Variant::StringValue(word.to_owned());
    assert_eq!(facets, [(word("open"), 6), (word("done"), 3)]);
    assert_eq!(code(client.facet(FacetCountsBuilder::new(&name, "unindexed")).await), Code::InvalidArgument);
}

#[tokio::test]
async fn indexes_are_reported_and_dropped() {
    let client = client();
    let name = numbered_collection(&client, 3).await;
    let params = IntegerIndexParamsBuilder::new(false, true);
    let request =
        CreateFieldIndexCollectionBuilder::new(&name, "rank", FieldType::Integer).field_index_params(params).wait(true);
    client.create_field_index(request).await.unwrap();
    let schema = async || client.collection_info(&name).await.unwrap().result.unwrap().payload_schema;
    let found = schema().await;
    assert_eq!(found["n"].points, Some(3));
    let Some(IndexParams::IntegerIndexParams(params)) = found["rank"].params.clone().unwrap().index_params else {
        panic!("{found:?}")
    };
    assert_eq!((params.lookup, params.range), (Some(false), Some(true)));
    client.delete_field_index(DeleteFieldIndexCollectionBuilder::new(&name, "rank").wait(true)).await.unwrap();
    assert!(!schema().await.contains_key("rank"));
}

#[tokio::test]
async fn selectors_return_parts_of_a_payload() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"a": 1, "b": {"c": 2, "d": 3}}))]).await;
    let get = async |selector: qdrant_client::qdrant::with_payload_selector::SelectorOptions| {
        let found =
            client.get_points(GetPointsBuilder::new(&name, vec![1.into()]).with_payload(selector)).await.unwrap();
        as_json(found.result[0].payload.clone())
    };
    let include = PayloadIncludeSelector { fields: vec!["b.c".to_owned()] };
    assert_eq!(get(include.into()).await, json!({"b": {"c": 2}}));
    let exclude = PayloadExcludeSelector { fields: vec!["b.c".to_owned(), "a".to_owned()] };
    assert_eq!(get(exclude.into()).await, json!({"b": {"d": 3}}));
    assert_eq!(get(false.into()).await, json!({}));
}

#[tokio::test]
async fn reads_of_nothing_are_refused() {
    let client = client();
    let missing = crate::support::fresh_name();
    assert_eq!(code(client.scroll(ScrollPointsBuilder::new(&missing)).await), Code::NotFound);
    assert_eq!(code(client.count(CountPointsBuilder::new(&missing)).await), Code::NotFound);
    let name = plain_collection(&client).await;
    assert_eq!(code(client.scroll(ScrollPointsBuilder::new(&name).limit(0)).await), Code::InvalidArgument);
    let broken = Filter::must([Condition::matches("a[", 1)]);
    assert_eq!(code(client.scroll(ScrollPointsBuilder::new(&name).filter(broken)).await), Code::InvalidArgument);
    assert!(client.scroll(ScrollPointsBuilder::new(&name)).await.unwrap().result.is_empty());
}
