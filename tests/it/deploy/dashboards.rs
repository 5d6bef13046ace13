//! The dashboards of Grafana.

use std::collections::HashSet;
use std::fs;

use qron::telemetry::metrics::{ALL, Kind};
use serde_json::Value;

use super::{files_in, names_in, problems_of, series};

fn dashboards() -> Vec<Value> {
    files_in("grafana/dashboards", ".json")
        .iter()
        .map(|file| serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("JSON"))
        .collect()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

fn queries(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().expect("targets");
    targets.iter().map(|target| target["expr"].as_str().expect("a query")).collect()
}

#[test]
fn every_query_names_exported_metrics_and_their_labels() {
    for dashboard in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(panel) {
                assert!(!names_in(query).is_empty(), "{}: {query} asks for nothing", panel["title"]);
                assert_eq!(problems_of(query), [""; 0], "{}: {query}", panel["title"]);
                let deprecated = names_in(query).into_iter().filter(|(name, _)| series()[*name].is_deprecated());
                assert_eq!(deprecated.count(), 0, "{}: {query} asks for a deprecated metric", panel["title"]);
            }
        }
        for variable in dashboard["templating"]["list"].as_array().expect("variables") {
            if let Some(query) = variable["query"]["query"].as_str() {
                assert_eq!(problems_of(query), [""; 0], "{}: {query}", variable["name"]);
            }
        }
    }
}

#[test]
fn everything_measured_is_shown() {
    let dashboards = dashboards();
    let queries: Vec<&str> = dashboards.iter().flat_map(panels).flat_map(queries).collect();
    let shown: HashSet<&str> = queries.iter().flat_map(|query| names_in(query)).map(|(name, _)| name).collect();
    for metric in ALL.iter().filter(|metric| !metric.is_deprecated()) {
        let mut names = ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)).into_iter();
        assert!(names.any(|name| shown.contains(name.as_str())), "no dashboard shows {}", metric.name);
    }
}

#[test]
fn every_panel_tells_what_it_shows_and_in_which_unit() {
    for dashboard in dashboards() {
        let (mut ids, mut titles) = (HashSet::new(), HashSet::new());
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "a panel has no title");
            assert!(ids.insert(panel["id"].to_string()), "{title}: its id is taken");
            titles.insert(title);
            assert!(panel["description"].as_str().unwrap_or_default().ends_with('.'), "{title} has no description");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
            assert!(!unit.is_empty(), "{title} has no unit");
            assert!(!queries(panel).is_empty(), "{title} shows nothing");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title} is tied to one data source");
        }
        assert!(titles.len() > 10, "the dashboard has lost its panels: {titles:?}");
    }
}

#[test]
fn every_query_can_be_narrowed_to_a_job_and_an_instance() {
    for dashboard in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(panel) {
                for (name, end) in names_in(query) {
                    let narrowed = query[end..].starts_with("{job=~\"$job\", instance=~\"$instance\"");
                    assert!(narrowed, "{}: {name} is not narrowed in {query}", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn counters_are_shown_as_rates_over_an_interval_that_fits_the_scrape() {
    let series = series();
    for dashboard in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(panel) {
                let title = &panel["title"];
                for (name, end) in names_in(query) {
                    let counted = series.get(name).is_some_and(|metric| metric.kind != Kind::Gauge);
                    let before = &query[..end - name.len()];
                    let after = query[end..].split_once('}').map_or("", |(_, after)| after);
                    let rate = before.ends_with("rate(") && after.starts_with("[$__rate_interval]");
                    let increase = before.ends_with("increase(") && after.starts_with("[$__range]");
                    assert_eq!(counted, rate || increase, "{title}: {name} in {query}");
                }
            }
        }
    }
}

#[test]
fn dashboards_are_provisioned_and_not_edited() {
    for dashboard in dashboards() {
        assert_eq!(dashboard["editable"], false);
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let named = |name: &str| variables.iter().find(|variable| variable["name"] == name).expect("the variable");
        assert_eq!(named("datasource")["type"], "datasource");
        assert_eq!(named("datasource")["label"], "Data source");
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = named(name);
            assert_eq!(variable["label"], label);
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!(variable["multi"], true);
            assert_eq!(variable["allValue"], ".+");
            assert_eq!(variable["refresh"], 2, "{name} follows the time shown");
        }
    }
}

#[test]
fn panels_do_not_cover_each_other() {
    for dashboard in dashboards() {
        let mut taken = HashSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let side = |key: &str| panel["gridPos"][key].as_u64().expect("a position");
            let (left, top) = (side("x"), side("y"));
            assert!(left + side("w") <= 24, "{} is too wide", panel["title"]);
            for cell in (left..left + side("w")).flat_map(|x| (top..top + side("h")).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{} covers another panel at {cell:?}", panel["title"]);
            }
        }
    }
}
