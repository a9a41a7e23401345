//! What the `OTEL_*` variables of docs/operations.md say, as whoever receives it sees it.

use crate::{
    support::{Operated, write},
    trace::Collector,
};
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, body::Incoming, header::HeaderValue, server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use std::{convert::Infallible, sync::Arc};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tollgate_e2e::{
    client::eventually,
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    provider::Provider,
};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Takes OTLP by TLS and keeps what each call carried beside its content.
struct Receiver {
    endpoint: String,
    /// Its certificate, PEM.
    authority: String,
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<(String, HeaderMap)>>>;

// === impl Receiver ===

impl Receiver {
    async fn start() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let authority = made.cert.pem();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes())?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await?);
        let endpoint = format!("https://{}", listener.local_addr()?);
        let calls = Calls::default();
        let kept = calls.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, calls) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let take = service_fn(|request| take(request, calls.clone()));
                    let server = http2::Builder::new(TokioExecutor::new());
                    // A client that goes away ends the connection as it likes.
                    drop(server.serve_connection(TokioIo::new(stream), take).await);
                });
            }
        });
        Ok(Receiver { endpoint, authority, calls })
    }

    /// What the first call of a kind carried, once there is one.
    async fn call(&self, path: &str) -> anyhow::Result<HeaderMap> {
        let find = || {
            self.calls.lock().iter().find(|(called, _)| called == path).map(|(_, headers)| headers.clone())
        };
        eventually(path, || async { Ok(find()) }).await
    }
}

/// Answers any call with an empty message.
async fn take(
    request: Request<Incoming>,
    calls: Calls,
) -> Result<Response<impl http_body_util::BodyExt<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    body.collect().await?;
    calls.lock().push((head.uri.path().to_owned(), head.headers));
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

async fn home() -> anyhow::Result<(Provider, Home)> {
    let provider = Provider::start().await?;
    let home = Home::new(&Manifests::routes(&provider.url()).key(KEY, KEY_SPEC))?;
    Ok((provider, home))
}

/// A request of a client whose own trace is sampled.
async fn ask(gateway: &Operated) -> anyhow::Result<()> {
    let headers =
        [("x-api-key", KEY), ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    gateway.http.post(&format!("{}/v1/messages", gateway.url), &headers, &body).await?.expect(200)?;
    Ok(())
}

const SOON: [(&str, &str); 2] = [("OTEL_BSP_SCHEDULE_DELAY", "200"), ("OTEL_METRIC_EXPORT_INTERVAL", "300")];

#[tokio::test]
async fn headers_reach_a_collector_whose_authority_is_told() -> anyhow::Result<()> {
    let (dir, receiver) = (tempfile::tempdir()?, Receiver::start().await?);
    let (_provider, home) = home().await?;
    let authority = write(&dir.path().join("ca.crt"), &receiver.authority)?;
    let mut env = SOON.to_vec();
    env.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint));
    env.push(("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-the-collector,x-tenant=team-a"));
    let with = [&env[..], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.as_str())]].concat();
    let gateway = Operated::start(&home, &[], &with).await?;
    ask(&gateway).await?;
    for path in [TRACES, METRICS] {
        let carried = receiver.call(path).await.with_context(|| gateway.process.log.text())?;
        assert_eq!(carried["authorization"], "Bearer of-the-collector", "{path}");
        assert_eq!(carried["x-tenant"], "team-a", "{path}");
    }
    let log = gateway.process.log.clone();
    gateway.stop().await?;
    assert!(!log.text().contains("of-the-collector"), "a credential is in the log");

    // Nobody that it trusts vouches for the collector: nothing is sent there, and the log says so.
    receiver.calls.lock().clear();
    let gateway = Operated::start(&home, &[], &env).await?;
    ask(&gateway).await?;
    let log = gateway.process.log.clone();
    eventually("it is told of", || async { Ok(log.find("cannot be exported by OTLP")) })
        .await
        .with_context(|| log.text())?;
    gateway.stop().await?;
    assert!(receiver.calls.lock().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_sampler_that_is_off_makes_no_span_and_attributes_say_whose_metrics_they_are() -> anyhow::Result<()>
{
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path()).await?;
    let (provider, home) = home().await?;
    let mut env = SOON.to_vec();
    env.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint));
    env.push(("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=platform"));
    env.push(("OTEL_TRACES_SAMPLER", "always_off"));
    let gateway = Operated::start(&home, &[], &env).await?;
    ask(&gateway).await?;
    eventually("the request is counted", || async {
        Ok(collector.metric_names().iter().any(|name| name == "gen_ai.client.token.usage").then_some(()))
    })
    .await?;
    // What is left is exported at the end.
    gateway.stop().await?;
    assert_eq!(collector.spans().len(), 0, "{:?}", collector.spans());
    for resource in collector.resources() {
        assert_eq!(
            (&resource["deployment.environment.name"], &resource["team"]),
            (&"test".into(), &"platform".into())
        );
        assert_eq!(resource["service.name"], "tollgate-gateway");
    }
    assert!(!collector.resources().is_empty());
    // The trace is still the client's: whoever else is in it goes by its id.
    let seen = provider.requests();
    let told = seen[0].header("traceparent").context("no traceparent")?;
    assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{told}");
    Ok(())
}
