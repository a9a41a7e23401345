//! A rolling change: two gateways behind a balancer are replaced one after the other under load, and no request fails.

use crate::support::Operated;
use anyhow::Context;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tollgate_e2e::{
    client::{Http, eventually},
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    provider::{Provider, Reply, Rule},
};

/// A balancer of connections, as a Service is one: it looks at readiness now and then, and knows nothing of HTTP.
#[derive(Clone)]
struct Balancer(Arc<Shared>);

struct Shared {
    /// Data and admin URL of each, and whether it was ready when last looked at.
    backends: Mutex<Vec<(SocketAddr, String, bool)>>,
    next: AtomicUsize,
    /// Connections that no backend took.
    lost: AtomicUsize,
}

/// How often readiness is looked at: slow enough that a gateway that stops accepting at once would be caught.
const LOOK: Duration = Duration::from_millis(200);
const CLIENTS: usize = 6;

impl Balancer {
    async fn start() -> anyhow::Result<(Self, String)> {
        let balancer = Balancer(Arc::new(Shared {
            backends: Mutex::default(),
            next: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (accepting, looking) = (balancer.clone(), balancer.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().connection(client));
            }
        });
        tokio::spawn(async move {
            loop {
                looking.look().await;
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok((balancer, url))
    }

    fn add(&self, gateway: &Operated) -> anyhow::Result<()> {
        let address = gateway.url.trim_start_matches("http://").parse().context("no address")?;
        self.0.backends.lock().push((address, gateway.admin.clone(), true));
        Ok(())
    }

    async fn look(&self) {
        let backends = self.0.backends.lock().clone();
        for (address, admin, _) in backends {
            let answer = Http::new().get(&format!("{admin}/readyz")).await;
            let ready = answer.is_ok_and(|answer| answer.status == 200);
            if let Some(known) = self.0.backends.lock().iter_mut().find(|(a, ..)| *a == address) {
                known.2 = ready;
            }
        }
    }

    async fn connection(self, mut client: TcpStream) {
        let ready: Vec<_> = self.0.backends.lock().iter().filter(|b| b.2).map(|b| b.0).collect();
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        let Some(address) = ready.get(turn % ready.len().max(1)) else {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match TcpStream::connect(address).await {
            Ok(mut backend) => _ = copy_bidirectional(&mut client, &mut backend).await,
            Err(_) => _ = self.0.lost.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// Requests without end, every third one a stream, on connections that are kept. The first failure ends it.
async fn client(url: String, done: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let http = Http::new();
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let url = format!("{url}/v1/messages");
    for number in 0_u64.. {
        if done.load(Ordering::Relaxed) {
            return Ok(());
        }
        let stream = number.is_multiple_of(3);
        let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 50, "stream": stream,
            "messages": [{"role": "user", "content": "hello"}]});
        if stream {
            let mut streaming = http.stream(&url, &headers, &body).await?;
            let (events, clean) = streaming.rest().await;
            let whole = clean && events.iter().any(|e| e.name == "message_stop");
            anyhow::ensure!(streaming.status == 200 && whole, "request {number}: {events:?}");
        } else {
            http.post(&url, &headers, &body).await?.expect(200)?;
        }
        served.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test]
async fn no_request_fails_while_both_gateways_are_replaced() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    provider.script(Rule::always(Reply {
        deltas: Some(4),
        every_ms: 20,
        ..Reply::text("one two three four")
    }));
    let manifests = Manifests::routes(&provider.url()).key(KEY, KEY_SPEC);
    let homes = (0..4).map(|_| Home::new(&manifests)).collect::<anyhow::Result<Vec<_>>>()?;
    let arguments = ["--min-drain", "2", "--drain", "30"];
    let (balancer, url) = Balancer::start().await?;
    let mut old = Vec::new();
    for home in &homes[..2] {
        let gateway = Operated::start(home, &arguments, &[]).await?;
        balancer.add(&gateway)?;
        old.push(gateway);
    }

    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(client(url.clone(), done.clone(), served.clone()))).collect();
    let more = |than: usize| {
        let served = served.clone();
        async move {
            let enough = || async { Ok((served.load(Ordering::Relaxed) > than + 20).then_some(())) };
            eventually("requests are served", enough).await
        }
    };
    more(0).await?;
    let mut new = Vec::new();
    for (gateway, home) in old.into_iter().zip(&homes[2..]) {
        // As a rolling update does it: one more, then one less.
        let next = Operated::start(home, &arguments, &[]).await?;
        balancer.add(&next)?;
        new.push(next);
        gateway.stop().await?;
        more(served.load(Ordering::Relaxed)).await?;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    assert_eq!(balancer.0.lost.load(Ordering::Relaxed), 0);
    assert!(served.load(Ordering::Relaxed) > 60);
    Ok(())
}
