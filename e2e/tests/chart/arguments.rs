//! The programs know every argument that the chart gives them.

use crate::support::helm;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tollgate_e2e::{cluster::Cluster, gateway, helm::run};

/// Everything that can be set, set.
const EVERYTHING: &str = "gateway.maxConfigAgeSeconds=86400,gateway.metricsKeys=9,redis.prefix=blue,gateway.allowedHosts={a.example.com},gateway.allowedOrigins={https://a.example.com},\
                          operator.allowPrivateEndpoints=true,operator.allowedStdioImages={a/*},operator.sidecarGateways=true,gateway.logsAdmins={a/b},watchNamespaces={default},\
                          platformNamespaces={default}";

/// The filter of the log, which no flag has.
const LOG: &str = "TOLLGATE_LOG";

/// The arguments of each program, as the chart's containers have them.
async fn arguments(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let stores = "redis.bundled.enabled=false,redis.external.url=rediss://r:6379,redis.external.existingSecret=r,redis.external.caKey=ca.crt,postgres.bundled.enabled=false,postgres.external.url=postgres://p/t,postgres.external.existingSecret=p,postgres.external.caKey=ca.crt";
    for more in [&["--set", EVERYTHING][..], &["--set", stores]] {
        let rendered =
            helm(cluster, "template tollgate charts/tollgate -n tollgate-system", more).await.unwrap();
        for document in serde_yaml::Deserializer::from_str(&rendered) {
            let Ok(object) = Value::deserialize(document) else { continue };
            let pod = object.pointer("/spec/template/spec").or_else(|| object.pointer("/spec"));
            for container in pod.and_then(|p| p["containers"].as_array()).into_iter().flatten() {
                let image = container["image"].as_str().unwrap();
                let Some(image) = image.strip_prefix("ghcr.io/tollgate/") else { continue };
                let program = format!("tollgate-{}", image.split(':').next().unwrap());
                let words = container["args"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|word| word.as_str().unwrap().to_owned());
                // Variables of ours too: the help names each beside its flag.
                let variables = container["env"].as_array().into_iter().flatten();
                let variables = variables.filter_map(|variable| variable["name"].as_str());
                let variables = variables.filter(|name| name.starts_with("TOLLGATE_") && *name != LOG);
                let words: Vec<_> = words.chain(variables.map(str::to_owned)).collect();
                let subcommand = words.first().filter(|word| !word.starts_with('-')).map_or("", |word| word);
                found
                    .entry(format!("{program} {subcommand}").trim().to_owned())
                    .or_default()
                    .extend(words.clone());
            }
        }
    }
    found
}

#[tokio::test]
async fn the_programs_know_every_argument_of_the_chart() {
    let cluster = Cluster::shared().await.unwrap();
    let found = arguments(cluster).await;
    let programs: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(programs, ["tollgate-dataplane", "tollgate-dataplane check", "tollgate-operator run"]);
    for (program, arguments) in &found {
        let mut words = program.split_whitespace();
        let path = gateway::beside(words.next().unwrap()).unwrap();
        let help = run(path, words.chain(["--help"])).await.unwrap();
        let ours = |argument: &&String| argument.starts_with("--") || argument.starts_with("TOLLGATE_");
        for argument in arguments.iter().filter(ours) {
            let flag = argument.split('=').next().unwrap();
            let known = help
                .split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',' | '='))
                .any(|word| word == flag);
            assert!(known, "{program} does not know {flag}:\n{help}");
        }
    }
}
