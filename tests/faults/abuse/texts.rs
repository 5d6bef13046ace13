//! JSON and other text of the largest size that comes in, in shapes that are dear to work on.

use qron::domain::id::TaskId;
use serde_json::{Map, Value, json};

use super::support::{Bed, short, task};

/// Just below the largest body of a request.
const BYTES: usize = 2_000_000;

fn repeated(piece: &str) -> String {
    piece.repeat(BYTES / piece.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_shape_are_answered() {
    let bed = Bed::start("bodies").await;
    bed.watched(async {
        let fields: Map<String, Value> = (0..BYTES / 20).map(|number| (format!("run_at{number}"), json!(1))).collect();
        let bodies = [
            repeated("["),
            repeated("{\"a\":"),
            repeated("["),
            format!("{{\"goal\": \"{}\"}}", repeated("\\u0000")),
            format!("{{\"goal\": \"long enough\", \"context\": [{}1]}}", repeated("{\"\":0},")),
            format!("{{\"goal\": \"long enough\", \"context\": {{\"x\": [{}1]}}}}", repeated("9,")),
            format!("{{\"goal\": \"long enough\", \"id\": \"{}\"}}", repeated("1")),
            format!("{{\"goal\": \"long enough\", \"run_at\": \"{}\"}}", repeated("2")),
            format!("{{\"goal\": \"long enough\", \"timeout_s\": {}}}", repeated("1")),
            Value::Object(fields).to_string(),
        ];
        for body in bodies {
            let (status, answer) = bed.post_text("tasks", body.clone()).await;
            let shown: String = body.chars().take(80).collect();
            assert!(!status.is_server_error(), "{shown}: {status}: {}", short(&answer));
            bed.post_text("schedules", body.clone()).await;
            bed.post_text("schedules/preview", body).await;
        }
        let deep = "max(fib(20000)/fib(19999), fib(19999)/fib(19998))".to_owned();
        let root = "(7^17000/11^14000)^(1/3)".to_owned();
        let long = "7^17000/11^14000".to_owned() + &"*3/5".repeat(100);
        let towers = ["2^".repeat(240) + "9", "(".repeat(490), "9!".repeat(240), "1/3^15000+".repeat(45) + "1"];
        for expression in towers.into_iter().chain([deep, root, long]) {
            let plan = json!([{ "id": "a", "tool": "calculate", "arguments": { "expression": expression } }]);
            let (status, made) = bed.post("tasks", &task(&plan)).await;
            // What cannot be calculated is refused at the door, as far as the time for trying it reaches.
            if status.as_u16() == 422 {
                assert!(short(&made).contains("cannot calculate"), "{}", short(&made));
                continue;
            }
            assert!(status.is_success(), "{status}: {}", short(&made));
            bed.ended(made["id"].as_str().expect("an id").parse().expect("an id")).await;
        }
    })
    .await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_every_shape_are_read() {
    let bed = Bed::start("points").await;
    bed.watched(async {
        let deep = (0..30).fold(json!(1), |inner, _| json!([inner]));
        let mut fields: Map<String, Value> = (0..60_000).map(|number| (format!("runn_at{number}"), json!(1))).collect();
        fields.insert("goal".to_owned(), json!("a point with more fields than any"));
        let points = [
            json!({ "goal": "a point", "plan": repeated("[") }),
            json!({ "goal": "a point", "plan": repeated("{\"a\":") }),
            json!({ "goal": "a point", "context": { "x": deep } }),
            json!({ "goal": repeated("a") }),
            json!({ "goal": "a point", "run_at": repeated("9") }),
            json!({ "goal": "a point", "timeout_s": repeated("9") }),
            json!({ "goal": "a point", "depends_on": repeated("9") }),
            json!({ "goal": "a point", "status": repeated("pending ") }),
            Value::Object(fields),
        ];
        for (number, point) in (1..).zip(points) {
            bed.upsert(TaskId::Number(number), point).await;
            bed.dead_letter(TaskId::Number(number)).await;
        }
    })
    .await;
    bed.finish().await;
}
