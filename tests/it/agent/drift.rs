//! Results that are unlike the earlier results of their schedule.

use qron::clock;
use qron::domain::drift::{EndedRun, MARK, ResultForm, unlike};
use qron::domain::id::TaskId;
use qron::domain::task::Task;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bed::{Bed, planned};

/// Results of one recurring job.
#[derive(Deserialize)]
struct Series {
    name: String,
    results: Vec<Value>,
}

/// A result as it is kept.
struct Kept {
    text: String,
    form: ResultForm,
}

impl Kept {
    fn of(result: &Value) -> Self {
        let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
        Self { text, form: ResultForm::of(result) }
    }

    fn run(&self) -> EndedRun<'_> {
        EndedRun { text: &self.text, form: &self.form, tool_calls: 1, undone_steps: 0, tokens: 0 }
    }
}

/// How many were called suspect, of how many.
#[derive(Default)]
struct Share(u32, u32);

impl Share {
    fn add(&mut self, is_suspect: bool) {
        self.0 += u32::from(is_suspect);
        self.1 += 1;
    }

    fn part(&self) -> f64 {
        f64::from(self.0) / f64::from(self.1)
    }
}

/// `cargo test --test it -- --nocapture silent_failures_are_found`
///
/// 32 series of twelve results and 24 results that say in many ways that nothing was done, written by hand. The scales and the limit
/// were chosen on every second of both; what is measured here are the others.
#[test]
fn silent_failures_are_found_and_odd_days_are_not() {
    let series: Vec<Series> = serde_json::from_str(include_str!("../../data/drift/series.json")).expect("series");
    let failures: Vec<Value> = serde_json::from_str(include_str!("../../data/drift/failures.json")).expect("failures");
    let failures: Vec<Kept> = failures.iter().skip(1).step_by(2).map(Kept::of).collect();
    let measured: Vec<(&str, Vec<Kept>)> = series
        .iter()
        .skip(1)
        .step_by(2)
        .map(|series| (series.name.as_str(), series.results.iter().map(Kept::of).collect()))
        .collect();
    let (mut found, mut wrong, mut others) = (Share::default(), Share::default(), Share::default());
    for (place, (name, results)) in measured.iter().enumerate() {
        let runs: Vec<EndedRun<'_>> = results.iter().map(Kept::run).collect();
        for failure in &failures {
            found.add(!unlike(&failure.run(), &runs).is_empty());
        }
        for (index, result) in results.iter().enumerate() {
            let earlier: Vec<EndedRun<'_>> =
                runs.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, run)| *run).collect();
            let reasons = unlike(&result.run(), &earlier);
            if !reasons.is_empty() {
                println!("{name} {index}: {reasons:?}");
            }
            wrong.add(!reasons.is_empty());
        }
        for (other, (_, results)) in measured.iter().enumerate().filter(|(other, _)| *other != place) {
            others.add(!unlike(&results[(place * 7 + other) % results.len()].run(), &runs).is_empty());
        }
    }
    println!(
        "found {:.1} % of failures and {:.1} % of results of other jobs; {:.1} % false",
        found.part() * 100.0,
        others.part() * 100.0,
        wrong.part() * 100.0
    );
    assert!(found.part() >= 0.8 && wrong.part() <= 0.03 && others.part() >= 0.5);
}

/// A firing of the schedule `status`.
fn firing() -> Task {
    let mut task = planned("read the board", &json!([{"id": "a", "tool": "board"}]));
    (task.id, task.spec.schedule_id) = (TaskId::fresh(), Some("status".to_owned()));
    task.spec.run_at = clock::now();
    task
}

#[tokio::test]
async fn a_result_unlike_the_earlier_ones_of_its_schedule_is_kept_and_marked() {
    let bed = Bed::new(Vec::new()).await;
    for day in 1..9 {
        bed.board
            .shows(Ok(json!(format!("Day {day}: all five services are green, the slowest answered in {day}40 ms."))));
        let result = bed.run(&firing()).await.0.result.expect("a result");
        assert_eq!(result.get(MARK), None, "day {day}: {result}");
    }
    for in_a_row in 1..4 {
        bed.board.shows(Ok(json!("Access denied. Please log in and try again.")));
        let (outcome, traces) = bed.run(&firing()).await;
        let result = outcome.result.expect("it is kept");
        assert_eq!(result["output"], "Access denied. Please log in and try again.");
        assert_eq!(result[MARK]["in_a_row"], in_a_row);
        let reasons = result[MARK]["reasons"].to_string();
        assert!(reasons.contains("reads like a failure") && reasons.contains("access denied"), "{reasons}");
        assert!(traces.kinds().contains(&"result_suspect".to_owned()));
    }
    let (outcome, _) = bed.run(&firing()).await;
    assert_eq!(outcome.result.expect("a result").get(MARK), None, "after three of them it is the new normal");
    // Another job with the same answer is not compared with them.
    let mut other = firing();
    other.spec.schedule_id = Some("another".to_owned());
    assert_eq!(bed.run(&other).await.0.result.expect("a result").get(MARK), None);
    bed.board.shows(Ok(json!("Day 9: all five services are green, the slowest answered in 940 ms.")));
    let result = bed.run(&firing()).await.0.result.expect("a result");
    assert_eq!(result.get(MARK), None, "it is as before: {result}");
}
