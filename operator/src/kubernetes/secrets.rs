//! Which entries of which Secrets are needed, and what is known of them. Nothing else of a Secret is kept.

use super::{ObjectName, object};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
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

#[derive(Debug, Default)]
struct Entry {
    /// The entries that some object names.
    wanted: BTreeSet<String>,
    known: Known,
    /// The entries that were wanted when it was read.
    asked: BTreeSet<String>,
    /// What is known may be old.
    stale: bool,
    reading: bool,
    /// Why it could not be read, last.
    failed: Option<String>,
}

#[derive(Debug, Default)]
enum Known {
    /// It was not read yet.
    #[default]
    Nothing,
    Absent,
    Found(Arc<SecretData>),
    Refused(String),
}

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

    /// What must be read now, each with the entries that are wanted of it; each is told once, until [`Self::read`].
    pub(super) fn take_due(&mut self) -> Vec<ObjectName> {
        let due = self.entries.iter_mut().filter(|(_, e)| e.is_due());
        due.map(|(name, entry)| {
            entry.begin();
            name.clone()
        })
        .collect()
    }

    /// Takes what came of reading; true when the outcome is another than before.
    pub(super) fn read(&mut self, name: &ObjectName, read: Read) -> bool {
        self.entries.get_mut(name).is_some_and(|entry| entry.take(read))
    }

    /// The API server says that it was changed, or may have been.
    pub(super) fn touch(&mut self, name: &ObjectName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.stale = true;
        }
    }

    /// Those that were refused may be allowed now.
    pub(super) fn touch_refused(&mut self) {
        for entry in self.entries.values_mut().filter(|e| matches!(e.known, Known::Refused(_))) {
            entry.stale = true;
        }
    }

    /// The API server says that it is gone; true when it was there.
    pub(super) fn delete(&mut self, name: &ObjectName) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let was = !matches!(entry.known, Known::Absent | Known::Nothing);
        entry.known = Known::Absent;
        // A read under way may bring what is gone already.
        entry.stale = entry.reading;
        was
    }

    /// The names of a namespace, or of all.
    pub(super) fn names_in(&self, scope: Option<&str>) -> Vec<ObjectName> {
        self.entries.keys().filter(|(n, _)| scope.is_none_or(|s| s == n)).cloned().collect()
    }

    /// Whether one was not looked for yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.known, Known::Nothing))
    }

    /// Why Secrets could not be read, for people; `None`: nothing is amiss.
    pub(super) fn failure(&self) -> Option<&str> {
        self.entries.values().find_map(|entry| entry.failed.as_deref())
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
        if let Known::Found(data) = &mut self.known
            && data.0.keys().any(|key| !keys.contains(key))
        {
            Arc::make_mut(data).0.retain(|key, _| keys.contains(key));
        }
        self.wanted = keys;
    }

    fn is_due(&self) -> bool {
        let lacks = !self.wanted.is_subset(&self.asked);
        !self.reading && (self.stale || lacks || matches!(self.known, Known::Nothing))
    }

    fn begin(&mut self) {
        self.reading = true;
        self.stale = false;
        self.asked = self.wanted.clone();
    }

    fn take(&mut self, read: Read) -> bool {
        self.reading = false;
        self.failed = None;
        let next = match read {
            Read::Found(data) => {
                let entries = data.into_iter().filter(|(key, _)| self.wanted.contains(key));
                Known::Found(Arc::new(SecretData(entries.map(|(key, value)| (key, value.0)).collect())))
            }
            Read::Absent => Known::Absent,
            Read::Refused(words) => Known::Refused(words),
            Read::Failed(words) => {
                // What was known stays: the API server's absence takes nothing away.
                self.stale = true;
                self.failed = Some(words);
                return false;
            }
        };
        let same = match (&self.known, &next) {
            (Known::Found(old), Known::Found(new)) => old == new,
            (Known::Absent, Known::Absent) => true,
            (Known::Refused(old), Known::Refused(new)) => old == new,
            _ => false,
        };
        self.known = next;
        !same
    }

    fn body(&self) -> Option<Body> {
        match &self.known {
            Known::Found(data) => Some(Body::Secret(data.clone())),
            Known::Absent => None,
            Known::Refused(words) => {
                Some(object::unreadable_secret(format!("the operator may not read it: {words}")))
            }
            Known::Nothing => {
                let words = self.failed.as_deref().unwrap_or("the API server has not answered yet");
                Some(object::unreadable_secret(format!("it could not be read yet: {words}")))
            }
        }
    }
}
