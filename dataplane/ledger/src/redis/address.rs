//! Where Redis is.

use super::StoreError;
use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// An address, as the configuration writes it:
/// - `redis://[user:password@]host[:6379][/db]`, with TLS `rediss://…`
/// - `redis+sentinel://[user:password@]host[:26379],…/master-name[/db]`, with TLS `rediss+sentinel://…`
/// - `redis+cluster://[user:password@]host[:6379],…`, with TLS `rediss+cluster://…`
///
/// User and password may be percent-encoded. For Sentinel they are those of Redis; Sentinels are asked without.
#[derive(Clone)]
pub enum Address {
    /// One server.
    Single(Box<ConnectionInfo>),
    /// The master of a group that Sentinels watch.
    Sentinel {
        /// Where the Sentinels are.
        nodes: Vec<ConnectionInfo>,
        /// The group's name.
        master: String,
        /// The database's number.
        db: i64,
    },
    /// A Redis Cluster: any of its nodes.
    Cluster(Vec<ConnectionInfo>),
}

// === impl Address ===

impl std::fmt::Debug for Address {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Single(info) => write!(f, "{}", info.addr()),
            Address::Sentinel { nodes, master, .. } => write!(f, "{master} by Sentinels {}", names(nodes)),
            Address::Cluster(nodes) => write!(f, "cluster {}", names(nodes)),
        }
    }
}

fn names(nodes: &[ConnectionInfo]) -> String {
    nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(", ")
}

impl Address {
    /// Understands an address. The error never repeats it, since it may hold a password.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = |why: &str| StoreError::Address(why.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            wrong("it must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
        })?;
        let (tls, kind) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", kind) => ("redis", kind),
            ("rediss", kind) => ("rediss", kind),
            _ => return Err(wrong("its scheme is neither redis nor rediss")),
        };
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = if login.is_empty() { "" } else { "@" };
        let node = |host: &str, port: u16| {
            let port = if has_port(host) { String::new() } else { format!(":{port}") };
            format!("{tls}://{login}{at}{host}{port}/")
                .into_connection_info()
                .map_err(|_| wrong("a host, port, user or password in it is malformed"))
        };
        let nodes = |port| hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>();
        let number = |db: &str| match db {
            "" => Ok(0),
            db => db.parse::<i64>().map_err(|_| wrong("its database is not a number")),
        };
        match kind {
            "" => {
                let info = node(hosts, 6379)?;
                let settings = info.redis_settings().clone().set_db(number(path)?);
                Ok(Address::Single(Box::new(info.set_redis_settings(settings))))
            }
            "cluster" if path.is_empty() => Ok(Address::Cluster(nodes(6379)?)),
            "cluster" => Err(wrong("a cluster has no databases")),
            "sentinel" => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("the master's name is missing: redis+sentinel://host,host/NAME"));
                }
                Ok(Address::Sentinel { nodes: nodes(26379)?, master: master.to_owned(), db: number(db)? })
            }
            other => Err(wrong(&format!("{other:?} is not known: it may be +sentinel or +cluster"))),
        }
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        let nodes = match self {
            Address::Single(info) => std::slice::from_ref(&**info),
            Address::Sentinel { nodes, .. } | Address::Cluster(nodes) => nodes,
        };
        nodes.iter().any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }))
    }
}

/// Whether a host (a name, IPv4, or IPv6 in brackets) has a port behind it.
fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, after)| after).contains(':')
}
