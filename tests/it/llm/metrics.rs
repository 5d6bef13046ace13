//! What is counted.

use metrics_exporter_prometheus::PrometheusBuilder;
use qron::llm::Price;
use qron::llm::scripted::{Fault, Scenario};

use super::{models, request, server, settings};

#[tokio::test]
async fn tries_tokens_cost_retries_and_circuits_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let exported = recorder.handle();
    // The runtime of this test has one thread, so that everything happens under the recorder.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let scenarios = vec![
        Scenario::on("good").fault(Fault::RateLimited { retry_after_s: None }, 1).text("fine"),
        Scenario::on("").fault(Fault::ServerError, 1),
    ];
    let server = server(scenarios).await;
    let mut settings = settings(&server.base_url());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (2, 1, 60_000);
    settings.prices.insert("main".to_owned(), Price { prompt: 10_000.0, completion: 50_000.0 });
    let models = models(&settings);
    models.complete(&request("act", "good")).await.expect("an answer");
    assert!(models.complete(&request("plan", "bad")).await.is_err());
    let exported = exported.render();
    for line in [
        r#"qron_model_calls_total{model="main",purpose="act",outcome="rate_limited"} 1"#,
        r#"qron_model_calls_total{model="main",purpose="act",outcome="ok"} 1"#,
        r#"qron_model_calls_total{model="main",purpose="plan",outcome="transient"} 2"#,
        r#"qron_model_retries_total{model="main",class="rate_limited"} 1"#,
        r#"qron_model_retries_total{model="main",class="transient"} 1"#,
        r#"qron_model_tokens_total{model="main",kind="prompt"} 100"#,
        r#"qron_model_tokens_total{model="main",kind="completion"} 20"#,
        r#"qron_model_cost_usd_sum{model="main"} 2"#,
        r#"qron_model_circuit_open{model="main"} 1"#,
        r#"qron_model_call_seconds_count{model="main",purpose="act"} 2"#,
    ] {
        assert!(exported.contains(line), "{line} is not in:\n{exported}");
    }
}

#[tokio::test]
async fn the_limit_of_calls_in_flight_is_shown() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let exported = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = server(vec![Scenario::on("").fault(Fault::Hang, 1)]).await;
    let mut settings = settings(&server.base_url());
    settings.timeout_ms = 200;
    let models = models(&settings);
    let (first, second) = (request("act", "first"), request("act", "second"));
    let shown = |name: &str, value: u32| exported.render().contains(&format!("{name}{{model=\"main\"}} {value}"));
    let both = async { drop(tokio::join!(models.complete(&first), models.complete(&second))) };
    let waits = async {
        while !(shown("qron_model_in_flight_limit", 1) && shown("qron_model_calls_waiting", 1)) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::join!(both, tokio::time::timeout(std::time::Duration::from_secs(10), waits)).1.expect("one waits");
    assert!(shown("qron_model_calls_waiting", 0), "{}", exported.render());
}
