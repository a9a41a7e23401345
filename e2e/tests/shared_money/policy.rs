//! Limits and revocations that all gateways know.

use crate::support::{Shared, ask, budget, ledger};
use tollgate_e2e::{client::eventually, gateway::manifests};

#[tokio::test]
async fn a_key_that_one_gateway_saw_revoked_is_refused_by_one_that_did_not() -> anyhow::Result<()> {
    let shared = Shared::start(&["--save", ""], |m| m.key("vk-lost", &budget("1", ""))).await?;
    let cut_off = &shared.gateways[1];
    cut_off.message("vk-lost", &ask()).await?.expect(200)?;
    // The second gateway's folder stays as it is, as that of a pod that the operator does not reach.
    shared.homes[0].remove("vk-lost.yaml")?;
    eventually("the gateway that is cut off refuses it", || async {
        let answer = cut_off.message("vk-lost", &ask()).await?;
        assert!([200, 403].contains(&answer.status), "{}", answer.text());
        Ok((answer.status == 403 && answer.text().contains("revoked")).then_some(()))
    })
    .await?;
    // A person may lift it by hand.
    let url = shared.redis.url();
    let said = ledger(&["allow", "default/vk-lost", "--redis", &url])?;
    assert!(said.contains("any more"), "{said}");
    cut_off.message("vk-lost", &ask()).await?.expect(200)?;
    let said = ledger(&["allow", "default/vk-lost", "--redis", &url])?;
    assert!(said.contains("nothing was changed"), "{said}");
    let disabled = budget("1", "disabled: true\n");
    shared.homes[0].write("vk-lost.yaml", &manifests::key("vk-lost", &disabled))?;
    eventually("it is disabled, not deleted", || async {
        let answer = cut_off.message("vk-lost", &ask()).await?;
        assert!([200, 403].contains(&answer.status), "{}", answer.text());
        Ok(answer.text().contains("disabled").then_some(()))
    })
    .await?;
    shared.homes[0].write("vk-lost.yaml", &manifests::key("vk-lost", &budget("1", "")))?;
    eventually("it is there again", || async {
        Ok((cut_off.message("vk-lost", &ask()).await?.status == 200).then_some(()))
    })
    .await
}

#[tokio::test]
async fn rates_count_for_all_gateways_together() -> anyhow::Result<()> {
    let spec = "models: {allow: [\"*/*\"]}\nlimits: {requestsPerMinute: 4}\n";
    let shared = Shared::start(&["--save", ""], |m| m.key("vk-rate", spec)).await?;
    let mut statuses = Vec::new();
    for n in 0..8 {
        let answer = shared.gateways[n % 2].message("vk-rate", &ask()).await?;
        assert_eq!(answer.status == 429, answer.header("retry-after").is_some());
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..4], [200; 4]);
    assert!(statuses[4..].iter().filter(|status| **status == 429).count() >= 3, "{statuses:?}");
    Ok(())
}
