//! What people are told of a change of status: Events (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, FieldsV1, ObjectMeta};
use tollgate_crds::{
    annotations::RESET_BUDGET,
    api::{VirtualKeyStatus, virtual_key::BudgetStatus},
    conditions::{ACCEPTED, PROGRAMMED, RESOLVED_REFS, TOKEN_FIELD, TOKEN_MISSING, reasons},
};

/// One thing to tell of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look at it.
    pub warning: bool,
    /// Constant, for machines.
    pub reason: &'static str,
    /// What the operator did.
    pub action: &'static str,
    /// For people. Never a secret.
    pub note: String,
}

/// Reasons of Events that are no reasons of conditions.
pub mod event {
    /// A budget is used to 80 %.
    pub const NEARLY_USED_UP: &str = "BudgetNearlyUsedUp";
    /// A budget is used up.
    pub const USED_UP: &str = "BudgetUsedUp";
    /// A budget that people were told of starts anew.
    pub const BUDGET_RESET: &str = "BudgetReset";
    /// A reset of a budget was asked for.
    pub const RESET_ASKED: &str = "BudgetResetRequested";
    /// A key got its token.
    pub const TOKEN_GENERATED: &str = "TokenGenerated";
    /// A key got a new token.
    pub const TOKEN_ROTATED: &str = "TokenRotated";
    /// The token before a rotation is no longer valid.
    pub const TOKEN_EXPIRED: &str = "PreviousTokenExpired";
    /// A token cannot be generated or rotated.
    pub const TOKEN_REFUSED: &str = "TokenNotChanged";
}

/// The part of a budget, in percent, from which on people are warned.
const NEARLY: i64 = 80;
/// The longest note, in bytes; the API server takes no longer one.
const MAX_NOTE: usize = 1024;

/// What to tell of a key.
pub fn of_key(old: &VirtualKeyStatus, new: &VirtualKeyStatus) -> Vec<News> {
    let mut news = of_conditions(&old.conditions, &new.conditions);
    for budget in &new.budgets {
        let before = old.budgets.iter().find(|b| b.name == budget.name);
        news.extend(of_budget(before, budget));
    }
    news
}

fn of_budget(old: Option<&BudgetStatus>, new: &BudgetStatus) -> Option<News> {
    let before = old.map_or(0, |b| b.percent);
    let BudgetStatus { name, spent, limit, percent, .. } = new;
    let unit = match new.unit {
        tollgate_crds::api::virtual_key::Unit::Usd => "USD",
        tollgate_crds::api::virtual_key::Unit::Tokens => "tokens",
    };
    let resets = match &new.resets_at {
        Some(at) => format!("; it starts anew at {}", at.0),
        None => String::new(),
    };
    let used = format!("budget {name}: {spent} of {limit} {unit}");
    let told = |warning, reason, note| Some(News { warning, reason, action: "Account", note });
    match *percent {
        100.. if before < 100 => {
            told(true, event::USED_UP, format!("{used}: used up, requests are refused{resets}"))
        }
        NEARLY..100 if before < NEARLY => {
            told(true, event::NEARLY_USED_UP, format!("{used} ({percent} %){resets}"))
        }
        ..NEARLY if before >= NEARLY => {
            told(false, event::BUDGET_RESET, format!("{used}: there is room again"))
        }
        _ => None,
    }
}

/// What to tell of a reset that was asked for: by whom, as far as the object knows. The API server's audit log has the user.
pub fn of_reset(budget: &str, id: &str, metadata: &ObjectMeta) -> News {
    let mentions = |fields: &serde_json::Value| {
        fields
            .pointer("/f:metadata/f:annotations")
            .is_some_and(|a| a.get(format!("f:{RESET_BUDGET}")).is_some())
    };
    let by = metadata.managed_fields.iter().flatten().find_map(|entry| {
        let FieldsV1(fields) = entry.fields_v1.as_ref()?;
        mentions(fields).then(|| entry.manager.clone())?
    });
    let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
    let which = if budget == "*" { "all budgets".to_owned() } else { format!("budget {budget}") };
    let note = format!("{which}: reset asked for ({RESET_BUDGET}: {id}{by})");
    News { warning: false, reason: event::RESET_ASKED, action: "Reset", note: shortened(&note) }
}

/// What to tell of an object whose conditions change: what was refused, and by whom.
pub fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<News> {
    let told = |kind: &str, action: &'static str| {
        let now = new.iter().find(|c| c.type_ == kind && c.status == "False")?;
        let before = old.iter().find(|c| c.type_ == kind);
        let same =
            |c: &Condition| c.status == now.status && c.reason == now.reason && c.message == now.message;
        if before.is_some_and(same) || awaits_token(now) {
            return None;
        }
        Some(News { warning: true, reason: reason(&now.reason), action, note: shortened(&now.message) })
    };
    [told(ACCEPTED, "Compile"), told(RESOLVED_REFS, "Resolve"), told(PROGRAMMED, "Program")]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether nothing is amiss but a token that the operator is about to make, or has just made: what it cannot make it tells itself.
fn awaits_token(condition: &Condition) -> bool {
    let only = |message: &str| {
        let rest = message.strip_prefix(TOKEN_FIELD).and_then(|rest| rest.strip_prefix(": "));
        rest.is_some_and(|rest| rest.ends_with(TOKEN_MISSING))
    };
    condition.reason == reasons::SECRET_NOT_FOUND && only(&condition.message)
}

/// The constant that a condition's reason is.
fn reason(reason: &str) -> &'static str {
    reasons::ALL.iter().find(|known| **known == reason).copied().unwrap_or(reasons::INVALID)
}

fn shortened(note: &str) -> String {
    note.get(..note.floor_char_boundary(MAX_NOTE)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: i64) -> VirtualKeyStatus {
        let budgets = vec![BudgetStatus { name: "month".into(), percent, ..BudgetStatus::default() }];
        VirtualKeyStatus { budgets, ..VirtualKeyStatus::default() }
    }

    #[test]
    fn a_token_that_the_operator_makes_is_no_warning_and_other_secrets_are() {
        let condition = |message: &str| Condition {
            type_: RESOLVED_REFS.into(),
            status: "False".into(),
            reason: reasons::SECRET_NOT_FOUND.into(),
            message: message.into(),
            observed_generation: None,
            last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            ),
        };
        let token = "spec.token.secretRef: Secret eng/a does not exist; nobody can use the key's token";
        let route = "spec.models.allow[0]: ProviderRoute eng/x does not exist";
        assert!(of_conditions(&[], &[condition(token)]).is_empty());
        for message in [route.to_owned(), format!("{token}; {route}"), format!("{route}; {token}")] {
            assert_eq!(of_conditions(&[], &[condition(&message)]).len(), 1, "{message}");
        }
    }

    #[test]
    fn budgets_are_told_of_when_they_cross_a_line_and_only_then() {
        for (old, new, told) in [
            (0, 79, None),
            (79, 80, Some(event::NEARLY_USED_UP)),
            (80, 99, None),
            (99, 100, Some(event::USED_UP)),
            (0, 120, Some(event::USED_UP)),
            (100, 130, None),
            (100, 90, None),
            (100, 0, Some(event::BUDGET_RESET)),
            (79, 0, None),
        ] {
            let news = of_key(&budget(old), &budget(new));
            assert_eq!(news.first().map(|n| n.reason), told, "{old} -> {new}");
        }
    }
}
