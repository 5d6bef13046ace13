//! What strangers at the port may do: hold connections, send what is deep, long or large. The server goes on for others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeleteFieldIndexCollectionBuilder, DeletePayloadPointsBuilder, DeletePointsBuilder, FacetCountsBuilder, FieldType,
    Filter, GetPointsBuilder, ListValue, OrderByBuilder, PayloadIncludeSelector, PointId, PointStruct, PointsIdsList,
    PrefetchQueryBuilder, Query, QueryBatchPointsBuilder, QueryPointsBuilder, ScrollPointsBuilder,
    SetPayloadPointsBuilder, UpdateBatchPointsBuilder, UpsertPointsBuilder, Value as ProtoValue,
};
use qdrant_client::{Qdrant, QdrantError};
use qdrant_embedded::{Server, Settings};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::Code;

use crate::support::settings_in;
use crate::support::{client, client_of, code, count, insert, numbered_collection, plain_collection, point};

/// How long a request of others may take while strangers do what they can.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Refused as wrong input, with these words.
fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, QdrantError>, words: &str) {
    let Err(QdrantError::ResponseError { status }) = answer else { panic!("{what}: {answer:?}") };
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
    assert!(status.message().contains(words), "{what}: {} lacks {words:?}", status.message());
}

#[tokio::test]
async fn long_key_paths_are_refused_wherever_a_key_may_stand() {
    let client = client();
    let name = numbered_collection(&client, 3).await;
    let paths = [
        vec!["a"; 33].join("."),
        vec!["a"; 10_000].join("."),
        format!("a{}", "[]".repeat(10_000)),
        format!("a{}", "[0]".repeat(10_000)),
        format!("a{}", r#"."b""#.repeat(5_000)),
        "x".repeat(2_000),
    ];
    for path in &paths {
        let what = format!("{path:.20}");
        let filter = || Filter::must([Condition::matches(path.as_str(), 1)]);
        let words = "key path";
        let all = || PointsSelectorOneOf::Filter(Filter::default());
        let payload = || qdrant_client::Payload::try_from(json!({"x": 1})).unwrap();
        let set = SetPayloadPointsBuilder::new(&name, payload()).points_selector(all()).key(path.as_str()).wait(true);
        refused(&what, client.set_payload(set).await, words);
        let delete = DeletePayloadPointsBuilder::new(&name, vec![path.clone()]).points_selector(all()).wait(true);
        refused(&what, client.delete_payload(delete).await, words);
        let index = CreateFieldIndexCollectionBuilder::new(&name, path.as_str(), FieldType::Integer).wait(true);
        refused(&what, client.create_field_index(index).await, words);
        let index = DeleteFieldIndexCollectionBuilder::new(&name, path.as_str());
        refused(&what, client.delete_field_index(index).await, words);
        refused(&what, client.count(CountPointsBuilder::new(&name).filter(filter())).await, words);
        let nested = Filter::must([Condition::nested(path.as_str(), Filter::default())]);
        refused(&what, client.count(CountPointsBuilder::new(&name).filter(nested)).await, words);
        let empty = Filter::must_not([Condition::is_empty(path.as_str())]);
        refused(&what, client.count(CountPointsBuilder::new(&name).filter(empty)).await, words);
        let null = Filter::should([Condition::is_null(path.as_str())]);
        refused(&what, client.delete_points(DeletePointsBuilder::new(&name).points(null)).await, words);
        refused(&what, client.facet(FacetCountsBuilder::new(&name, path.as_str())).await, words);
        let ordered = ScrollPointsBuilder::new(&name).order_by(OrderByBuilder::new(path.as_str()));
        refused(&what, client.scroll(ordered).await, words);
        let include = || PayloadIncludeSelector { fields: vec![path.clone()] };
        refused(&what, client.scroll(ScrollPointsBuilder::new(&name).with_payload(include())).await, words);
        let get = GetPointsBuilder::new(&name, vec![1.into()]).with_payload(include());
        refused(&what, client.get_points(get).await, words);
        let query = QueryPointsBuilder::new(&name).with_payload(include());
        refused(&what, client.query(query).await, words);
    }
    // A path as deep as they may be is fine.
    let deep = vec!["a"; 32].join(".");
    let payload = qdrant_client::Payload::try_from(json!({"x": 1})).unwrap();
    let ids = PointsSelectorOneOf::Points(PointsIdsList { ids: vec![1.into()] });
    let set = SetPayloadPointsBuilder::new(&name, payload).points_selector(ids).key(deep.as_str()).wait(true);
    client.set_payload(set).await.unwrap();
    let filter = Filter::must([Condition::matches(format!("{}.x", vec!["a"; 31].join(".")), 1)]);
    client.count(CountPointsBuilder::new(&name).filter(filter)).await.unwrap();
    assert_eq!(count(&client, &name, None).await, 3);
}

#[tokio::test]
async fn what_nests_too_deeply_is_refused() {
    let client = client();
    let name = numbered_collection(&client, 3).await;
    // Deeper ones would overflow the stack of the client that writes them.
    for depth in [33, 49, 60, 300] {
        for wrap in [
            (|inner: Filter| Filter::must([inner.into()])) as fn(Filter) -> Filter,
            |inner| Filter::should([inner.into()]),
            |inner| Filter::must_not([inner.into()]),
            |inner| Filter::must([Condition::nested("a", inner)]),
        ] {
            let filter = (0..depth).fold(Filter::must([Condition::matches("n", 1)]), |inner, _| wrap(inner));
            let answer = client.count(CountPointsBuilder::new(&name).filter(filter)).await;
            assert!(answer.is_err(), "{depth}: {answer:?}");
        }
    }
    for depth in [60, 300] {
        let empty = ProtoValue { kind: Some(Kind::NullValue(0)) };
        let nested = (0..depth)
            .fold(empty, |inner, _| ProtoValue { kind: Some(Kind::ListValue(ListValue { values: vec![inner] })) });
        let point = PointStruct { payload: HashMap::from([("deep".to_owned(), nested)]), ..point(9, json!({})) };
        let answer = client.upsert_points(UpsertPointsBuilder::new(&name, vec![point]).wait(true)).await;
        assert!(answer.is_err(), "{depth}: {answer:?}");
    }
    for depth in [9, 30] {
        let prefetch = (0..depth).fold(PrefetchQueryBuilder::default().build(), |inner, _| {
            PrefetchQueryBuilder::default().prefetch(vec![inner]).build()
        });
        let query = QueryPointsBuilder::new(&name)
            .prefetch(vec![prefetch])
            .query(Query::new_fusion(qdrant_client::qdrant::Fusion::Rrf));
        refused(&format!("{depth}"), client.query(query).await, "prefetches nest deeper than 8");
    }
    assert_eq!(count(&client, &name, None).await, 3);
}

#[tokio::test]
async fn what_is_too_much_for_one_request_is_refused() {
    let client = client();
    let name = plain_collection(&client).await;
    let ids = |count: u64| (0..count).map(PointId::from).collect::<Vec<_>>();
    let points = (0..100_001).map(|id| point(id, json!({}))).collect::<Vec<_>>();
    refused("points", client.upsert_points(UpsertPointsBuilder::new(&name, points)).await, "the most is 100000");
    let delete = DeletePointsBuilder::new(&name).points(PointsIdsList { ids: ids(100_001) });
    refused("ids", client.delete_points(delete).await, "the most is 100000");
    refused("ids", client.get_points(GetPointsBuilder::new(&name, ids(100_001))).await, "the most is 100000");
    let fields = (0..1_001).map(|field| format!("f{field}")).collect();
    let scroll = ScrollPointsBuilder::new(&name).with_payload(PayloadIncludeSelector { fields });
    refused("keys", client.scroll(scroll).await, "1001 keys; the most is 1000");
    let queries = vec![QueryPointsBuilder::new(&name).build(); 101];
    refused("queries", client.query_batch(QueryBatchPointsBuilder::new(&name, queries)).await, "the most is 100");
    let prefetches = vec![PrefetchQueryBuilder::default().build(); 65];
    let query = QueryPointsBuilder::new(&name).prefetch(prefetches);
    refused("prefetches", client.query(query).await, "more than 64 prefetches");
    let operation = qdrant_client::qdrant::PointsUpdateOperation { operation: None };
    let batch = UpdateBatchPointsBuilder::new(&name, vec![operation; 10_001]);
    refused("operations", client.update_points_batch(batch).await, "the most is 10000");
    let large = point(1, json!({"text": "x".repeat(65 << 20)}));
    let answer = client.upsert_points(UpsertPointsBuilder::new(&name, vec![large])).await;
    assert!(matches!(code(answer), Code::OutOfRange | Code::ResourceExhausted));
    assert_eq!(count(&client, &name, None).await, 0);
}

#[tokio::test]
async fn an_ordered_scroll_answers_so_many_points_and_refuses_to_leave_some_out() {
    let client = client();
    let name = numbered_collection(&client, 60_000).await;
    let more = (60_001..=100_002).map(|id| point(id, json!({"n": id, "even": id % 2 == 0, "last": id > 99_999})));
    insert(&client, &name, more.collect()).await;
    let ordered = |limit: u32| ScrollPointsBuilder::new(&name).order_by(OrderByBuilder::new("n")).limit(limit);
    let numbers = |answer: qdrant_client::qdrant::ScrollResponse| {
        let ids = answer.result.into_iter().filter_map(|point| point.id?.point_id_options);
        ids.map(|id| format!("{id:?}")).collect::<Vec<_>>()
    };
    let first = client.scroll(ordered(100).with_payload(false)).await.unwrap();
    assert_eq!(numbers(first).last().map(String::as_str), Some("Num(100)"));
    assert_eq!(client.scroll(ordered(100_000).with_payload(false)).await.unwrap().result.len(), 100_000);
    for limit in [100_001, 100_002, u32::MAX] {
        refused("an answer", client.scroll(ordered(limit)).await, "which is 100000");
    }
    // What matches counts, and not what there is.
    let last = || Filter::must([Condition::matches("last", true)]);
    let answer = client.scroll(ordered(u32::MAX).filter(last())).await.unwrap();
    assert_eq!(numbers(answer), ["Num(100000)", "Num(100001)", "Num(100002)"]);
    let rest = OrderByBuilder::new("n").start_from(qdrant_client::qdrant::start_from::Value::Integer(100_000));
    let rest = ScrollPointsBuilder::new(&name).order_by(rest).limit(100_000);
    assert_eq!(client.scroll(rest).await.unwrap().result.len(), 3);
}

#[tokio::test]
async fn names_of_collections_lead_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&settings_in(&folder.path().join("data"))).await.unwrap();
    let client = Qdrant::from_url(&server.url()).skip_compatibility_check().build().unwrap();
    for name in ["", ".", "..", "../up", "../../etc", "/tmp/x", "a/b", "a\\b", "nul\0", "a\nb", ".trash-1", "a:b"] {
        assert_eq!(
            code(client.create_collection(CreateCollectionBuilder::new(name)).await),
            Code::InvalidArgument,
            "{name:?}"
        );
        assert_eq!(code(client.count(CountPointsBuilder::new(name)).await), Code::InvalidArgument, "{name:?}");
        assert!(!client.collection_exists(name).await.unwrap(), "{name:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made beside the folder");
    server.shutdown().await.unwrap();
}

/// A server that takes few connections, and a collection with a point.
async fn small_server(folder: &std::path::Path, key: &str) -> (Server, Qdrant, String) {
    let settings = Settings { api_key: key.into(), ..settings_in(folder) };
    let server = Server::start_for(&settings, 8).await.expect("a server");
    let client = with_key(&server, server.own_key().expose_secret());
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({}))]).await;
    (server, client, name)
}

fn with_key(server: &Server, key: &str) -> Qdrant {
    let builder = Qdrant::from_url(&server.url()).skip_compatibility_check().timeout(Duration::from_secs(10));
    if key.is_empty() { builder } else { builder.api_key(key) }.build().expect("a client")
}

/// The client's connection, or a new one for this request, answers at once.
async fn answers(client: &Qdrant, name: &str) {
    let began = Instant::now();
    assert_eq!(count(client, name, None).await, 1);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

/// Reads what comes until the other side closes the connection.
async fn until_closed(mut stream: TcpStream) {
    let mut sink = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut sink)).await;
    // A connection may also end in a reset, which is an end as well.
    drop(ended.expect("the connection is closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_strangers_shut_nobody_out() {
    for key in ["", "secret"] {
        let folder = tempfile::tempdir().unwrap();
        let (server, own, name) = small_server(folder.path(), key).await;
        let mut idle = Vec::new();
        for index in 0..200 {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            if index % 2 == 0 {
                // Speaks HTTP/2, and sends nothing more.
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
            }
            idle.push(stream);
            if index % 20 == 0 {
                answers(&own, &name).await;
            }
        }
        answers(&own, &name).await;
        // New clients find a place, and keep it among idle ones.
        let client = with_key(&server, key);
        for _ in 0..3 {
            answers(&client, &name).await;
            idle.push(TcpStream::connect(server.address()).await.unwrap());
        }
        // All but the last few have been closed.
        for stream in idle.drain(..190) {
            until_closed(stream).await;
        }
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_and_stay_give_way_to_new_ones_and_never_to_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (server, own, name) = small_server(folder.path(), "").await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        let client = with_key(&server, "");
        answers(&client, &name).await;
        answers(&own, &name).await;
        clients.push(client);
    }
    // One whose connection was taken gets another one.
    for client in &clients {
        answers(client, &name).await;
    }
    server.shutdown().await.unwrap();
}

/// A URL for one client of `server`, to which no more than `bytes` of the answers pass before `opened`. Also tells when these have
/// passed.
async fn narrow(server: &Server, bytes: u64, opened: oneshot::Receiver<()>) -> (String, oneshot::Receiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut server = TcpStream::connect(server.address()).await.expect("a connection");
    let (full, is_full) = oneshot::channel();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let (mut requests, mut to_client) = client.split();
        let (mut answers, mut to_server) = server.split();
        let sending = async {
            tokio::io::copy(&mut (&mut answers).take(bytes), &mut to_client).await?;
            full.send(()).expect("the test waits");
            drop(opened.await);
            tokio::io::copy(&mut answers, &mut to_client).await
        };
        // Either ends with the connection.
        drop(tokio::try_join!(tokio::io::copy(&mut requests, &mut to_server), sending));
    });
    (url, is_full)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_being_sent_keeps_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (server, own, name) = small_server(folder.path(), "").await;
    insert(&own, &name, vec![point(2, json!({"text": "x".repeat(16 << 20)}))]).await;
    let (open, opened) = oneshot::channel();
    let (url, is_full) = narrow(&server, 200_000, opened).await;
    let reading = {
        let (client, name) = (client_of(&url), name.clone());
        tokio::spawn(async move { client.scroll(ScrollPointsBuilder::new(name).with_payload(true)).await })
    };
    is_full.await.expect("the answer is being sent");
    let mut clients = Vec::new();
    for _ in 0..30 {
        let client = with_key(&server, "");
        assert_eq!(count(&client, &name, None).await, 2);
        clients.push(client);
    }
    open.send(()).expect("the reader waits");
    assert_eq!(reading.await.unwrap().expect("the whole answer").result.len(), 2);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_checked_before_the_body_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (server, own, name) = small_server(folder.path(), "secret").await;
    let stranger = with_key(&server, "wrong");
    let large = vec![point(2, json!({"text": "x".repeat(30 << 20)}))];
    let began = Instant::now();
    let answer = stranger.upsert_points(UpsertPointsBuilder::new(&name, large).wait(true)).await;
    assert_eq!(code(answer), Code::Unauthenticated);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for client in [with_key(&server, ""), with_key(&server, "secre"), with_key(&server, "secret2")] {
        assert_eq!(code(client.list_collections().await), Code::Unauthenticated);
        assert_eq!(code(client.count(CountPointsBuilder::new("../x")).await), Code::Unauthenticated);
        client.health_check().await.unwrap();
    }
    assert_eq!(count(&with_key(&server, "secret"), &name, None).await, 1);
    answers(&own, &name).await;
    server.shutdown().await.unwrap();
}
