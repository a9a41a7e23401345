//! What a status says of an object: condition types, reasons, and how new states are merged into those that stand there.
//!
//! Types and reasons are API: scripts and alerts match on them, so they are constants here and nowhere else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec is valid and complete.
pub const ACCEPTED: &str = "Accepted";
/// Everything the object names exists and may be used.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// All gateways have it. False only when one refused it, or after 30 s of lag; never because a pod starts.
pub const PROGRAMMED: &str = "Programmed";
/// The summary, for people: the object is in force.
pub const READY: &str = "Ready";

/// The field of a key whose token is not there, and what its message ends with. The operator makes the token, so that this alone is no
/// reason to call anybody.
pub const TOKEN_FIELD: &str = "spec.token.secretRef";
/// See [`TOKEN_FIELD`].
pub const TOKEN_MISSING: &str = "nobody can use the key's token";

/// Constant reasons, in the order of the conditions they belong to.
pub mod reasons {
    /// `Accepted`: the spec is valid.
    pub const ACCEPTED: &str = "Accepted";
    /// `Accepted`: a field is wrong; the message names it.
    pub const INVALID: &str = "Invalid";
    /// `Accepted`: a field is known but not supported yet; the message names it.
    pub const NOT_SUPPORTED: &str = "NotSupported";
    /// `Accepted`: another object has what this one claims (a token, a ServiceAccount, a name).
    pub const CONFLICT: &str = "Conflict";
    /// `Accepted`: the token has fewer characters than a cluster requires.
    pub const TOKEN_TOO_SHORT: &str = "TokenTooShort";
    /// `Accepted`: the parents of the key form a circle.
    pub const PARENT_CYCLE: &str = "ParentCycle";
    /// `Accepted`: the key has more parents above it than the limit.
    pub const PARENT_TOO_DEEP: &str = "ParentTooDeep";

    /// `Accepted`: the operator's configuration does not allow the image of a server over standard input and output.
    pub const IMAGE_NOT_ALLOWED: &str = "ImageNotAllowed";

    /// `ResolvedRefs`: all that the object names was found.
    pub const RESOLVED: &str = "Resolved";
    /// `ResolvedRefs`: a Secret or the key within it is missing.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// `ResolvedRefs`: the parent does not exist, and so the key is denied.
    pub const PARENT_NOT_FOUND: &str = "ParentNotFound";
    /// `ResolvedRefs`: a key further up the tree has no parent, or a circle of them, and so this one is denied too.
    pub const PARENT_DENIED: &str = "ParentDenied";
    /// `ResolvedRefs`: something that only objects of platform namespaces may do does not count for this one.
    pub const PLATFORM_ONLY: &str = "PlatformNamespacesOnly";
    /// `ResolvedRefs`: an object in another namespace has not agreed to be used from this one.
    pub const NOT_ALLOWED: &str = "NotAllowedByNamespace";
    /// `ResolvedRefs`: a ProviderRoute does not exist.
    pub const ROUTE_NOT_FOUND: &str = "RouteNotFound";
    /// `ResolvedRefs`: an McpServer does not exist.
    pub const SERVER_NOT_FOUND: &str = "ServerNotFound";
    /// `ResolvedRefs`: a rule of a key gives or takes no tool, whatever the server has.
    pub const TOOL_NOT_FOUND: &str = "ToolNotFound";
    /// `ResolvedRefs`: a provider takes no requests without a credential, and the backend names none.
    pub const CREDENTIALS_MISSING: &str = "CredentialsMissing";
    /// `ResolvedRefs`: a model of the route is served by none of its backends.
    pub const NOT_SERVED: &str = "NotServed";
    /// `ResolvedRefs`: nothing here runs the server's command.
    pub const NOT_RUN: &str = "NotRun";

    /// `Programmed`: every gateway has it.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Programmed`: not all gateways have reported yet.
    pub const PENDING: &str = "Pending";
    /// `Programmed`: a gateway refused it; the message says why.
    pub const REJECTED: &str = "Rejected";

    /// `Ready`: in force.
    pub const READY: &str = "Ready";
    /// `Ready`: the Deployment of a server over standard input and output is not available; the message says why.
    pub const NOT_RUNNING: &str = "NotRunning";
    /// `Ready`: switched off, by `disabled` here or in a parent.
    pub const DISABLED: &str = "Disabled";
    /// `Ready`: past `expiresAt`, here or in a parent.
    pub const EXPIRED: &str = "Expired";

    /// All of them.
    pub const ALL: [&str; 27] = [
        ACCEPTED,
        INVALID,
        NOT_SUPPORTED,
        CONFLICT,
        TOKEN_TOO_SHORT,
        PARENT_CYCLE,
        PARENT_TOO_DEEP,
        IMAGE_NOT_ALLOWED,
        RESOLVED,
        SECRET_NOT_FOUND,
        PARENT_NOT_FOUND,
        PARENT_DENIED,
        PLATFORM_ONLY,
        NOT_ALLOWED,
        ROUTE_NOT_FOUND,
        SERVER_NOT_FOUND,
        TOOL_NOT_FOUND,
        CREDENTIALS_MISSING,
        NOT_SERVED,
        NOT_RUN,
        PROGRAMMED,
        PENDING,
        REJECTED,
        READY,
        NOT_RUNNING,
        DISABLED,
        EXPIRED,
    ];
}

/// True, false, or not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows yet.
    Unknown,
}

/// A condition without its times: what a pure function can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// One of the condition types above.
    pub kind: &'static str,
    /// Whether it holds.
    pub truth: Truth,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// For people: what, where, and what to do. Never a secret.
    pub message: String,
}

/// The API server takes no longer messages.
const MAX_MESSAGE: usize = 32_768;

/// The conditions to write: those of `states` with their times, and those of `old` that `states` does not speak of.
///
/// `lastTransitionTime` is kept while a condition's status stays the same, as the Kubernetes conventions want it; compare the
/// outcome with `old` by [`same`] before writing it, so that a status is not written for nothing.
pub fn merge(old: &[Condition], states: &[State], generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let mut merged: Vec<Condition> =
        old.iter().filter(|c| !states.iter().any(|s| s.kind == c.type_)).cloned().collect();
    merged.extend(states.iter().map(|state| {
        let before = old.iter().find(|c| c.type_ == state.kind && c.status == state.truth.as_str());
        Condition {
            type_: state.kind.to_owned(),
            status: state.truth.as_str().to_owned(),
            reason: state.reason.to_owned(),
            message: shortened(&state.message),
            observed_generation: generation,
            last_transition_time: before.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
        }
    }));
    merged.sort_by_key(|c| order(&c.type_));
    merged
}

/// Whether two sets of conditions say the same, whatever their times and order.
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    let says = |c: &Condition, d: &Condition| {
        c.type_ == d.type_
            && c.status == d.status
            && c.reason == d.reason
            && c.message == d.message
            && c.observed_generation == d.observed_generation
    };
    a.len() == b.len() && a.iter().all(|c| b.iter().any(|d| says(c, d)))
}

/// The order in which people read them.
fn order(kind: &str) -> usize {
    [ACCEPTED, RESOLVED_REFS, PROGRAMMED, READY].iter().position(|k| *k == kind).unwrap_or(usize::MAX)
}

/// The message, cut at a character when it is too long to be written.
fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8());
    format!("{}…", message.get(..end).unwrap_or_default())
}

// === impl Truth ===

impl Truth {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

// === impl State ===

impl State {
    /// The condition holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        State { kind, truth: Truth::True, reason, message: message.into() }
    }

    /// The condition does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        State { kind, truth: Truth::False, reason, message: message.into() }
    }

    /// Nobody knows yet whether the condition holds.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        State { kind, truth: Truth::Unknown, reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let first = merge(&[], &[State::no(ACCEPTED, reasons::INVALID, "a")], Some(1), &at(1));
        let second = merge(&first, &[State::no(ACCEPTED, reasons::CONFLICT, "b")], Some(2), &at(2));
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), (reasons::CONFLICT, Some(2)));
        let third = merge(&second, &[State::yes(ACCEPTED, reasons::ACCEPTED, "")], Some(3), &at(3));
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn conditions_of_others_stay_and_the_order_is_fixed() {
        let old = merge(&[], &[State::yes(PROGRAMMED, reasons::PROGRAMMED, "")], Some(1), &at(1));
        let states = [State::yes(READY, reasons::READY, ""), State::yes(ACCEPTED, reasons::ACCEPTED, "")];
        let merged = merge(&old, &states, Some(2), &at(2));
        let types: Vec<_> = merged.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, [ACCEPTED, PROGRAMMED, READY]);
        assert_eq!(merged[1].observed_generation, Some(1));
    }

    #[test]
    fn sameness_ignores_times_and_order_only() {
        let states = [State::yes(READY, reasons::READY, ""), State::yes(ACCEPTED, reasons::ACCEPTED, "")];
        let a = merge(&[], &states, Some(1), &at(1));
        let mut b = merge(&[], &states, Some(1), &at(2));
        b.reverse();
        assert!(same(&a, &b));
        b[0].message = "x".to_owned();
        assert!(!same(&a, &b));
        assert!(!same(&a, &a[..1]));
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let long = State::yes(READY, reasons::READY, "ä".repeat(MAX_MESSAGE));
        let merged = merge(&[], &[long], None, &at(1));
        assert!(merged[0].message.len() <= MAX_MESSAGE && merged[0].message.ends_with("ä…"));
    }
}
