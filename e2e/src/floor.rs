//! The floor of every benchmark: a reverse proxy that does nothing but forward HTTP/1.1, whole bodies and streams alike.
//! Whatever a gateway does, it cannot cost less than this.

use anyhow::Context;
use hyper::{Request, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Forwards everything that comes to `listen` to `upstream`, until the process ends.
pub async fn serve(listen: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true); // without it streams show 40 ms tails (Nagle against delayed ACK)
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let forward = service_fn(move |mut request: Request<Incoming>| {
                let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
                let uri: Result<Uri, _> = format!("http://{upstream}{path}").parse();
                if let Ok(uri) = uri {
                    *request.uri_mut() = uri;
                }
                client.request(request)
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), forward).await;
            drop(served); // a client that breaks off is no failure
        });
    }
}
