use serde_json::{Value, json};

use super::*;

fn moment(date: &str, hour: &str) -> Moment {
    Moment { date: date.to_owned(), hour: hour.to_owned(), minute: "00".to_owned() }
}

/// A run at 9 o'clock of `date` with the plan of `steps`.
fn run(date: &str, goal: &str, steps: &Value) -> PlannedRun {
    let variables = [("fire_time", format!("{date}T09:00:00+01:00")), ("schedule", "s".to_owned())];
    PlannedRun {
        plan: serde_json::from_value(json!({ "steps": steps })).expect("a plan"),
        goal: goal.to_owned(),
        variables: variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        moment: moment(date, "09"),
        basis: "b".to_owned(),
    }
}

fn given(date: &str, goal: &str) -> GivenRun {
    let PlannedRun { goal, variables, moment, basis, plan: _ } = run(date, goal, &json!([]));
    GivenRun { goal, variables, moment, basis }
}

fn fetch(id: &str, url: &str) -> Value {
    json!({"id": id, "tool": "http_request", "arguments": {"url": url}})
}

fn url_of(plan: Option<Plan>) -> Option<String> {
    plan.map(|plan| plan.steps[0].arguments["url"].as_str().expect("an address").to_owned())
}

#[test]
fn a_date_that_followed_the_clock_follows_it_again() {
    let made = |date: &str| run(date, &format!("Report of {date}"), &json!([fetch("a", &format!("http://x/{date}"))]));
    let runs = [made("2026-11-27"), made("2026-11-26")];
    let plan = instance(&runs, &given("2026-11-28", "Report of 2026-11-28"));
    assert_eq!(url_of(plan).as_deref(), Some("http://x/2026-11-28"));
    let before = |date: &str, day: &str| run(date, "Report", &json!([fetch("a", &format!("http://x/{day}"))]));
    let runs = [before("2026-11-27", "2026-11-26"), before("2026-11-26", "2026-11-25")];
    assert_eq!(url_of(instance(&runs, &given("2026-12-01", "Report"))).as_deref(), Some("http://x/2026-11-30"));
}

#[test]
fn a_date_in_a_reference_or_in_the_name_of_a_field_is_not_carried_to_another_day() {
    let reads =
        |path: &str| json!({"id": "b", "tool": "calculate", "arguments": {"expression": format!("${{a.{path}}}")}});
    let named = json!({"id": "b", "tool": "set_state", "arguments": {"value": {"2026-11-27": "${a.0.rate}"}}});
    let rates = "https://x/rates";
    for (second, is_carried) in [
        (reads("body.rates.2026-11-27.EUR"), false),
        (reads("body.2026.rate"), false),
        (reads("body.friday"), false),
        (named, false),
        (reads("body.rates.0.EUR"), true),
    ] {
        let made = |hour: &str| {
            let made = run("2026-11-27", "Report", &json!([fetch("a", rates), second]));
            let mut variables = made.variables;
            variables.insert("fire_time".to_owned(), format!("2026-11-27T{hour}:00:00+01:00"));
            PlannedRun { variables, moment: moment("2026-11-27", hour), ..made }
        };
        let runs = [made("08"), made("07")];
        assert!(instance(&runs, &given("2026-11-27", "Report")).is_some(), "{second}");
        assert_eq!(instance(&runs, &given("2026-11-28", "Report")).is_some(), is_carried, "{second}");
    }
}

#[test]
fn a_date_that_stood_still_is_not_carried_to_another_day() {
    let made = |date: &str, day: &str| run(date, "Report", &json!([fetch("a", &format!("http://x/{day}"))]));
    let same_day = [made("2026-11-27", "2026-11-27"), made("2026-11-27", "2026-11-27")];
    assert_eq!(instance(&same_day, &given("2026-11-28", "Report")), None, "both were made on one day");
    assert!(instance(&same_day, &given("2026-11-27", "Report")).is_some());
    // The first of the month before: it does not vary from day to day.
    let month = [made("2026-11-27", "2026-10-01"), made("2026-11-26", "2026-10-01")];
    assert!(instance(&month, &given("2026-11-28", "Report")).is_some());
    assert_eq!(instance(&month, &given("2026-12-01", "Report")), None);
    // What the goal itself says is not of the clock.
    let named = |date: &str| run(date, "Since 2026-10-01", &json!([fetch("a", "http://x/2026-10-01")]));
    let runs = [named("2026-11-27"), named("2026-11-26")];
    assert!(instance(&runs, &given("2027-03-02", "Since 2026-10-01")).is_some());
}

#[test]
fn a_literal_that_varied_without_a_reason_makes_no_plan() {
    let made = |date: &str, url: &str| run(date, "Report", &json!([fetch("a", url)]));
    for (one, other) in
        [("http://x/a", "http://x/b"), ("http://x/2026-11-20", "http://x/2026-11-19"), ("http://x", "http://x/")]
    {
        let runs = [made("2026-11-27", one), made("2026-11-26", other)];
        assert_eq!(instance(&runs, &given("2026-11-28", "Report")), None, "{one} {other}");
        assert!(!PlannedRun::are_alike(&runs[0], &runs[1]));
    }
    let runs = [made("2026-11-27", "http://x")];
    assert_eq!(instance(&runs, &given("2026-11-28", "Report")), None, "one run is no evidence");
}

#[test]
fn names_of_steps_and_words_of_instructions_may_vary_but_not_what_they_refer_to() {
    let made = |id: &str, instruction: &str| {
        run(
            "2026-11-27",
            "Report",
            &json!([fetch(id, "http://x"), {"id": "z", "instruction": instruction, "tools": []}]),
        )
    };
    let base = made("a", "Sum up ${a.body} in 3 lines");
    for (other, is_alike) in [
        (made("page", "Say in 3 lines what ${page.body} says"), true),
        (made("page", "Say in 4 lines what ${page.body} says"), false),
        (made("page", "Say in 3 lines what ${page} says"), false),
        (made("page", "Say in 3 lines what ${page.body} says on Monday"), false),
    ] {
        assert_eq!(PlannedRun::are_alike(&base, &other), is_alike, "{other:?}");
    }
}

#[test]
fn what_was_given_must_be_known_or_have_varied() {
    let with = |city: &str, date: &str, url: &str| {
        let mut run = run(date, "Report", &json!([fetch("a", url)]));
        run.variables.insert("city".to_owned(), city.to_owned());
        run
    };
    let for_city = |city: &str| {
        let mut given = given("2026-11-28", "Report");
        given.variables.insert("city".to_owned(), city.to_owned());
        given
    };
    let fixed = [with("Rome", "2026-11-27", "http://x/r"), with("Rome", "2026-11-26", "http://x/r")];
    assert!(instance(&fixed, &for_city("Rome")).is_some());
    assert_eq!(instance(&fixed, &for_city("Oslo")), None, "r may stand for Rome");
    assert_eq!(instance(&fixed, &given("2026-11-28", "Report")), None, "no city");
    let varied = [with("Rome", "2026-11-27", "http://x/Rome"), with("Oslo", "2026-11-26", "http://x/Oslo")];
    assert_eq!(url_of(instance(&varied, &for_city("Bonn"))).as_deref(), Some("http://x/Bonn"));
    let other = GivenRun { basis: "another model".to_owned(), ..for_city("Rome") };
    assert_eq!(instance(&fixed, &other), None);
    assert_eq!(instance(&fixed, &GivenRun { goal: "Report now".to_owned(), ..for_city("Rome") }), None);
    let mut late = for_city("Rome");
    late.variables.insert("fire_cause".to_owned(), "backfill".to_owned());
    assert_eq!(instance(&fixed, &late), None);
}

#[test]
fn a_planned_run_comes_back_as_it_was_stored() {
    let steps = json!([{"id": "a", "tool": "t", "arguments": {"deep": [[[[{"x": 1.5}]]]], "text": "${b}"}}]);
    let run = run("2026-11-27", "Report", &steps);
    let stored = serde_json::to_value(&run).expect("JSON");
    assert!(stored["plan"].is_string());
    assert_eq!(serde_json::from_value::<PlannedRun>(stored).expect("a run"), run);
}
