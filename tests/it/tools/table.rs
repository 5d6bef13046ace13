//! `query_table` over tables in calls, files, artifacts and at addresses.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use qron::domain::tree::Rights;
use qron::tools::ToolContext;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::store::Place;
use super::support::agent;

const TABLE: &str = "<table><tr><th>City</th><th>Amount</th></tr><tr><td><a href=/r>Rome</a></td><td>1</td></tr>\
                     <tr><td>Oslo</td><td>2</td></tr></table>";
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
        ("SELECT 1", json!({ "table": "sales.csv" }), "no table but a name: give it as path, artifact or url"),
        ("SELECT 1", json!({ "table": "http://10.1.0.5/reset?id=1" }), "no table but a name"),
        (
            "SELECT 1 FROM customers",
            json!({ "path": "sales.csv" }),
            "no table customers: the only table is called data",
        ),
        ("SELECT 1", json!({ "table": "[{\"a\":1},{\"a\":2}" }), "begins as a list in JSON"),
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
        .route("/rows", get(async || ([("content-type", "application/json")], rows)))
        .route("/page", get(async || Html(format!("<title>t</title>{TABLE}"))))
        .route("/pages", get(async || Html(format!("{TABLE}{TABLE}"))))
        .route(
            "/latin",
            get(async || {
                ([("content-type", "application/octet-stream; charset=latin1")], b"amount;stra\xdfe\n7;x".to_vec())
            }),
        )
        .route(
            "/bytes",
            get(async || ([("content-type", "application/octet-stream")], b"amount;stra\xdfe\n7;x".to_vec())),
        );
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    let of = |path: &str| json!({ "url": format!("{site}{path}"), "table": "", "query": "SELECT sum(amount) AS n FROM data" });
    for (path, sum) in [("/sales.csv", 7), ("/rows", 5), ("/page", 3), ("/latin", 7)] {
        let answer = place.call(&ada, "query_table", of(path)).await.expect("an answer");
        assert_eq!(answer["rows"][0]["n"], json!(sum), "{answer}");
    }
    for (path, told) in
        [("/pages", "HTML page with 2 tables"), ("/bytes", "answers no text (application/octet-stream)")]
    {
        let failure = place.call(&ada, "query_table", of(path)).await.expect_err("no table");
        assert!(failure.message.contains(told), "{failure}");
    }
    let missing = place.call(&ada, "query_table", of("/none")).await.expect_err("no page");
    assert!(missing.message.contains("answered 404"), "{missing}");

    let narrow =
        ToolContext { rights: Rights { tools: vec!["query_table".to_owned()], ..Rights::default() }, ..ada.clone() };
    for (profile, context) in [(agent(&json!(["query_table"])), &ada), (agent(&json!(["*"])), &narrow)] {
        let refused = place.call_by(&profile, context, "query_table", of("/rows")).await.expect_err("refused");
        assert!(refused.message.contains("wants the right"), "{refused}");
    }
    let closed = json!({ "url": "http://10.0.0.1/x.csv", "query": "SELECT 1 FROM data" });
    let closed: Value = place.call(&ada, "query_table", closed).await.expect_err("a private address").message.into();
    assert!(closed.to_string().contains("10.0.0.1"), "{closed}");
}

/// SQLite takes a text for 0, for its first digits, or for greater than every number.
#[tokio::test]
async fn a_figure_is_never_made_of_texts_without_a_word() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    let amounts = "city,amount,price,zip\nRome,99,\"1,234\",00118\nOslo,1000,\"2,000\",0150\nBonn,n/a,\"12,5\",53111\n";
    let query = |query: &str| json!({ "table": amounts, "query": query });
    for (text, named) in [
        ("SELECT sum(amount) FROM data", "\"n/a\""),
        ("SELECT avg(a) FROM (SELECT amount AS a FROM data)", "\"n/a\""),
        ("WITH t(x) AS (SELECT amount FROM data) SELECT total(x) FROM t", "\"n/a\""),
        ("SELECT max(amount) FROM data", "amount is used as a number, and \"n/a\" is none"),
        ("SELECT city FROM data WHERE amount > 5000", "\"n/a\""),
        ("SELECT city FROM data WHERE amount BETWEEN 5 AND 5000", "\"n/a\""),
        ("SELECT city FROM data ORDER BY amount DESC LIMIT 1", "\"n/a\""),
        ("SELECT city, amount FROM data ORDER BY 2 DESC LIMIT 1", "\"n/a\""),
        ("SELECT amount * 2 FROM data", "\"n/a\""),
        ("SELECT sum(CAST(amount AS REAL)) FROM data", "\"n/a\""),
        ("SELECT sum(price) FROM data", "\"1,234\""),
        ("SELECT max(price) FROM data", "\"1,234\""),
        ("SELECT round(price) FROM data", "\"1,234\""),
        ("SELECT count(*) FROM data WHERE price > 1000", "\"1,234\""),
        ("SELECT sum(CAST(price AS INTEGER)) FROM data", "\"1,234\""),
    ] {
        let failure = place.call(&ada, "query_table", query(text)).await.expect_err(text);
        assert!(failure.message.contains(named) && failure.message.contains("WHERE typeof("), "{text}: {failure}");
        let columns =
            "amount (integer but for 1 of its cells, the first of which is \"n/a\" in row 3), price (text), zip (text)";
        assert!(failure.message.contains(columns), "{failure}");
    }
    for (text, rows) in [
        (
            "SELECT sum(amount) AS s, max(amount) AS m FROM data WHERE typeof(amount) <> 'text'",
            json!([{"s": 1099, "m": 1000}]),
        ),
        ("SELECT sum(amount) FROM data WHERE amount <> 'n/a'", json!([{"sum(amount)": 1099}])),
        ("SELECT city FROM data WHERE typeof(amount) <> 'text' AND amount >= '100'", json!([{"city": "Oslo"}])),
        ("SELECT city FROM data WHERE amount = '99'", json!([{"city": "Rome"}])),
        ("SELECT city, amount FROM data WHERE city > 'P'", json!([{"city": "Rome", "amount": 99}])),
        ("SELECT amount FROM data ORDER BY city LIMIT 1", json!([{"amount": "n/a"}])),
        (
            "SELECT city, max(price_) AS m FROM (SELECT city, CAST(replace(price, ',', '') AS REAL) AS price_ FROM data)",
            json!([{"city": "Oslo", "m": 2000.0}]),
        ),
        ("SELECT count(amount) AS n, max(zip) AS z FROM data WHERE zip < '1'", json!([{"n": 2, "z": "0150"}])),
        (
            "SELECT a.city FROM data a JOIN data b ON a.amount = b.amount WHERE b.city = 'Oslo'",
            json!([{"city": "Oslo"}]),
        ),
    ] {
        let answer =
            place.call(&ada, "query_table", query(text)).await.unwrap_or_else(|failure| panic!("{text}: {failure}"));
        assert_eq!(answer["rows"], rows, "{text}");
        assert_eq!(answer["columns"][1]["not_numbers"], json!({"count": 1, "row": 3, "first": "n/a"}));
    }
}

#[tokio::test]
async fn a_table_is_found_by_the_names_that_models_give_it() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    place.call(&ada, "write_file", json!({ "path": "in/sales.csv", "content": SALES })).await.expect("written");
    for (name, source) in [
        ("sales.csv", json!({ "path": "in/sales.csv" })),
        ("sales", json!({ "path": "in/sales.csv" })),
        ("\"in/sales.csv\"", json!({ "path": "in/sales.csv" })),
        ("table", json!({ "path": "in/sales.csv" })),
        ("orders", json!({ "table": SALES })),
        ("table", json!({ "table": SALES })),
    ] {
        let mut arguments = source;
        arguments["query"] = format!("SELECT sum(amount) AS n FROM {name}").into();
        let answer =
            place.call(&ada, "query_table", arguments).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(answer["rows"], json!([{ "n": 7 }]), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_an_artifact_alone_is_queried_by_its_path() {
    let place = Place::new().await;
    let ada = place.task(Some("ada"), |_| {}).await;
    place.call(&ada, "save_artifact", json!({ "name": "large.csv", "content": SALES })).await.expect("saved");
    let sum = json!({ "path": "large.csv", "query": "SELECT sum(amount) AS n FROM data" });
    assert_eq!(place.call(&ada, "query_table", sum).await.expect("an answer")["rows"], json!([{ "n": 7 }]));
    let failure = place.call(&ada, "read_file", json!({ "path": "large.csv" })).await.expect_err("no file");
    assert!(
        failure.message.contains("there is no file \"large.csv\"") && failure.message.contains("read_artifact"),
        "{failure}"
    );
}

/// Slow hosts hold no place that other queries need.
#[tokio::test]
async fn tables_that_are_far_away_keep_no_other_query_waiting() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let site = format!("http://{}/x.csv", listener.local_addr().expect("an address"));
    let (asked, opened) = (std::sync::Arc::new(Notify::new()), std::sync::Arc::new(Notify::new()));
    let (ask, open) = (asked.clone(), opened.clone());
    let pages = Router::new().route(
        "/x.csv",
        get(async move || {
            let wait = open.notified();
            ask.notify_one();
            wait.await;
            SALES
        }),
    );
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let place = std::sync::Arc::new(Place::new().await);
    let ada = place.task(Some("ada"), |_| {}).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (place, ada, site) = (place.clone(), ada.clone(), site.clone());
        slow.spawn(async move {
            place.call(&ada, "query_table", json!({ "url": site, "query": "SELECT sum(amount) AS n FROM data" })).await
        });
        asked.notified().await;
    }
    let near = json!({ "table": SALES, "query": "SELECT count(*) AS n FROM data" });
    assert_eq!(place.call(&ada, "query_table", near).await.expect("an answer")["rows"], json!([{ "n": 3 }]));
    opened.notify_waiters();
    while let Some(answer) = slow.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer")["rows"], json!([{ "n": 7 }]));
    }
}
