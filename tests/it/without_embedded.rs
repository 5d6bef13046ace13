//! A build that leaves the embedded store out says so where it would be used.

use qron::config::Config;

#[test]
fn the_configuration_asks_for_a_server() {
    let problems = Config::load_with(None, []).expect_err("no server is configured").0;
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in ["store.url", "QRON__STORE__URL", "no embedded store", "feature \"embedded\""] {
        assert!(problems[0].contains(part), "{part:?} is not in {problems:?}");
    }
    let url = ("QRON__STORE__URL".to_owned(), "http://127.0.0.1:6334".to_owned());
    assert_eq!(Config::load_with(None, [url]).expect("valid").store.url, "http://127.0.0.1:6334");
}
