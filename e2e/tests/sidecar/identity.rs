//! ServiceAccount tokens at the gateway.

use super::support::{ISSUER, Issuer, now};
use serde_json::json;
use tollgate_e2e::{
    client::eventually,
    gateway::{Gateway, Home, Manifests},
    provider::Provider,
};

pub fn manifests(provider: &str) -> Manifests {
    let key = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: devbox}\n\
               spec: {serviceAccounts: [{name: devbox}], models: {allow: ['*']}}\n";
    Manifests::routes(provider).file("devbox.yaml", key)
}

#[tokio::test]
async fn a_workload_is_its_key_and_what_is_forged_is_told_so() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let home = Home::new(&manifests(&provider.url()))?;
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    // Beyond loopback, where nobody is anonymous by accident.
    let gateway = Gateway::start_on(&home, "127.0.0.1:0", &["--token-issuer", &issuer.file()]).await?;
    let body = json!({"model": "anthropic/claude-x", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..2 {
        gateway.message(&issuer.token("devbox"), &body).await?.expect(200)?;
    }
    eventually("both are recorded as the key's", || async {
        Ok((gateway.records("devbox").await?.len() == 2).then_some(()))
    })
    .await?;

    for (token, words) in [
        (stranger.token("devbox"), format!("of no key of {ISSUER}")),
        (issuer.token_with("devbox", &json!({"exp": now() - 100})), "expired 1".to_owned()),
        (
            issuer.token_with("devbox", &json!({"aud": "https://kubernetes.default.svc"})),
            "audience: tollgate".to_owned(),
        ),
        (issuer.token_with("devbox", &json!({"iss": "https://elsewhere"})), "does not know".to_owned()),
        (issuer.token_with("devbox", &json!({"nbf": now() + 600})), "not valid for another".to_owned()),
        (issuer.token("stranger"), "name it in the spec.serviceAccounts".to_owned()),
        ("eyJ.not.a-token".to_owned(), "cannot be read".to_owned()),
    ] {
        let answer = gateway.message(&token, &body).await?.expect(401)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(&words) && text.contains("authentication_error"), "{words}: {text}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{words}");
        assert!(!gateway.log().text().contains(&token), "a token is in the log");
    }
    gateway.stop().await
}
