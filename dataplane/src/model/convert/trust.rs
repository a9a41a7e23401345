//! Issuers and sealing keys from the wire.

use super::{Invalid, invalid, v1};
use crate::{
    identity::Verifier,
    model::trust::{SealingKeys, TokenIssuer},
};
use std::sync::Arc;

/// The most bytes of a key set: an issuer has a handful of keys.
const MAX_JWKS: usize = 256 << 10;

impl TryFrom<&v1::TokenIssuer> for TokenIssuer {
    type Error = Invalid;

    fn try_from(wire: &v1::TokenIssuer) -> Result<Self, Invalid> {
        for (field, text) in [("issuer", &wire.issuer), ("audience", &wire.audience)] {
            if text.is_empty() {
                return Err(invalid(field, "is missing"));
            }
        }
        if wire.jwks.len() > MAX_JWKS {
            return Err(invalid("jwks", format!("is larger than {MAX_JWKS} bytes")));
        }
        let verifier = Verifier::new(&wire.issuer, &wire.audience, &wire.jwks)
            .map_err(|e| invalid("jwks", e.to_string()))?;
        Ok(TokenIssuer {
            name: wire.name.clone(),
            issuer: wire.issuer.clone(),
            audience: wire.audience.clone(),
            jwks: wire.jwks.clone(),
            verifier: Arc::new(verifier),
        })
    }
}

impl TryFrom<&v1::SealingKeys> for SealingKeys {
    type Error = Invalid;

    fn try_from(wire: &v1::SealingKeys) -> Result<Self, Invalid> {
        let keys = wire.keys.iter().enumerate().map(|(i, key)| {
            <[u8; _]>::try_from(key.as_slice())
                .map_err(|_| invalid(format!("keys[{i}]"), "is not a key of 32 bytes"))
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(invalid("keys", "is empty"));
        }
        Ok(SealingKeys { keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_a_name_and_a_set_of_keys() {
        let good = v1::TokenIssuer {
            name: "cluster".into(),
            issuer: "https://kubernetes.default.svc".into(),
            audience: "tollgate".into(),
            jwks: serde_json::json!({"keys": [crate::identity::tests::p256("k").1]}).to_string(),
        };
        assert_eq!(TokenIssuer::try_from(&good).unwrap().issuer, good.issuer);
        for bad in [
            v1::TokenIssuer { issuer: String::new(), ..good.clone() },
            v1::TokenIssuer { audience: String::new(), ..good.clone() },
            v1::TokenIssuer { jwks: "[]".into(), ..good.clone() },
            v1::TokenIssuer { jwks: r#"{"keys":[]}"#.into(), ..good.clone() },
            v1::TokenIssuer { jwks: "{".into(), ..good.clone() },
        ] {
            assert!(TokenIssuer::try_from(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sealing_keys_are_whole_and_not_printed() {
        let wire = |keys: &[&[u8]]| v1::SealingKeys {
            name: "tollgate".into(),
            keys: keys.iter().map(|k| k.to_vec()).collect(),
        };
        let keys = SealingKeys::try_from(&wire(&[&[1; 32], &[2; 32]])).unwrap();
        assert_eq!(keys.keys, [[1; 32], [2; 32]]);
        assert_eq!(format!("{keys:?}"), "SealingKeys { keys: 2 }");
        assert!(SealingKeys::try_from(&wire(&[])).is_err());
        assert!(SealingKeys::try_from(&wire(&[&[1; 32], &[2; 31]])).is_err());
    }
}
