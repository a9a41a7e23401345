//! From when until when a certificate is valid: the one thing about it that has to be read out of its bytes.

use rustls::pki_types::{CertificateDer, pem::PemObject};

/// From when until when a certificate is valid, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then.
    pub from: i64,
    /// Until then.
    pub until: i64,
}

/// ASN.1 tags (X.690).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, the version of a certificate.
const VERSION: u8 = 0xa0;

// === impl Validity ===

impl Validity {
    /// That of the first certificate of a PEM file; `None`: there is none, or it cannot be read.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
        Self::of_der(&certificate)
    }

    /// That of a certificate (RFC 5280, section 4.1): `Certificate { TBSCertificate { [0] version, serialNumber, signature,
    /// issuer, validity { notBefore, notAfter }, … }, … }`.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (certificate, _) = value(der, SEQUENCE)?;
        let (mut rest, _) = value(certificate, SEQUENCE)?;
        if let Some((_, after)) = value(rest, VERSION) {
            rest = after;
        }
        let (_, rest) = value(rest, INTEGER)?;
        let (_, rest) = value(rest, SEQUENCE)?;
        let (_, rest) = value(rest, SEQUENCE)?;
        let (validity, _) = value(rest, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Validity { from, until })
    }

    /// When this part of it, in thirds, is over.
    pub fn third(&self, thirds: i64) -> i64 {
        self.from + (self.until - self.from) * thirds / 3
    }
}

/// The content of the first value, which must have this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A time: `YYMMDDHHMMSSZ`, or with four digits of the year.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, two_digits) = match value(der, UTC_TIME) {
        Some((text, rest)) => (text, rest, true),
        None => value(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, false))?,
    };
    let text = std::str::from_utf8(text).ok()?;
    // RFC 5280: two digits are a year from 1950 to 2049.
    let century = match text.get(..2)? {
        _ if !two_digits => "",
        year if year < "50" => "20",
        _ => "19",
    };
    let full = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{text}")).ok()?;
    let seconds = full.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some((seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn the_validity_of_a_certificate_is_read_in_both_forms_of_time() {
        let made = certificate((2026, 1, 1), (2060, 1, 2));
        let validity = Validity::of_der(made.der()).unwrap();
        assert_eq!(validity, Validity { from: 1_767_225_600, until: 2_840_227_200 });
        assert_eq!(Validity::of_pem(made.pem().as_bytes()), Some(validity));
        assert_eq!(Validity { from: 10, until: 40 }.third(2), 30);
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let made = certificate((2026, 1, 1), (2027, 1, 1));
        let der = made.der().as_ref();
        for cut in 0..der.len().min(120) {
            assert_eq!(Validity::of_der(&der[..cut]), None);
        }
        assert_eq!(Validity::of_der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Validity::of_pem(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"), None);
        assert_eq!(Validity::of_pem(b"nothing"), None);
    }
}
