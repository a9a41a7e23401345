//! Authorities and the certificates they issue, as text, and when each is due to be made anew. Pure: the time is passed in,
//! only key generation asks the system for randomness.
//!
//! An authority is replaced without a moment in which a gateway trusts nobody: the next one is made, and trusted, a third of
//! a certificate's life before it issues anything; the one before stays trusted until it expires.

use super::validity::Validity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use std::{fmt, time::Duration};

/// A certificate with its key, as PEM. Its `Debug` prints neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The authority that issues, the one that will, and those that did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Issues.
    pub current: Issued,
    /// Is trusted already, and will issue next.
    pub next: Option<Issued>,
    /// Certificates that are trusted still.
    pub previous: Vec<String>,
}

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made: {0}")]
pub struct IssueError(#[from] rcgen::Error);

/// The life of an authority, in lives of the certificates that it issues: with those of 90 days, ten years.
const AUTHORITY_LIVES: u32 = 40;
/// The most seconds before its making from which a certificate is valid.
const BACKDATED: i64 = 300;
/// The most certificates of former authorities that are kept.
const MOST_PREVIOUS: usize = 4;
/// The name of every authority of ours.
const NAME: &str = "Tollgate";

// === impl Authority ===

impl Authority {
    /// The authority as it should be now, when that is not how it is; `life` is that of the certificates that it issues.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn tended(before: Option<&Self>, now: i64, life: Duration) -> Result<Option<Self>, IssueError> {
        let Some(before) = before else {
            let current = Issued::authority(now, life)?;
            return Ok(Some(Authority { current, next: None, previous: Vec::new() }));
        };
        let mut after = before.clone();
        after.previous.retain(|pem| validity(pem).is_some_and(|v| v.until > now));
        let trusted_for = i64::try_from(life.as_secs() / 3).unwrap_or(i64::MAX);
        match &before.next {
            None if before.current.is_due(now) => after.next = Some(Issued::authority(now, life)?),
            // What is not valid any more cannot be waited for.
            Some(next) if next.age(now) >= trusted_for || !before.current.is_valid(now) => {
                let replaced = std::mem::replace(&mut after.current, next.clone());
                after.previous.insert(0, replaced.certificate);
                after.previous.truncate(MOST_PREVIOUS);
                after.next = None;
            }
            _ => {}
        }
        Ok((after != *before).then_some(after))
    }

    /// The certificates to trust, as one PEM file.
    pub fn bundle(&self) -> String {
        let all = std::iter::once(&self.current.certificate)
            .chain(self.next.iter().map(|next| &next.certificate))
            .chain(&self.previous);
        all.map(|pem| format!("{}\n", pem.trim_end())).collect()
    }

    /// Issues a server's certificate for these names (or addresses).
    ///
    /// # Errors
    /// When a name is none, or a key cannot be made.
    pub fn issue(&self, names: &[String], now: i64, life: Duration) -> Result<Issued, IssueError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, life);
        let key = KeyPair::generate()?;
        // Its name and its key are all that an issuer is to those who check.
        let authority = authority_params();
        let issuer = Issuer::from_params(&authority, KeyPair::from_pem(&self.current.key)?);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// What tells the authority that issues from others.
    pub fn fingerprint(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.current.certificate.trim()).into();
        hex::encode(digest.get(..8).unwrap_or_default())
    }
}

// === impl Issued ===

impl Issued {
    fn authority(now: i64, life: Duration) -> Result<Self, IssueError> {
        let mut params = authority_params();
        set_validity(&mut params, now, life.saturating_mul(AUTHORITY_LIVES));
        let key = KeyPair::generate()?;
        Ok(Issued { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    /// Whether two thirds of its life are over, or it cannot be read.
    pub fn is_due(&self, now: i64) -> bool {
        validity(&self.certificate).is_none_or(|v| now >= v.third(2))
    }

    fn is_valid(&self, now: i64) -> bool {
        validity(&self.certificate).is_some_and(|v| now < v.until)
    }

    /// Seconds since it was made.
    fn age(&self, now: i64) -> i64 {
        // The inverse of `set_validity`: a certificate of a life l is valid for l and a 20th of it, or 300 s, before.
        validity(&self.certificate)
            .map_or(i64::MAX, |v| now - v.from - ((v.until - v.from) / 21).min(BACKDATED))
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("validity", &validity(&self.certificate)).finish_non_exhaustive()
    }
}

/// The certificates of PEM texts, each once, as one PEM text; what is none is left out.
pub fn merged<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut seen: Vec<CertificateDer<'static>> = Vec::new();
    for text in texts {
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()).flatten() {
            if !seen.contains(&certificate) {
                seen.push(certificate);
            }
        }
    }
    seen.iter().map(|certificate| pem(certificate)).collect()
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    lines + "-----END CERTIFICATE-----\n"
}

fn validity(pem: &str) -> Option<Validity> {
    Validity::of_pem(pem.as_bytes())
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, NAME);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Valid from a little before now, for clocks that are behind.
fn set_validity(params: &mut CertificateParams, now: i64, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let before = (life / 20).min(Duration::from_secs(BACKDATED.unsigned_abs()));
    params.not_before = epoch + now.saturating_sub(before);
    params.not_after = epoch + now + life;
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;
    const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
    const NOW: i64 = 1_800_000_000;

    fn tended(before: Option<&Authority>, now: i64) -> Option<Authority> {
        Authority::tended(before, now, LIFE).unwrap()
    }

    fn names() -> Vec<String> {
        vec!["tollgate-operator.tollgate-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    /// Whether a client that trusts `bundle` takes `leaf` for a server of this name.
    fn verifies(bundle: &str, leaf: &Issued, name: &str, at: i64) -> bool {
        use rustls::{
            RootCertStore,
            client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
            crypto::ring,
            pki_types::{ServerName, UnixTime},
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = std::sync::Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at as u64));
        verifier.verify_server_cert(&leaf, &[], &name, &[], at).is_ok()
    }

    #[test]
    fn what_is_issued_is_trusted_for_its_names_and_its_time() {
        let authority = tended(None, NOW).unwrap();
        let leaf = authority.issue(&names(), NOW, LIFE).unwrap();
        let bundle = authority.bundle();
        assert!(verifies(&bundle, &leaf, "tollgate-operator.tollgate-system.svc", NOW));
        assert!(verifies(&bundle, &leaf, "127.0.0.1", NOW + 89 * DAY));
        assert!(!verifies(&bundle, &leaf, "tollgate-operator.evil.svc", NOW));
        assert!(!verifies(&bundle, &leaf, "127.0.0.1", NOW + 91 * DAY));
        let other = tended(None, NOW).unwrap();
        assert!(!verifies(&other.bundle(), &leaf, "127.0.0.1", NOW));
        assert!(!leaf.is_due(NOW + 59 * DAY) && leaf.is_due(NOW + 61 * DAY));
        assert!(!format!("{leaf:?}{authority:?}").contains("BEGIN"));
    }

    #[test]
    fn an_authority_is_replaced_without_a_moment_of_distrust() {
        let first = tended(None, NOW).unwrap();
        assert_eq!(tended(Some(&first), NOW + 1), None);
        let leaf = first.issue(&names(), NOW, LIFE).unwrap();
        let due = NOW + 90 * 40 * DAY * 2 / 3 + DAY;
        // The next one is trusted first…
        let second = tended(Some(&first), due).unwrap();
        assert_eq!(second.current, first.current);
        assert_eq!(second.fingerprint(), first.fingerprint());
        assert!(second.next.is_some() && second.bundle().matches("BEGIN").count() == 2);
        assert_eq!(tended(Some(&second), due + 29 * DAY), None);
        // … issues then, while the one before is trusted still…
        let third = tended(Some(&second), due + 31 * DAY).unwrap();
        assert_ne!(third.fingerprint(), first.fingerprint());
        assert_eq!((&third.next, third.previous.len()), (&None, 1));
        assert!(verifies(&third.bundle(), &leaf, "127.0.0.1", NOW));
        let fresh = third.issue(&names(), due + 31 * DAY, LIFE).unwrap();
        assert!(verifies(&second.bundle(), &fresh, "127.0.0.1", due + 31 * DAY));
        // … until it expires.
        let end = NOW + 90 * 40 * DAY + DAY;
        let last = tended(Some(&third), end).unwrap();
        assert!(last.previous.is_empty());
    }

    #[test]
    fn an_authority_that_has_expired_is_replaced_at_once() {
        let first = tended(None, NOW).unwrap();
        let late = NOW + 90 * 41 * DAY;
        let second = tended(Some(&first), late).unwrap();
        let third = tended(Some(&second), late).unwrap();
        assert_ne!(third.fingerprint(), first.fingerprint());
        assert!(third.current.is_valid(late));
    }

    #[test]
    fn a_bundle_has_each_certificate_once() {
        let (a, b) = (tended(None, NOW).unwrap(), tended(None, NOW).unwrap());
        let both = merged([a.bundle().as_str(), &b.bundle(), "nothing", &a.bundle()]);
        assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(merged([both.as_str()]), both);
    }
}
