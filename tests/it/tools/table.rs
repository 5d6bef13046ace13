//! `query_table` over tables in calls, files and artifacts.

use serde_json::json;

use super::store::Place;

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
        ("SELECT 1", json!({}), "one of table, path and artifact"),
        ("SELECT 1", json!({ "table": SALES, "path": "a" }), "one of table, path and artifact"),
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
