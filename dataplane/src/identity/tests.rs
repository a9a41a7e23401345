//! Tokens good and bad. The RSA key is of these tests alone.

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

const RSA: &[u8] = include_bytes!("tests/rsa.der");
const RSA_N: &str = "ueGEM85dwY66NSAX0cCk5KJDwgnTdiUqmNPW0s2Hb78aIbJOVVa4jsDYAEBq2selL6OgkXkf5oxlRHfHN-LLP67mpJQ1fpEZJYTDUq8LsgrK3GMwI97EdQ2f2UQd55yrjfecrlj3rxSYEca45wfjPakg-S388Bn5cIYCoCXeZsyRsFE_Ci-lh4-9lNna6m7veJmjCQWxBTC5hZq36fzVnBDcrSCSTGelgRdrNKHwlV7p1ZWK0uksMBQ37ekIXKYlMODY4hjXH2-t2ACLKPdxqj8X1BlXbV3hH0dZFEI7TT7nLcM26H5cVp9TBzt5iBrmWzLMKG1AEWx-ADa2_2t5rQ";
const ISSUER: &str = "https://kubernetes.default.svc";
const NOW: i64 = 1_800_000_000_000;

/// A P-256 key and its JWK.
pub(crate) fn p256(kid: &str) -> (EncodingKey, Value) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &SystemRandom::new())
            .unwrap();
    let point = pair.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": part(1..33), "y": part(33..65)});
    (EncodingKey::from_ec_der(pkcs8.as_ref()), jwk)
}

fn rsa() -> (EncodingKey, Value) {
    let jwk = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "r", "n": RSA_N, "e": "AQAB"});
    (EncodingKey::from_rsa_der(RSA), jwk)
}

/// What kubelet's projected tokens say.
pub(crate) fn claims(now_ms: i64) -> Value {
    let now = now_ms / 1000;
    json!({
        "iss": ISSUER, "sub": "system:serviceaccount:team-a:devbox", "aud": ["tollgate"],
        "iat": now, "nbf": now, "exp": now + 3600,
        "kubernetes.io": {"namespace": "team-a", "serviceaccount": {"name": "devbox", "uid": "1"}}
    })
}

pub(crate) fn sign(algorithm: Algorithm, kid: &str, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

pub(crate) fn verifier(keys: &[&Value]) -> Verifier {
    Verifier::new(ISSUER, "tollgate", &json!({"keys": keys}).to_string()).unwrap()
}

fn outcome(verifier: &Verifier, token: &str, now: i64) -> Result<Workload, Rejection> {
    verify([verifier].into_iter(), token, &crate::request::identify::hash(token), now)
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims(NOW);
    claims[claim] = value;
    claims
}

#[test]
fn tokens_of_both_kinds_of_key_are_taken_and_remembered() {
    let ((es, es_jwk), (rs, rs_jwk)) = (p256("e"), rsa());
    let verifier = verifier(&[&es_jwk, &rs_jwk]);
    for (algorithm, kid, key) in [(Algorithm::ES256, "e", &es), (Algorithm::RS256, "r", &rs)] {
        let token = sign(algorithm, kid, &claims(NOW), key);
        assert!(looks_like_a_token(&token));
        let workload = outcome(&verifier, &token, NOW).unwrap();
        assert_eq!(workload.account, ObjectId::new("team-a", "devbox"));
        assert_eq!(outcome(&verifier, &token, NOW), Ok(workload));
        // A remembered token expires all the same.
        assert!(matches!(outcome(&verifier, &token, NOW + 3_700_000), Err(Rejection::Expired(100))));
    }
    assert_eq!(verifier.seen.len(), 2);
}

#[test]
fn forged_tokens_are_told_apart() {
    let ((key, jwk), (stranger, _)) = (p256("e"), p256("e"));
    let verifier = verifier(&[&jwk]);
    let good = sign(Algorithm::ES256, "e", &claims(NOW), &key);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let part = |v: Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let other = part(with("sub", json!("system:serviceaccount:team-a:admin")));
    let (header, _) = message.split_once('.').unwrap();
    let none = part(json!({"alg": "none"}));
    let crit = part(json!({"alg": "ES256", "crit": ["x"]}));
    let hmac = sign(
        Algorithm::HS256,
        "e",
        &claims(NOW),
        &EncodingKey::from_secret(jwk["x"].as_str().unwrap().as_bytes()),
    );
    let signature_of_none = Rejection::Signature(ISSUER.to_owned());
    for (token, want) in [
        (sign(Algorithm::ES256, "e", &claims(NOW), &stranger), signature_of_none.clone()),
        (sign(Algorithm::ES256, "unknown", &claims(NOW), &key), signature_of_none.clone()),
        (format!("{header}.{other}.{signature}"), signature_of_none.clone()),
        (format!("{message}."), signature_of_none.clone()),
        (format!("{none}.{other}."), Rejection::Algorithm),
        (hmac, Rejection::Algorithm),
        (format!("{crit}.{other}.{signature}"), Rejection::Malformed("it uses extensions")),
        (
            format!("{header}.e30.{signature}"),
            Rejection::Malformed("a claim is missing: iss, sub, aud and exp must be there"),
        ),
        ("eyJ.a.b".to_owned(), Rejection::Malformed("its header is no JSON")),
        ("eyJ".repeat(4000) + ".a.b", Rejection::Malformed("it is too long")),
    ] {
        assert_eq!(outcome(&verifier, &token, NOW), Err(want), "{token}");
    }
    assert_eq!(verifier.seen.len(), 0, "what is not verified is not remembered");
}

#[test]
fn a_good_signature_is_not_all() {
    let (key, jwk) = p256("e");
    let verifier = verifier(&[&jwk]);
    let second = NOW / 1000;
    for (claims, want) in [
        (with("aud", json!("https://kubernetes.default.svc")), Some(Rejection::Audience("tollgate".into()))),
        (with("aud", json!(["a", "b"])), Some(Rejection::Audience("tollgate".into()))),
        (with("aud", json!("tollgate")), None),
        (with("iss", json!("https://other")), Some(Rejection::Issuer(ISSUER.into()))),
        (with("exp", json!(second - 31)), Some(Rejection::Expired(31))),
        (with("exp", json!(second - 29)), None),
        (with("exp", json!(second as f64 + 0.5)), None),
        (with("exp", json!(-1e300)), Some(Rejection::Expired(i64::MAX / 1000))),
        (with("nbf", json!(second + 31)), Some(Rejection::NotYet(31))),
        (with("nbf", json!(second + 29)), None),
        (with("sub", json!("system:node:a")), Some(Rejection::Subject)),
        (with("sub", json!("system:serviceaccount:a")), Some(Rejection::Subject)),
        (with("sub", json!("system:serviceaccount:a:b:c")), Some(Rejection::Subject)),
        (with("sub", json!("system:serviceaccount:a/b:c")), Some(Rejection::Subject)),
    ] {
        let token = sign(Algorithm::ES256, "e", &claims, &key);
        assert_eq!(outcome(&verifier, &token, NOW).err(), want, "{claims}");
    }
}

#[test]
fn what_no_issuer_publishes_is_passed_over_or_refused() {
    let (_, good) = p256("e");
    let odd = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"});
    let encryption = json!({"kty": "EC", "crv": "P-256", "use": "enc", "x": good["x"], "y": good["y"]});
    let small = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let set = |keys: &[&Value]| Verifier::new(ISSUER, "tollgate", &json!({"keys": keys}).to_string());
    assert_eq!(set(&[&odd, &good, &json!(7)]).unwrap().keys.len(), 1);
    for keys in [vec![], vec![&odd], vec![&encryption], vec![&small]] {
        assert_eq!(set(&keys).err(), Some(JwksError::Empty), "{keys:?}");
    }
    assert!(matches!(Verifier::new("a", "b", "{}"), Err(JwksError::Unreadable(_))));
    assert_eq!(set(&[&good]).unwrap(), set(&[&good]).unwrap());
    assert_ne!(set(&[&good]).unwrap(), set(&[&p256("e").1]).unwrap());
}
