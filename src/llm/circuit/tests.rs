use super::*;

fn circuit(failures: u32, open_ms: u64) -> Circuit {
    Circuit::new("m", failures, open_ms, watch::Sender::new(0))
}

fn enter(circuit: &Circuit) -> Permit<'_> {
    circuit.enter().map_err(|left| format!("{left:?} left")).expect("leave to call")
}

fn failure() -> Failure {
    Failure::unavailable("cannot connect")
}

#[test]
fn only_failures_in_a_row_open_it() {
    let circuit = circuit(2, 60_000);
    for _ in 0..3 {
        enter(&circuit).fail(true, &failure());
        enter(&circuit).succeed();
    }
    enter(&circuit).fail(true, &failure());
    assert_eq!(circuit.access(), Access::Usable);
    enter(&circuit).fail(true, &failure());
    let left = circuit.enter().err().expect("refused");
    assert!(left > Duration::from_secs(50), "{left:?}");
    assert!(matches!(circuit.access(), Access::Away(left) if left > Duration::from_secs(50)));
}

#[test]
fn one_call_at_a_time_tries_a_model_that_was_left_alone() {
    let circuit = circuit(1, 0);
    enter(&circuit).fail(true, &failure());
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(circuit.access(), Access::Probe);
    let probe = enter(&circuit);
    assert!(circuit.enter().is_err(), "a second probe");
    assert_eq!(circuit.access(), Access::Away(PROBE_POLL));
    drop(probe);
    enter(&circuit).succeed();
    assert_eq!(circuit.access(), Access::Usable);
    let (_first, _second) = (enter(&circuit), enter(&circuit));
}

#[test]
fn tries_that_are_followed_by_another_do_not_count_but_those_of_a_probe_do() {
    let circuit = circuit(1, 20);
    for _ in 0..10 {
        enter(&circuit).fail(false, &failure());
    }
    enter(&circuit).fail(true, &failure());
    assert!(circuit.enter().is_err());
    std::thread::sleep(Duration::from_millis(25));
    enter(&circuit).fail(false, &failure());
    assert!(circuit.enter().is_err());
}

#[test]
fn a_server_that_refuses_without_a_time_is_asked_less_and_less_often() {
    let circuit = circuit(5, 60_000);
    let refusal = Failure::new(crate::domain::failure::FailureClass::RateLimited, "slow down");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let permits: Vec<Permit<'_>> = (0..50).map(|_| enter(&circuit)).collect();
        for permit in permits {
            permit.rest(&refusal);
        }
        pauses.push(circuit.rest_left().expect("it rests").as_millis().div_ceil(1_000));
        circuit.watch.health().rests_until = None;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    enter(&circuit).succeed();
    enter(&circuit).rest(&refusal.clone().retry_after(Some(7_000)));
    assert_eq!(circuit.rest_left().expect("it rests").as_millis().div_ceil(1_000), 7, "the server says for how long");
}

#[test]
fn zero_switches_it_off() {
    let circuit = circuit(0, 60_000);
    for _ in 0..100 {
        enter(&circuit).fail(true, &failure());
    }
    enter(&circuit).succeed();
}

#[test]
fn an_outage_names_its_first_failure_until_the_model_answers() {
    let circuit = circuit(1, 60_000);
    assert_eq!(circuit.outage(), None);
    enter(&circuit).fail(false, &failure());
    enter(&circuit).fail(true, &Failure::unavailable("another"));
    let outage = circuit.outage().expect("an outage");
    assert_eq!((outage.model.as_str(), outage.cause, outage.is_recent), ("m", failure(), true));
}

/// A laptop sleeps from Friday to Monday.
#[test]
fn time_in_which_nothing_was_tried_is_no_outage() {
    let (friday, monday) = (Timestamp::from_millis(0), Timestamp::from_millis(3 * 24 * 3_600_000));
    let mut health = Health::default();
    let told = |health: &Health, now| {
        let outage = health.outage("m", now, UNTRIED_MS).expect("an outage");
        (outage.since, outage.is_recent)
    };
    health.fail(&failure(), friday, UNTRIED_MS);
    let later = friday.plus_millis(i64::try_from(UNTRIED_MS).expect("small"));
    health.fail(&failure(), later, UNTRIED_MS);
    assert_eq!(told(&health, later), (friday, true));
    assert_eq!(told(&health, monday), (friday, false), "nothing was tried since");
    health.fail(&failure(), monday, UNTRIED_MS);
    assert_eq!(told(&health, monday), (monday, true));
}

#[test]
fn a_request_that_fails_alone_is_no_outage() {
    let circuit = circuit(9, 60_000);
    let before = Timestamp::from_millis(clock::now().as_millis() - 60_000);
    assert!(!circuit.answers_others_since(before), "it has answered nothing");
    enter(&circuit).succeed();
    assert!(circuit.answers_others_since(before));
    assert!(!circuit.answers_others_since(clock::now().plus_millis(60_000)), "not since then");
    enter(&circuit).suspect(&failure());
    assert!(!circuit.answers_others_since(before), "two in a row may be an outage");
    enter(&circuit).succeed();
    assert!(circuit.answers_others_since(before));
    for _ in 0..20 {
        enter(&circuit).suspect(&failure());
    }
    assert_eq!(circuit.access(), Access::Usable, "which does not count");
}

#[tokio::test(start_paused = true)]
async fn a_model_rests_for_as_long_as_its_server_asks_and_no_longer_than_five_minutes() {
    for (asked, rests) in [(7_000, 7), (u64::MAX, 300)] {
        let circuit = circuit(1, 60_000);
        enter(&circuit).rest(&failure().retry_after(Some(asked)));
        assert_eq!(circuit.enter().err(), Some(Duration::from_secs(rests)));
        assert_eq!(circuit.access(), Access::Away(Duration::from_secs(rests)));
        tokio::time::advance(Duration::from_secs(rests)).await;
        assert_eq!(circuit.access(), Access::Usable);
        enter(&circuit).succeed();
    }
}

#[test]
fn waiting_tasks_are_notified_when_the_model_fails_and_when_it_is_back() {
    let changed = watch::Sender::new(0);
    let circuit = Circuit::new("m", 1, 0, changed.clone());
    let mut news = changed.subscribe();
    enter(&circuit).succeed();
    assert!(!news.has_changed().expect("a sender"), "nothing new");
    enter(&circuit).fail(true, &failure());
    assert!(news.has_changed().expect("a sender"));
    news.mark_unchanged();
    std::thread::sleep(Duration::from_millis(1));
    enter(&circuit).succeed();
    assert!(news.has_changed().expect("a sender"));
}
