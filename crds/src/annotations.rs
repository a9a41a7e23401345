//! Annotations and labels that Tollgate reads or writes: API, as scripts set and match them.

use crate::api::Span;
use std::{collections::BTreeMap, time::Duration};

/// On a VirtualKey: any new value gives it a new token. The one before stays valid for [`ROTATION_OVERLAP`].
pub const ROTATE_TOKEN: &str = "tollgate.dev/rotate-token";
/// On a VirtualKey: for how long the token before a rotation stays valid, such as `1h`.
pub const ROTATION_OVERLAP: &str = "tollgate.dev/rotation-overlap";
/// On a VirtualKey: budgets that start anew at once, such as `month:2026-11-23`; see [`resets`].
pub const RESET_BUDGET: &str = "tollgate.dev/reset-budget";
/// On the Lease: where the leader takes reports that other replicas pass on, as `host:port`.
pub const LEADER_ADDRESS: &str = "tollgate.dev/address";
/// On the Lease: the gateways that the shared ledger does not answer, and why; absent: all is well.
pub const LEDGER_TROUBLE: &str = "tollgate.dev/ledger-trouble";
/// On the Lease: the version of the operator that leads.
pub const VERSION: &str = "tollgate.dev/version";
/// On the Lease: how many of the installation's gateways the leader has heard of, by the version that each says it is, such as
/// `0.1.0=2`; see [`gateways`].
pub const GATEWAYS: &str = "tollgate.dev/gateways";
/// On a token's Secret: the value of [`ROTATE_TOKEN`] that was last carried out.
pub const ROTATED: &str = "tollgate.dev/rotated";

/// On a Secret of a certificate that the operator issued: until when it is valid, as RFC 3339, for whoever may read only
/// metadata.
pub const NOT_AFTER: &str = "tollgate.dev/not-after";

/// On what the operator makes: that it did.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// On what the operator makes: what it is a part of.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The value of [`MANAGED_BY`], and the field manager of every write.
pub const OPERATOR: &str = "tollgate-operator";

/// How long a token stays valid after its rotation, in seconds, when [`ROTATION_OVERLAP`] says nothing.
pub const DEFAULT_OVERLAP: u64 = 24 * 3600;

/// For how long the token before a rotation stays valid, by what [`ROTATION_OVERLAP`] says. A text that is no duration is the
/// error: whoever rotates a token that leaked must not be left with it for a day by a slip, and nobody is to be locked out by one.
pub fn overlap(stated: Option<&str>) -> Result<Duration, &str> {
    match stated.map(str::trim) {
        None => Ok(Duration::from_secs(DEFAULT_OVERLAP)),
        Some("0") => Ok(Duration::ZERO),
        Some(text) if text.is_empty() => Err(text),
        Some(text) => Span::from(text).parse().map_err(|_| text),
    }
}

/// The entry of a token's Secret that holds the token before the rotation.
pub fn previous(key: &str) -> String {
    format!("previous-{key}")
}

/// The entry of a token's Secret that says until when [`previous`] is valid, as RFC 3339.
pub fn previous_until(key: &str) -> String {
    format!("previous-{key}-expires")
}

/// The value of [`GATEWAYS`]. A version that is not known is empty.
pub fn gateways(versions: &BTreeMap<&str, usize>) -> String {
    let told: Vec<String> = versions.iter().map(|(version, number)| format!("{version}={number}")).collect();
    told.join(",")
}

/// What [`gateways`] said.
pub fn gateways_said(value: &str) -> BTreeMap<&str, usize> {
    let told = value.split(',').filter_map(|entry| entry.split_once('='));
    told.filter_map(|(version, number)| Some((version, number.parse().ok()?))).collect()
}

/// The most resets of one annotation.
const MAX_RESETS: usize = 16;

/// What [`RESET_BUDGET`] asks for, as (budget, id) pairs: `month:2026-11-23, day:a` or `*:1`. What stands behind the colon is
/// free, and tells one reset from the next: each is carried out once.
pub fn resets(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).take(MAX_RESETS);
    entries.map(|entry| (entry.split_once(':').map_or(entry, |(budget, _)| budget.trim_end()), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_told_apart_by_all_that_stands_there() {
        let all = |value| resets(value).collect::<Vec<_>>();
        assert_eq!(
            all(" month:2026-11-23 , day,,*:x:y"),
            [("month", "month:2026-11-23"), ("day", "day"), ("*", "*:x:y")]
        );
        assert_eq!(all(""), []);
        assert_eq!(all(&"a,".repeat(100)).len(), MAX_RESETS);
    }

    #[test]
    fn what_is_said_of_gateways_is_understood() {
        for versions in [BTreeMap::new(), BTreeMap::from([("", 1), ("0.1.0", 2)])] {
            assert_eq!(gateways_said(&gateways(&versions)), versions);
        }
        assert_eq!(gateways_said("a=b,c,0.1.0=3"), BTreeMap::from([("0.1.0", 3)]));
    }
}
