//! A lease in PostgreSQL: one gateway at a time does a piece of work. By PostgreSQL's clock; whoever holds it and stops
//! renewing it has lost it soon. It saves work; nothing is wrong when two hold it for a moment.

use crate::records::db::Pool;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// One gateway's part in a lease.
#[derive(Debug)]
pub(super) struct Lease {
    name: &'static str,
    /// Unique to this process: a pod's name may come back.
    holder: String,
    renewed: Option<Instant>,
}

/// How long it lasts, and when its holder renews it.
const SECONDS: i64 = 6;
const RENEW: Duration = Duration::from_secs(2);

impl Lease {
    pub(super) fn new(name: &'static str, node: &str) -> Self {
        Lease { name, holder: format!("{node}/{}", Uuid::new_v4()), renewed: None }
    }

    /// Whether it is this gateway's now.
    pub(super) async fn hold(&mut self, pool: &Pool) -> sqlx::Result<bool> {
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < RENEW) {
            return Ok(true);
        }
        let asked = Instant::now();
        self.renewed = None;
        let mut sql = pool.sql();
        sql.push("INSERT INTO leases (name, holder, until) VALUES (?, ?, now() + interval '").int(SECONDS);
        sql.push(
            " seconds') ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
             WHERE leases.holder = excluded.holder OR leases.until < now()",
        );
        sql.value(self.name).value(&self.holder);
        let held = pool.execute(sql).await? > 0;
        self.renewed = held.then_some(asked);
        Ok(held)
    }
}
