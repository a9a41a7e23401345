//! What there is, and what the leader is to write. Pure.

use super::{
    AUTHORITY, BUNDLE_KEY, GATEWAY_TLS, ISSUED_FOR, OPERATOR_TLS, SEALING,
    authority::{Authority, IssueError, Issued, merged},
    sealing::{KEY_LEN, Keys},
    validity::Validity,
};
use crate::{settings::Settings, xds::listen::CertificatePem};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::{collections::BTreeMap, sync::Arc};
use tollgate_crds::annotations::{COMPONENT, MANAGED_BY, NOT_AFTER, OPERATOR};
use tollgate_proto::v1;

/// The Secrets, as they were last seen; outer `None`: not seen yet.
#[derive(Debug, Default)]
pub struct Seen {
    secrets: BTreeMap<&'static str, Option<Secret>>,
}

/// The Secrets that are watched.
pub const WATCHED: [&str; 4] = [AUTHORITY, OPERATOR_TLS, GATEWAY_TLS, SEALING];
/// The type of a certificate's Secret, and its entries.
const TLS_TYPE: &str = "kubernetes.io/tls";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
/// The entries of the authority's Secret.
const CURRENT: &str = "ca.crt";
const CURRENT_KEY: &str = "ca.key";
const NEXT: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
/// The entry of the sealing keys' Secret.
const KEYS: &str = "keys";

// === impl Seen ===

impl Seen {
    /// A Secret was seen, or that there is none.
    pub fn set(&mut self, name: &'static str, secret: Option<Secret>) {
        self.secrets.insert(name, secret);
    }

    /// Whether each was looked for.
    pub fn is_complete(&self) -> bool {
        WATCHED.iter().all(|name| self.secrets.contains_key(name))
    }

    /// The operator's certificate.
    pub fn operator(&self) -> Option<Arc<CertificatePem>> {
        let secret = self.get(OPERATOR_TLS)?;
        let part = |name: &str| entry(secret, name).map(|text| text.as_bytes().to_vec());
        Some(Arc::new(CertificatePem { certificate: part(TLS_CERTIFICATE)?, key: part(TLS_KEY)? }))
    }

    /// The authorities to trust: the own ones, and those of certificates that others have issued.
    pub fn bundle(&self) -> String {
        let own = self.authority().map(|authority| authority.bundle());
        let foreign = [OPERATOR_TLS, GATEWAY_TLS].into_iter().filter_map(|name| {
            let secret = self.get(name).filter(|secret| !is_ours(secret))?;
            entry(secret, BUNDLE_KEY)
        });
        merged(own.as_deref().into_iter().chain(foreign))
    }

    /// The sealing keys; `None`: there are none yet.
    pub fn sealing(&self, now: i64) -> Option<v1::SealingKeys> {
        let keys = Keys::parse(entry(self.get(SEALING)?, KEYS)?);
        (!keys.is_empty()).then(|| keys.wire("tollgate", now))
    }

    /// What the leader is to write now: nothing, most of the time.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub fn plan(
        &self,
        settings: &Settings,
        now: i64,
        random: impl Fn() -> [u8; KEY_LEN],
    ) -> Result<Vec<Secret>, IssueError> {
        let mut writes = Vec::new();
        let own = self.get(AUTHORITY).is_none_or(is_ours);
        let life = settings.certificate_life;
        let before = self.authority();
        let tended = if own { Authority::tended(before.as_ref(), now, life)? } else { None };
        if let Some(authority) = &tended {
            writes.push(self.secret(AUTHORITY, settings, authority_data(authority)));
        }
        if let Some(authority) = tended.or(before).filter(|_| own) {
            let names = [(OPERATOR_TLS, settings.operator_names()), (GATEWAY_TLS, settings.gateway_names())];
            for (name, names) in names {
                writes.extend(self.leaf(name, &names, &authority, settings, now)?);
            }
        }
        if self.get(SEALING).is_none_or(is_ours) {
            let keys = self.get(SEALING).and_then(|s| entry(s, KEYS)).map(Keys::parse).unwrap_or_default();
            if let Some(keys) = keys.tended(now, random) {
                writes.push(self.secret(SEALING, settings, [(KEYS.to_owned(), keys.to_text())].into()));
            }
        }
        Ok(writes)
    }

    /// A server's certificate, when it is due.
    fn leaf(
        &self,
        name: &'static str,
        names: &[String],
        authority: &Authority,
        settings: &Settings,
        now: i64,
    ) -> Result<Option<Secret>, IssueError> {
        let wanted = format!("{} by {}", names.join(","), authority.fingerprint());
        if let Some(secret) = self.get(name) {
            let issued_for = secret.metadata.annotations.as_ref().and_then(|a| a.get(ISSUED_FOR));
            let text = |key: &str| entry(secret, key).unwrap_or_default().to_owned();
            let issued = Issued { certificate: text(TLS_CERTIFICATE), key: text(TLS_KEY) };
            if !is_ours(secret) || (issued_for == Some(&wanted) && !issued.is_due(now)) {
                return Ok(None);
            }
        }
        let issued = authority.issue(names, now, settings.certificate_life)?;
        let until = Validity::of_pem(issued.certificate.as_bytes())
            .and_then(|validity| jiff::Timestamp::from_second(validity.until).ok());
        let data = [
            (TLS_CERTIFICATE.to_owned(), issued.certificate),
            (TLS_KEY.to_owned(), issued.key),
            (BUNDLE_KEY.to_owned(), authority.bundle()),
        ];
        let mut secret = self.secret(name, settings, data.into());
        secret.type_ = Some(TLS_TYPE.to_owned());
        let until = until.map(|until| (NOT_AFTER.to_owned(), until.to_string()));
        let issued_for = (ISSUED_FOR.to_owned(), wanted);
        secret.metadata.annotations = Some([issued_for].into_iter().chain(until).collect());
        Ok(Some(secret))
    }

    /// The authority, where it is one of ours.
    fn authority(&self) -> Option<Authority> {
        let secret = self.get(AUTHORITY).filter(|secret| is_ours(secret))?;
        let text = |name: &str| entry(secret, name).map(str::to_owned);
        let pair =
            |certificate: &str, key: &str| Some(Issued { certificate: text(certificate)?, key: text(key)? });
        let previous = text(PREVIOUS).unwrap_or_default();
        let end = "-----END CERTIFICATE-----";
        let previous = previous.split_inclusive(end).map(str::trim).filter(|pem| pem.ends_with(end));
        Some(Authority {
            current: pair(CURRENT, CURRENT_KEY)?,
            next: pair(NEXT, NEXT_KEY),
            previous: previous.map(str::to_owned).collect(),
        })
    }

    fn get(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)?.as_ref()
    }

    /// A Secret to write. It has the version of the one that was seen, so that it is written only if nobody else has since.
    fn secret(&self, name: &str, settings: &Settings, data: BTreeMap<String, String>) -> Secret {
        let resource_version = self.get(name).and_then(|s| s.metadata.resource_version.clone());
        let labels =
            [(MANAGED_BY, OPERATOR), (COMPONENT, "operator"), ("app.kubernetes.io/name", "tollgate")];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(settings.namespace.clone()),
                labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                resource_version,
                ..ObjectMeta::default()
            },
            data: Some(data.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect()),
            ..Secret::default()
        }
    }
}

/// Whether the operator made it.
fn is_ours(secret: &Secret) -> bool {
    secret.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == OPERATOR)
}

fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok().filter(|text| !text.trim().is_empty())
}

fn authority_data(authority: &Authority) -> BTreeMap<String, String> {
    let mut data = BTreeMap::from([
        (CURRENT.to_owned(), authority.current.certificate.clone()),
        (CURRENT_KEY.to_owned(), authority.current.key.clone()),
    ]);
    if let Some(next) = &authority.next {
        data.insert(NEXT.to_owned(), next.certificate.clone());
        data.insert(NEXT_KEY.to_owned(), next.key.clone());
    }
    if !authority.previous.is_empty() {
        data.insert(PREVIOUS.to_owned(), authority.previous.join("\n"));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    fn settings() -> Settings {
        Settings { namespace: "tollgate-system".into(), ..Settings::for_test() }
    }

    /// Carries plans out until there is nothing left to do; how many Secrets were written.
    fn settle(seen: &mut Seen, now: i64) -> usize {
        let mut written = 0;
        loop {
            let writes = seen.plan(&settings(), now, || [7; KEY_LEN]).unwrap();
            if writes.is_empty() {
                return written;
            }
            for secret in writes {
                written += 1;
                let name = WATCHED.into_iter().find(|n| secret.metadata.name.as_deref() == Some(n));
                seen.set(name.unwrap(), Some(secret));
            }
            assert!(written < 20, "it never ends");
        }
    }

    fn none() -> Seen {
        let mut seen = Seen::default();
        for name in WATCHED {
            assert!(!seen.is_complete());
            seen.set(name, None);
        }
        seen
    }

    #[test]
    fn the_first_leader_makes_everything_and_then_rests() {
        let mut seen = none();
        assert!(seen.is_complete() && seen.operator().is_none() && seen.sealing(NOW).is_none());
        assert_eq!(settle(&mut seen, NOW), 4);
        assert!(seen.operator().is_some());
        assert_eq!(seen.bundle().matches("BEGIN").count(), 1);
        assert_eq!(seen.sealing(NOW).unwrap().keys, [vec![7; KEY_LEN]]);
        assert_eq!(settle(&mut seen, NOW + 10 * DAY), 0);
        let before = seen.operator();
        assert_eq!(settle(&mut seen, NOW + 61 * DAY), 3, "two certificates and a sealing key");
        assert_ne!(seen.operator(), before);
    }

    #[test]
    fn other_names_or_another_authority_need_another_certificate() {
        let mut seen = none();
        settle(&mut seen, NOW);
        let renamed = Settings { service: "other".into(), ..settings() };
        let writes = seen.plan(&renamed, NOW, || [7; KEY_LEN]).unwrap();
        let names: Vec<_> = writes.iter().filter_map(|s| s.metadata.name.as_deref()).collect();
        assert_eq!(names, [OPERATOR_TLS]);
        seen.set(AUTHORITY, None);
        assert_eq!(settle(&mut seen, NOW), 3);
    }

    #[test]
    fn what_is_somebody_elses_is_used_and_never_written() {
        let mut seen = none();
        settle(&mut seen, NOW);
        let theirs = Authority::tended(None, NOW, Duration::from_secs(60)).unwrap().unwrap();
        let issued = theirs.issue(&["x".into()], NOW, Duration::from_secs(60)).unwrap();
        let data = [
            (TLS_CERTIFICATE.to_owned(), issued.certificate.clone()),
            (TLS_KEY.to_owned(), issued.key),
            (BUNDLE_KEY.to_owned(), theirs.bundle()),
        ];
        for name in [OPERATOR_TLS, GATEWAY_TLS] {
            let mut secret = seen.secret(name, &settings(), data.clone().into());
            secret.metadata.labels = None;
            seen.set(name, Some(secret));
        }
        assert_eq!(settle(&mut seen, NOW + 365 * DAY), 1, "only the sealing keys");
        assert_eq!(seen.operator().unwrap().certificate, issued.certificate.into_bytes());
        assert!(seen.bundle().contains(theirs.bundle().lines().nth(1).unwrap()));
        // An authority that is not ours cannot issue: its certificates must be there as well.
        let mut seen = none();
        seen.set(AUTHORITY, Some(Secret::default()));
        assert_eq!(settle(&mut seen, NOW), 1);
    }

    #[test]
    fn what_is_written_has_the_version_that_was_seen() {
        let mut seen = none();
        settle(&mut seen, NOW);
        let mut secret = seen.get(OPERATOR_TLS).cloned().unwrap();
        secret.metadata.resource_version = Some("42".to_owned());
        seen.set(OPERATOR_TLS, Some(secret));
        let writes = seen.plan(&settings(), NOW + 61 * DAY, || [8; KEY_LEN]).unwrap();
        let versions: Vec<_> = writes.iter().map(|s| s.metadata.resource_version.as_deref()).collect();
        assert!(versions.contains(&Some("42")), "{versions:?}");
        assert!(!format!("{:?}", seen.operator()).contains("BEGIN"));
        // Whoever may read metadata alone sees when it ends.
        let renewed = writes.iter().find(|s| s.metadata.name.as_deref() == Some(OPERATOR_TLS)).unwrap();
        let until = renewed.metadata.annotations.as_ref().unwrap().get(NOT_AFTER).unwrap();
        let until = until.parse::<jiff::Timestamp>().unwrap().as_second();
        assert!((NOW + 61 * DAY..NOW + 200 * DAY).contains(&until), "{until}");
    }
}
