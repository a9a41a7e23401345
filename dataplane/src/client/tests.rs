use super::*;
use crate::body::{empty, full};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

/// Far longer than anything here takes, and far shorter than a kernel waits for a silent peer.
const BOUND: Duration = Duration::from_secs(60);

/// A server that answers `here` by HTTP/2 or 1.1.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(async |_: Request<hyper::body::Incoming>| {
                Ok::<_, Infallible>(Response::new(full("here")))
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                builder.serve_connection(TokioIo::new(stream), answer).await.map_err(drop)
            });
        }
    });
    address
}

/// Such a server for one connection, and when its client closes that.
async fn watched() -> (String, oneshot::Receiver<()>) {
    let (closed, seen) = oneshot::channel();
    let (to, listener) = (server().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let (from_client, mut to_client) = near.split();
        let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
        let mut from_client = tokio::io::BufReader::new(from_client);
        tokio::join!(
            async {
                tokio::io::copy(&mut from_client, &mut to_server).await.ok();
                closed.send(()).ok();
            },
            async { tokio::io::copy(&mut from_server, &mut to_client).await.ok() },
        );
    });
    (url, seen)
}

/// The network in between. A connection that was made before `forgotten` said so passes nothing on any more and is not closed
/// either, as behind a NAT that lost its table; those made later work.
async fn network(to: SocketAddr, forgotten: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let late = *forgotten.borrow();
            let mut forgotten = forgotten.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let lost = async {
                    if late || forgotten.wait_for(|lost| *lost).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = lost => std::future::pending().await,
                }
            });
        }
    });
    address
}

async fn get(client: &Client<Guarded, Body>, url: &str) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let request = Request::get(url).body(empty())?;
    let asked = async { Ok(client.request(request).await?.into_body().collect().await?.to_bytes()) };
    tokio::time::timeout(BOUND, asked).await?
}

#[tokio::test]
async fn a_connection_that_the_network_forgot_is_given_up_and_made_anew() {
    let (forget, forgotten) = watch::channel(false);
    let url = format!("http://{}/", network(server().await, forgotten).await);
    let quick =
        KeepAlive { ping: Duration::from_millis(100), pong: Duration::from_millis(500), ..KEEP_ALIVE };
    let guarded = Guarded::new(BOUND, Reach::Private, &quick);
    let client = pool(&quick).http2_only(true).build::<_, Body>(guarded);
    assert_eq!(get(&client, &url).await.unwrap(), "here");
    forget.send_replace(true);
    let lost = get(&client, &url).await.unwrap_err();
    assert!(!lost.is::<tokio::time::error::Elapsed>(), "the dead connection held a request for {BOUND:?}");
    assert_eq!(get(&client, &url).await.unwrap(), "here");
}

#[tokio::test]
async fn the_kernel_asks_too() {
    let address = server().await;
    let mut guarded = Guarded::new(BOUND, Reach::Private, &KEEP_ALIVE);
    let made = guarded.call(format!("http://{address}/").parse().unwrap()).await.unwrap().into_inner();
    let plain = TcpStream::connect(address).await.unwrap();
    KEEP_ALIVE.set_on(&plain).unwrap();
    for stream in [made, plain] {
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE.tcp_idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE.tcp_interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE.tcp_probes);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(KEEP_ALIVE.tcp_unacknowledged));
    }
}

#[tokio::test]
async fn names_and_addresses_of_this_network_are_refused_to_whom_they_are_not_allowed() {
    let port = server().await.port();
    let strict = http_client(BOUND, Reach::Public).unwrap();
    let trusted = http_client(BOUND, Reach::Private).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        for scheme in ["http", "https"] {
            let ask = || Request::get(format!("{scheme}://{host}:{port}/")).body(empty()).unwrap();
            let error = strict.request(ask()).await.unwrap_err();
            assert!(error.is_connect());
            assert_eq!(caused_by(&error), Some(&NotPublic { host: host.to_owned() }), "{error:?}");
        }
        let ask = Request::get(format!("http://{host}:{port}/")).body(empty()).unwrap();
        assert!(trusted.request(ask).await.unwrap().status().is_success());
    }
}

#[test]
fn of_several_addresses_the_public_ones_are_left() {
    let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let both = parse(&["10.0.0.1:1", "1.1.1.1:1", "[::ffff:169.254.169.254]:1", "[2606:4700::1111]:1"]);
    let public = parse(&["1.1.1.1:1", "[2606:4700::1111]:1"]);
    assert_eq!(within(Reach::Public, "x", both.clone().into_iter()), Ok(public));
    assert_eq!(within(Reach::Private, "x", both.clone().into_iter()), Ok(both));
    let hidden = parse(&["[fd00::1]:1", "100.64.0.1:1"]);
    assert!(within(Reach::Public, "x", hidden.into_iter()).is_err());
    assert_eq!(within(Reach::Public, "x", std::iter::empty()), Ok(Vec::new()));
}

#[tokio::test]
async fn a_refused_connection_is_an_error_and_not_a_panic() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = http_client(Duration::from_secs(5), Reach::Private).unwrap();
    let request = http::Request::get(format!("http://{address}/")).body(empty()).unwrap();
    assert!(client.request(request).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn an_unused_connection_without_tls_is_closed_before_its_server_does() {
    const { assert!(POOL_IDLE_PLAIN.as_secs() < 5 && POOL_IDLE.as_secs() > 5) };
    let client = http_client(BOUND, Reach::Private).unwrap();
    let (url, closed) = watched().await;
    let answer = client.request(Request::get(&url).body(empty()).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "here");
    // By us: this server never closes one.
    tokio::time::timeout(POOL_IDLE - Duration::from_secs(20), closed).await.expect("closed").unwrap();
}

/// A load balancer whose backends are gone accepts, and says nothing.
#[tokio::test]
async fn a_server_that_accepts_and_never_speaks_tls_cannot_be_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let client = http_client(Duration::from_millis(300), Reach::Private).unwrap();
    let asked = client.request(Request::get(&url).body(empty()).unwrap());
    let error = tokio::time::timeout(BOUND, asked).await.expect("it is given up").unwrap_err();
    assert!(error.is_connect(), "nothing has left: {error:?}");
    assert!(
        error.source().is_some_and(|e| e.to_string().contains("no connection within 300ms")),
        "{error:?}"
    );
}
