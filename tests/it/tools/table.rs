//! `query_table` over tables in calls, files, artifacts and at addresses.

use axum::Router;
use axum::routing::get;
use qron::domain::agent::AgentProfile;
use serde_json::{Value, json};

use super::store::Place;
use super::support::agent;

const SALES: &str = "City;Unit price;Amount\nRome;2.5;4\nOslo;10;1\n\"Rome\";1.25;2\n";

#[tokio::test]
async fn a_table_is_queried_wherever_it_is() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    place.call(&ada, "write_file", json!({ "path": "sales.csv", "content": SALES })).await.expect("written");
    place.call(&ada, "save_artifact", json!({ "name": "sales.csv", "content": SALES })).await.expect("saved");
    let rows = json!([
        { "City": "Rome", "Unit price": 2.5, "Amount": 4 }, { "City": "Oslo", "Unit price": 10, "Amount": 1 },
        { "City": "Rome", "Unit price": 1.25, "Amount": 2 },
    ]);
    for source in [
        json!({ "table": SALES }),
        json!({ "table": SALES.replace(';', ",") }),
        json!({ "table": SALES.replace(';', "\t") }),
        json!({ "table": rows }),
        json!({ "table": rows.to_string() }),
        json!({ "path": "sales.csv" }),
        json!({ "artifact": "sales.csv" }),
        json!({ "table": "sales.csv" }),
    ] {
        let mut arguments = source.clone();
        arguments["query"] = "SELECT city, sum(unit_price * amount) AS total FROM data GROUP BY city ORDER BY 2".into();
        let answer =
            place.call(&ada, "query_table", arguments).await.unwrap_or_else(|failure| panic!("{source}: {failure}"));
        let oslo_is_first = json!([{ "city": "Oslo", "total": 10 }, { "city": "Rome", "total": 12.5 }]);
        let total = |at: usize| answer["rows"][at]["total"].as_f64();
        assert_eq!((total(0), total(1)), (Some(10.0), Some(12.5)), "{source}: {answer}, not {oslo_is_first}");
        assert_eq!((&answer["row_count"], &answer["table_rows"]), (&json!(2), &json!(3)));
        assert!(answer["columns"].to_string().contains("\"unit_price\""), "{answer}");
    }
    let lines: Vec<String> = (1..=2_000).map(|number: u32| number.to_string()).collect();
    let numbers = format!("n\n{}", lines.join("\n"));
    let all = place.call(&ada, "query_table", json!({ "table": numbers, "query": "SELECT n FROM data" })).await;
    let all = all.expect("an answer");
    // It is too long for the run.
    assert!(all["artifact"].is_string(), "{all}");
    let sum = json!({ "table": numbers, "query": "SELECT sum(n) AS s, count(*) AS c FROM data" });
    let sum = place.call(&ada, "query_table", sum).await.expect("an answer");
    assert_eq!(sum["rows"], json!([{ "s": 2_001_000, "c": 2_000 }]));
}

#[tokio::test]
async fn a_query_of_a_table_only_reads_it_and_is_bounded() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    let eve = place.task(Some("eve"), |_| {}).await;
    place.call(&eve, "save_artifact", json!({ "name": "hers.csv", "content": SALES })).await.expect("saved");
    for (query, source, told) in [
        ("DELETE FROM data", json!({ "table": SALES }), "refused: "),
        ("SELECT 1; SELECT 2", json!({ "table": SALES }), "refused: "),
        ("SELECT load_extension('x') FROM data", json!({ "table": SALES }), "refused: "),
        ("ATTACH 'x' AS y", json!({ "table": SALES }), "refused: "),
        (
            "SELECT price FROM data",
            json!({ "table": SALES }),
            "has the columns: city (text), unit_price (real), amount (integer)",
        ),
        ("SELECT 1", json!({}), "one of table, path, artifact and url"),
        ("SELECT 1", json!({ "table": SALES, "path": "a" }), "one of table, path, artifact and url"),
        ("SELECT 1", json!({ "path": "../a" }), "refused: "),
        ("SELECT 1", json!({ "path": "missing.csv" }), "missing.csv"),
        ("SELECT 1", json!({ "artifact": "hers.csv" }), "has no artifact"),
        ("SELECT 1", json!({ "table": "a,b\n1,2,3" }), "line 2 of the table"),
        (
            "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t",
            json!({ "table": SALES }),
            "did not end within",
        ),
    ] {
        let mut arguments = source.clone();
        arguments["query"] = query.into();
        let failure = place.call(&ada, "query_table", arguments).await.expect_err(query);
        assert!(failure.message.contains(told), "{query} {source}: {failure}");
    }
}

#[tokio::test]
async fn a_table_at_an_address_wants_the_right_to_get_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let site = format!("http://{}", listener.local_addr().expect("an address"));
    let rows = json!([{ "city": "Rome", "amount": 4 }, { "city": "Oslo", "amount": 1 }]).to_string();
    let pages = Router::new()
        .route("/sales.csv", get(async || ([("content-type", "text/csv")], SALES)))
        .route("/rows", get(async || ([("content-type", "application/json")], rows)));
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    let of = |path: &str| json!({ "url": format!("{site}{path}"), "table": "", "query": "SELECT sum(amount) AS n FROM data" });
    for (path, sum) in [("/sales.csv", 7), ("/rows", 5)] {
        let answer = place.call(&ada, "query_table", of(path)).await.expect("an answer");
        assert_eq!(answer["rows"][0]["n"], json!(sum), "{answer}");
    }
    let missing = place.call(&ada, "query_table", of("/none")).await.expect_err("no page");
    assert!(missing.message.contains("answered 404"), "{missing}");

    let asking = AgentProfile { needs_approval: vec!["http_request".to_owned()], ..agent(&json!(["*"])) };
    for (profile, words) in [(agent(&json!(["query_table"])), "wants the right"), (asking, "must approve")] {
        let refused = place.call_by(&profile, &ada, "query_table", of("/rows")).await.expect_err("refused");
        assert!(refused.message.contains(words), "{refused}");
    }
    let closed = json!({ "url": "http://10.0.0.1/x.csv", "query": "SELECT 1 FROM data" });
    let closed: Value = place.call(&ada, "query_table", closed).await.expect_err("a private address").message.into();
    assert!(closed.to_string().contains("10.0.0.1"), "{closed}");
}
