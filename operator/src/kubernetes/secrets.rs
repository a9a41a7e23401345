//! Which entries of which Secrets are needed, and what is known of them. Nothing else of a Secret is kept.
//!
//! ```text
//! Unread --found, absent--> Found, Absent      a failure, or a refusal that is young, changes nothing: it is asked again
//!    |-----refused for long--> Refused <--refused for long-- Found, Absent
//!    `-----failed for long---> nobody waits for it
//! ```

use super::{ObjectName, object};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_crds::compile::{Body, Object, SecretData, references};
use tollgate_proto::Kind;

/// The Secrets that some object names.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    entries: BTreeMap<ObjectName, Entry>,
}

/// What came of reading a Secret.
#[derive(Debug)]
pub enum Read {
    /// It is there; only the entries that are needed are kept.
    Found(BTreeMap<String, ByteString>),
    /// It is not.
    Absent,
    /// The API server refuses to tell, in words.
    Refused(String),
    /// The API server could not be asked; it will be again.
    Failed(String),
}

/// One Secret.
#[derive(Debug, Default)]
struct Entry {
    /// The entries that some object names.
    wanted: BTreeSet<String>,
    known: Known,
    asking: Asking,
    /// It could not be read for long, and nobody waits for it.
    is_given_up: bool,
    /// Why the API server did not tell, last; `None`: it did.
    trouble: Option<Trouble>,
}

/// What the API server said last.
#[derive(Debug, Default)]
enum Known {
    /// Nothing yet.
    #[default]
    Unread,
    Absent,
    /// It is there. Only of the entries in `looked` is it known what they hold, or that they are not there.
    Found {
        data: Arc<SecretData>,
        looked: BTreeSet<String>,
    },
    /// It refuses to tell, and has done so for long.
    Refused(String),
}

/// Whether it is to be asked.
#[derive(Debug, Default)]
enum Asking {
    /// What is known holds until somebody says otherwise.
    Rest,
    /// Now.
    #[default]
    Due,
    /// It is under way; `again`: there was a change since it began, so what it brings may be old.
    Running { again: bool },
    /// The last attempt told nothing.
    Later(Instant),
}

#[derive(Debug)]
struct Trouble {
    words: String,
    /// Since when the API server tells nothing.
    since: Instant,
    /// Since when every answer was a refusal.
    refused: Option<Instant>,
}

/// The wait after a failure, and between refusals of what is not known at all.
const AGAIN: Duration = Duration::from_secs(1);
/// The wait between refusals of what is known.
const SOON: Duration = Duration::from_secs(5);
/// The wait once a refusal counts: the operator's rights may be widened.
const REFUSED: Duration = Duration::from_secs(60);
/// How long a refusal must last until it takes away what is known: an API server whose authorizer has just started refuses
/// everything, and one that does not know the operator's token yet as well.
const PATIENCE: Duration = Duration::from_secs(180);
/// The same, where nothing is known: for so long an operator that starts waits for it, because what it publishes without could take
/// away what another replica's gateways have.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

// === impl Secrets ===

impl Secrets {
    /// Brings the table in line with what `objects` name; true when something that was known is no longer wanted.
    pub(super) fn want<'a>(&mut self, objects: impl Iterator<Item = &'a Object>) -> bool {
        let mut wanted: BTreeMap<ObjectName, BTreeSet<String>> = BTreeMap::new();
        for object in objects {
            for secret in references::secrets(&object.body) {
                let name = (object.namespace.clone(), secret.name.clone());
                wanted.entry(name).or_default().insert(secret.key);
            }
        }
        let before = self.entries.len();
        self.entries.retain(|name, _| wanted.contains_key(name));
        let dropped = self.entries.len() != before;
        for (name, keys) in wanted {
            self.entries.entry(name).or_default().want(keys);
        }
        dropped
    }

    /// Whether everything that `object` names was looked for.
    pub(super) fn know_all_of(&self, object: &Object) -> bool {
        references::secrets(&object.body).into_iter().all(|secret| {
            let entry = self.entries.get(&(object.namespace.clone(), secret.name));
            entry.is_some_and(|entry| entry.knows(&secret.key))
        })
    }

    /// What must be read now; each is told once, until [`Self::read`].
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ObjectName> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.asking.is_due(now));
        due.map(|(name, entry)| {
            entry.asking = Asking::Running { again: false };
            name.clone()
        })
        .collect()
    }

    /// When [`Self::take_due`] has more to tell, though nothing changes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.asking.later()).min()
    }

    /// Takes what came of reading; true when the outcome is another than before.
    pub(super) fn read(&mut self, name: &ObjectName, read: Read, now: Instant) -> bool {
        self.entries.get_mut(name).is_some_and(|entry| entry.take(read, now))
    }

    /// The API server says that it was changed, or may have been.
    pub(super) fn touch(&mut self, name: &ObjectName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.asking.ask();
        }
    }

    /// The API server says that it is gone; true when it was there.
    pub(super) fn delete(&mut self, name: &ObjectName) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let was = !matches!(entry.known, Known::Absent | Known::Unread);
        entry.known = Known::Absent;
        entry.trouble = None;
        match &mut entry.asking {
            // What is under way may bring what is gone already.
            Asking::Running { again } => *again = true,
            asking => *asking = Asking::Rest,
        }
        was
    }

    /// The names of a namespace, or of all.
    pub(super) fn names_in(&self, scope: Option<&str>) -> Vec<ObjectName> {
        self.entries.keys().filter(|(n, _)| scope.is_none_or(|s| s == n)).cloned().collect()
    }

    /// Whether one was not looked for yet. One that the API server fails to give for long counts as looked for when it gives others:
    /// then it is that Secret which is broken (its encryption, its storage), and not the API server that is away.
    pub(super) fn is_unknown(&self) -> bool {
        let mut unread =
            self.entries.values().filter(|entry| matches!(entry.known, Known::Unread)).peekable();
        if unread.peek().is_none() {
            return false;
        }
        let answers =
            self.entries.values().any(|entry| matches!(entry.known, Known::Found { .. } | Known::Absent));
        !answers || unread.any(|entry| !entry.is_given_up)
    }

    /// Why a Secret could not be read, last; `None`: nothing is amiss with it.
    pub(super) fn trouble(&self, name: &ObjectName) -> Option<&str> {
        Some(&self.entries.get(name)?.trouble.as_ref()?.words)
    }

    /// Why Secrets could not be read, for people; `None`: nothing is amiss.
    pub(super) fn failure(&self) -> Option<&str> {
        self.entries.values().find_map(|entry| Some(entry.trouble.as_ref()?.words.as_str()))
    }

    /// The Secrets as objects for the compiler.
    pub(super) fn objects(&self) -> impl Iterator<Item = Object> {
        self.entries.iter().filter_map(|((namespace, name), entry)| {
            let metadata = ObjectMeta {
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            Some(object::object(Kind::Secret, &metadata, entry.body()?))
        })
    }
}

// === impl Entry ===

impl Entry {
    fn want(&mut self, keys: BTreeSet<String>) {
        if self.wanted == keys {
            return;
        }
        if let Known::Found { data, looked } = &mut self.known {
            // What nobody wants any more is forgotten: whoever wants it again has it read again.
            if data.0.keys().any(|key| !keys.contains(key)) {
                Arc::make_mut(data).0.retain(|key, _| keys.contains(key));
            }
            looked.retain(|key| keys.contains(key));
            // What is under way brings all entries.
            if looked.len() < keys.len() && !matches!(self.asking, Asking::Running { .. }) {
                self.asking.ask();
            }
        }
        self.wanted = keys;
    }

    fn knows(&self, key: &str) -> bool {
        match &self.known {
            Known::Unread => false,
            Known::Absent | Known::Refused(_) => true,
            Known::Found { looked, .. } => looked.contains(key),
        }
    }

    fn take(&mut self, read: Read, now: Instant) -> bool {
        let again = matches!(self.asking, Asking::Running { again: true });
        let known = match read {
            Read::Found(data) => {
                let entries = data.into_iter().filter(|(key, _)| self.wanted.contains(key));
                let data = Arc::new(SecretData(entries.map(|(key, value)| (key, value.0)).collect()));
                Known::Found { data, looked: self.wanted.clone() }
            }
            Read::Absent => Known::Absent,
            Read::Refused(words) => return self.refused(words, now),
            Read::Failed(words) => {
                // What was known stays: the API server's absence takes nothing away.
                self.asking = Asking::Later(now + AGAIN);
                let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
                self.is_given_up = now.saturating_duration_since(since) >= FIRST_PATIENCE;
                self.trouble = Some(Trouble { words, since, refused: None });
                return false;
            }
        };
        (self.trouble, self.is_given_up) = (None, false);
        self.asking = if again { Asking::Due } else { Asking::Rest };
        self.learn(known)
    }

    fn refused(&mut self, words: String, now: Instant) -> bool {
        let began = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        let since = self.trouble.as_ref().and_then(|trouble| trouble.refused).unwrap_or(now);
        let (patience, wait) = match self.known {
            Known::Unread => (FIRST_PATIENCE, AGAIN),
            Known::Absent | Known::Found { .. } => (PATIENCE, SOON),
            Known::Refused(_) => (Duration::ZERO, REFUSED),
        };
        let counts = now.saturating_duration_since(since) >= patience;
        self.asking = Asking::Later(now + if counts { REFUSED } else { wait });
        self.trouble = Some(Trouble { words: words.clone(), since: began, refused: Some(since) });
        counts && self.learn(Known::Refused(words))
    }

    /// True when it says something else than what was known.
    fn learn(&mut self, known: Known) -> bool {
        let same = match (&self.known, &known) {
            (Known::Found { data: old, .. }, Known::Found { data: new, .. }) => old == new,
            (Known::Absent, Known::Absent) => true,
            (Known::Refused(old), Known::Refused(new)) => old == new,
            _ => false,
        };
        self.known = known;
        !same
    }

    fn body(&self) -> Option<Body> {
        match &self.known {
            Known::Found { data, .. } => Some(Body::Secret(data.clone())),
            Known::Absent => None,
            Known::Refused(words) => {
                Some(object::unreadable_secret(format!("the operator may not read it: {words}")))
            }
            Known::Unread => {
                let words = self.trouble.as_ref().map(|trouble| trouble.words.as_str());
                let words = words.unwrap_or("the API server has not answered yet");
                Some(object::unreadable_secret(format!("it could not be read yet: {words}")))
            }
        }
    }
}

// === impl Asking ===

impl Asking {
    /// What is known may be old.
    fn ask(&mut self) {
        match self {
            Asking::Running { again } => *again = true,
            Asking::Rest | Asking::Due | Asking::Later(_) => *self = Asking::Due,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        match self {
            Asking::Due => true,
            Asking::Later(at) => *at <= now,
            Asking::Rest | Asking::Running { .. } => false,
        }
    }

    fn later(&self) -> Option<Instant> {
        match self {
            Asking::Later(at) => Some(*at),
            Asking::Rest | Asking::Due | Asking::Running { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
