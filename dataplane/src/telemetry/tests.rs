use super::{
    Labels, Served,
    events::{Attempted, Event},
    metrics::Instruments,
    outbound,
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use std::sync::Arc;
use tollgate_translate::Usage;

fn instruments(labels: Labels) -> (Instruments, Registry, SdkMeterProvider) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    let reader = exporter.scope_info_enabled(false).without_target_info().build().unwrap();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    (Instruments::new(&provider.meter("test")).labelled(labels), registry, provider)
}

fn served(key: &str, model: &str, status: u16) -> Event {
    Event::Served(Box::new(Served {
        key: Arc::from(key),
        provider: Some("anthropic"),
        model: Some(model.to_owned()),
        status,
        seconds: 3.0,
        first: Some(1.0),
        output: 21,
        stream: true,
        cost: 2_500_000_000,
        overrun: 0,
    }))
}

fn attempted(model: &str) -> Event {
    let usage =
        Usage { input: 5, cache_read: 7, cache_write: 2, cache_write_1h: 1, output: 3, ..Usage::default() };
    Event::Attempt(Box::new(Attempted {
        provider: "openai",
        model: model.to_owned(),
        answered: None,
        error: None,
        seconds: 0.5,
        first: None,
        usage: Some(usage),
    }))
}

#[test]
fn a_request_is_measured_by_the_conventions() {
    let (mut instruments, registry, _provider) = instruments(Labels::default());
    instruments.write(served("default/a", "anthropic/m", 200));
    instruments.write(served("default/b", "anthropic/m", 529));
    instruments.write(attempted("m"));
    let text = tollgate_process::telemetry::text(&registry);
    for line in [
        // A token every tenth of a second after the first.
        r#"gen_ai_server_time_per_output_token_seconds_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="anthropic/m",le="0.1"} 1"#,
        r#"gen_ai_server_request_duration_seconds_count{error_type="529",gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="anthropic/m"} 1"#,
        r#"tollgate_cost_usd_total{gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="anthropic/m"} 5"#,
        r#"gen_ai_client_inference_usage_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"} 15"#,
        r#"gen_ai_client_inference_usage_cache_write_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"} 3"#,
        r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",gen_ai_token_type="output"} 3"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("default/a"), "keys are no labels unless asked for");
    assert!(!text.contains("reasoning"), "what is not there is not counted as zero");
}

#[test]
fn series_are_bounded_whatever_clients_send() {
    let (mut instruments, registry, _provider) = instruments(Labels { keys: 1 });
    for n in 0..1000 {
        instruments.write(attempted(&format!("model-{n}")));
        instruments.write(served(&format!("default/{n}"), "anthropic/m", 200));
    }
    let text = tollgate_process::telemetry::text(&registry);
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    // One of the 300 is the model of the requests.
    assert_eq!(count("gen_ai_client_operation_duration_seconds_count"), 300);
    assert_eq!(count("tollgate_cost_usd_total{"), 2);
    assert!(text.contains(r#"tollgate_key="_OTHER""#) && text.contains(r#"tollgate_key="default/0""#));
}

#[test]
fn an_mcp_servers_failure_has_its_class_and_no_words() {
    let class = |answer: &str| outbound::mcp_failure(answer).map(|class| class.into_owned());
    assert_eq!(class(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#), None);
    let own = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#;
    assert_eq!(class(own), Some("tool_error".to_owned()));
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#;
    assert_eq!(class(error), Some("-32602".to_owned()));
    assert_eq!(class("garbage"), None);
}
