//! The endpoint against real servers on loopback.

mod calls;
mod fake;
mod lists;
mod protocol;
mod world;

/// A port that nobody listens on: below those that the system gives to servers of other tests.
const DEAD: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
