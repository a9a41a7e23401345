//! Trees: their generation, and the keys that belong to them.
//!
//! All keys of a tree lie in one slot, so that one script sees them. Where a key lives is written at its home
//! (`PREFIX:{KEY}:home`). A key that moves to another tree is taken out of the old one and put into the new one in two
//! steps, which whoever comes next completes; holds made in the old tree stay there, and what they post for a key that has
//! left waits in the tree's outbox until [`RedisStore::forward`] brings it after the key.

use super::wire::{self, Args, Code, Reply};
use super::{Billing, RedisStore, StoreError};
use ::redis::Value;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// How often a step is tried again because something moved meanwhile.
pub(super) const ATTEMPTS: usize = 5;

/// What came of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// It was carried out.
    Done,
    /// It had been carried out, or noted, before.
    Before,
    /// It may be older than the restore of this tree: from now on it counts as carried out.
    Noted,
}

/// A move under way: `TO<FROM#ID`.
pub(super) struct Move<'a> {
    pub(super) to: &'a str,
    pub(super) from: &'a str,
    id: &'a str,
}

// === impl RedisStore ===

impl RedisStore {
    /// Founds the ledger: from now on its absence means that Redis was emptied. False if it is founded already. Done once,
    /// by whoever knows that there was none before (the operator at the first installation, a test).
    pub async fn found(&self) -> Result<bool, StoreError> {
        let founded = self.found_as(&Uuid::new_v4().simple().to_string()).await?;
        if founded {
            // What gateways wrote into an emptied Redis is no tree of this ledger.
            self.link.send(::redis::cmd("DEL").arg(self.trees_key())).await?;
        }
        Ok(founded)
    }

    /// The ledger's generation: a name that it got when it was founded.
    pub async fn generation(&self) -> Result<Option<String>, StoreError> {
        let mut command = ::redis::cmd("GET");
        let answer = self.link.send(command.arg(format!("{}:generation", self.ledger()))).await?;
        Ok(wire::text(&answer).map(str::to_owned))
    }

    /// Refuses a key (and all below it) from now on, whatever a gateway's configuration says; `None`: no longer. `root` is
    /// the root of its tree.
    pub async fn deny(&self, root: &str, key: &str, reason: Option<&str>) -> Result<(), StoreError> {
        let mut args = Args::default();
        args.push(key).push(reason.map_or("", |reason| if reason.is_empty() { "revoked" } else { reason }));
        self.in_tree(root, &wire::DENY, &args).await?;
        let mut list = ::redis::cmd(if reason.is_some() { "HSET" } else { "HDEL" });
        list.arg(format!("{}:denied", self.ledger())).arg(key);
        if reason.is_some() {
            list.arg(root);
        }
        self.link.send(&list).await.map(drop)
    }

    /// Sets what is committed of a key's budget (`None`: of all) back to nothing; once for each `id`. What is held stays.
    /// The stream tells what was taken back. One that is not `fresh` may have been carried out before the ledger was restored:
    /// in a tree that was, within the last day, it is only noted.
    #[allow(clippy::too_many_arguments, reason = "all of them are one reset")]
    pub async fn reset(
        &self,
        root: &str,
        key: &str,
        budget: Option<&str>,
        id: &str,
        fresh: bool,
        now: i64,
        billing: Billing<'_>,
    ) -> Result<Reset, StoreError> {
        let mut args = Args::default();
        args.push(key)
            .push(budget.unwrap_or("*"))
            .push(id)
            .push(u8::from(fresh))
            .push(self.time(now))
            .push(self.options.stream);
        args.push(billing.request.simple()).bytes(billing.record);
        Ok(match self.in_tree(root, &wire::RESET, &args).await?.word() {
            "ok" => Reset::Done,
            "noted" => Reset::Noted,
            _ => Reset::Before,
        })
    }

    /// The keys that are refused in the ledger, with the roots of their trees.
    pub async fn denied(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut command = ::redis::cmd("HGETALL");
        let answer = self.link.send(command.arg(format!("{}:denied", self.ledger()))).await?;
        let pairs = wire::pairs(&answer).into_iter();
        Ok(pairs.map(|(key, root)| (key.to_owned(), String::from_utf8_lossy(root).into_owned())).collect())
    }

    /// Whether the ledger was ever founded, and is still there.
    pub async fn is_founded(&self) -> Result<bool, StoreError> {
        let mut command = ::redis::cmd("EXISTS");
        let founded = self.link.send(command.arg(format!("{}:generation", self.ledger()))).await?;
        Ok(wire::number(&founded) == Some(1))
    }

    /// All trees that the ledger has.
    pub async fn trees(&self) -> Result<Vec<String>, StoreError> {
        let mut command = ::redis::cmd("HKEYS");
        let answer = self.link.send(command.arg(self.trees_key())).await?;
        Ok(wire::list(&answer).iter().filter_map(wire::text).map(str::to_owned).collect())
    }

    /// [`RedisStore::trees`], and whether each is `live`.
    pub(super) async fn listed(&self) -> Result<HashMap<Arc<str>, bool>, StoreError> {
        let mut command = ::redis::cmd("HGETALL");
        let answer = self.link.send(command.arg(self.trees_key())).await?;
        let pairs = wire::pairs(&answer).into_iter();
        Ok(pairs.map(|(root, state)| (Arc::from(root), state == b"live")).collect())
    }

    /// Runs a script in a tree, whose keys are fetched from other trees if they were there before.
    pub(super) async fn in_tree(
        &self,
        root: &str,
        script: &'static Code,
        args: &Args,
    ) -> Result<Reply, StoreError> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let reply = self.opened(root, script, args).await?;
            if reply.word() != "strangers" {
                return Ok(reply);
            }
            for key in reply.words(1) {
                self.adopt(root, key).await?;
                key.clone_into(&mut last);
            }
        }
        Err(StoreError::Moving(last))
    }

    /// Runs a script in a tree, which is opened if it is new.
    pub(super) async fn opened(
        &self,
        root: &str,
        script: &'static Code,
        args: &Args,
    ) -> Result<Reply, StoreError> {
        let base = self.base(root);
        let reply = self.run(script, &base, args).await?;
        if reply.word() != "emptied" {
            return Ok(reply);
        }
        self.open(root, &base).await?;
        let reply = self.run(script, &base, args).await?;
        if reply.word() == "emptied" { Err(StoreError::Emptied) } else { Ok(reply) }
    }

    /// Opens a tree that has never been used; one that has been, and is not there, was lost.
    async fn open(&self, root: &str, base: &str) -> Result<(), StoreError> {
        let mut args = Args::default();
        let reply = self.run(&wire::OPEN, &self.ledger(), args.push(root)).await?;
        if reply.word() != "new" {
            return Err(StoreError::Emptied);
        }
        let mut set = ::redis::cmd("SET");
        self.link.send(set.arg(format!("{base}:g")).arg(reply.text(1)).arg("NX")).await?;
        let mut live = ::redis::cmd("HSET");
        self.link.send(live.arg(self.trees_key()).arg(root).arg("live")).await?;
        Ok(())
    }

    /// Makes `key` a member of the tree of `root`.
    async fn adopt(&self, root: &str, key: &str) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.where_is(key).await?;
            match found.as_deref() {
                None => {
                    self.set_home(key, "", root).await?;
                }
                Some(home) if home == root => {
                    let mut args = Args::default();
                    return self.opened(root, &wire::JOIN, args.push(key).push("")).await.map(drop);
                }
                Some(home) if Move::parse(home).is_some() => self.finish(key, home).await?,
                Some(home) => {
                    let moving = format!("{root}<{home}#{}", Uuid::new_v4().simple());
                    if self.set_home(key, home, &moving).await? {
                        return self.finish(key, &moving).await;
                    }
                }
            }
        }
        Err(StoreError::Moving(key.to_owned()))
    }

    /// Completes a move: by whoever finds it, and as often as it is found.
    async fn finish(&self, key: &str, home: &str) -> Result<(), StoreError> {
        let Some(Move { to, from, id }) = Move::parse(home) else { return Ok(()) };
        let mut leave = Args::default();
        let left = self.opened(from, &wire::LEAVE, leave.push(key).push(id)).await?;
        let mut join = Args::default();
        join.push(key).push(id);
        for item in wire::list(left.item(1)) {
            join.push(wire::text(item).unwrap_or_default());
        }
        self.opened(to, &wire::JOIN, &join).await?;
        self.set_home(key, home, to).await.map(drop)
    }

    /// The root of the tree in which a key lives, if it ever was charged.
    pub(super) async fn home(&self, key: &str) -> Result<Option<String>, StoreError> {
        for _ in 0..ATTEMPTS {
            match self.where_is(key).await? {
                Some(home) if Move::parse(&home).is_some() => self.finish(key, &home).await?,
                home => return Ok(home),
            }
        }
        Err(StoreError::Moving(key.to_owned()))
    }

    pub(super) async fn where_is(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut command = ::redis::cmd("GET");
        let answer = self.link.send(command.arg(self.home_key(key))).await?;
        Ok(wire::text(&answer).map(str::to_owned))
    }

    pub(super) async fn set_home(&self, key: &str, before: &str, after: &str) -> Result<bool, StoreError> {
        let mut args = Args::default();
        let reply = self.run(&wire::HOME, &self.home_key(key), args.push(before).push(after)).await?;
        Ok(reply.word() == "ok")
    }

    /// Brings what waits in a tree's outbox to the trees where its keys live now.
    pub(super) async fn forward(&self, root: &str, now: &str) -> Result<(), StoreError> {
        let outbox = format!("{}:o", self.base(root));
        let mut command = ::redis::cmd("HGETALL");
        let waiting = self.link.send(command.arg(&outbox)).await?;
        for (name, change) in wire::pairs(&waiting) {
            let Some(key) = name.splitn(3, '|').nth(2) else { continue };
            let home = match self.home(key).await? {
                Some(home) => home,
                None => {
                    self.adopt(root, key).await?;
                    root.to_owned()
                }
            };
            let mut args = Args::default();
            args.push(name).push(key).push(now).bytes(change);
            if self.opened(&home, &wire::DELIVER, &args).await?.word() == "ok" {
                let mut done = ::redis::cmd("HDEL");
                self.link.send(done.arg(&outbox).arg(name)).await?;
            }
        }
        Ok(())
    }

    /// Runs a script by its hash, and by its text where the server does not know it.
    pub(super) async fn run(
        &self,
        script: &'static Code,
        key: &str,
        args: &Args,
    ) -> Result<Reply, StoreError> {
        let limit = if script.late { self.options.late } else { self.options.timeout };
        let answer = match self.link.send_within(&args.command(script, false, key), limit).await {
            Err(StoreError::Server(error)) if error.code() == Some("NOSCRIPT") => {
                self.link.send_within(&args.command(script, true, key), limit).await
            }
            answer => answer,
        };
        Reply::new(answer?).ok_or(StoreError::Reply("a script"))
    }

    /// The name of all keys of a tree, whose slot is the root's.
    pub(super) fn base(&self, root: &str) -> String {
        format!("{}:{{{root}}}", self.options.prefix)
    }

    pub(super) fn ledger(&self) -> String {
        format!("{}:{{ledger}}", self.options.prefix)
    }

    /// The list of trees, each `live` or, while it is opened, `new`.
    pub(super) fn trees_key(&self) -> String {
        format!("{}:trees", self.ledger())
    }

    fn home_key(&self, key: &str) -> String {
        format!("{}:{{{key}}}:home", self.options.prefix)
    }

    /// All of a key's hash; `None` if it was never charged.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let Some(home) = self.home(key).await? else {
            return if self.is_founded().await? { Ok(None) } else { Err(StoreError::Emptied) };
        };
        let base = self.base(&home);
        let mut command = ::redis::cmd("EXISTS");
        let open = self.link.send(command.arg(format!("{base}:g"))).await?;
        if wire::number(&open) != Some(1) {
            return Err(StoreError::Emptied);
        }
        let mut command = ::redis::cmd("HGETALL");
        self.link.send(command.arg(format!("{base}:k:{key}"))).await.map(Some)
    }
}

// === impl Move ===

impl<'a> Move<'a> {
    pub(super) fn parse(home: &'a str) -> Option<Self> {
        let (to, rest) = home.split_once('<')?;
        let (from, id) = rest.rsplit_once('#')?;
        Some(Move { to, from, id })
    }
}
