//! Reasoning of a Messages request: `thinking` and `output_config.effort`, by model.

use super::models::{Claude, ThinkingStyle};
use crate::raw::Object;
use crate::request::conversation::{Block, Conversation, Effort, Role};
use crate::request::report::{Field, Report};

/// The least budget that Anthropic takes.
const LEAST_BUDGET: u64 = 1024;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reasoning {
    pub(super) thinking: Option<Sent>,
    pub(super) effort: Option<Effort>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Disabled,
    Adaptive,
    Budget(u64),
}

/// Decides what is sent for the client's effort. `cap`: the output cap of the request.
pub(super) fn decide(
    conversation: &Conversation<'_>,
    claude: &Claude,
    cap: u64,
    report: &mut Report,
) -> Reasoning {
    let Some(asked) = conversation.effort else { return Reasoning::default() };
    match (claude.thinking, asked) {
        (ThinkingStyle::None, Effort::None) => Reasoning::default(),
        (ThinkingStyle::None, _) => {
            report.lost_field(Field::Effort, "dropped: the model does not reason");
            Reasoning::default()
        }
        (ThinkingStyle::Always, Effort::None) => {
            report.lost_field(Field::Effort, "low: the model cannot be kept from reasoning");
            Reasoning { thinking: Some(Sent::Adaptive), effort: Effort::Low.clamp_to(claude.efforts) }
        }
        (_, Effort::None) => Reasoning { thinking: Some(Sent::Disabled), effort: None },
        (ThinkingStyle::Adaptive | ThinkingStyle::Always, _) => {
            Reasoning { thinking: Some(Sent::Adaptive), effort: clamped(asked, claude, report) }
        }
        (ThinkingStyle::Budget, _) => {
            let thinking = budget(conversation, asked, cap, report).map(Sent::Budget);
            Reasoning {
                thinking,
                effort: if claude.efforts.is_empty() { None } else { clamped(asked, claude, report) },
            }
        }
    }
}

fn clamped(asked: Effort, claude: &Claude, report: &mut Report) -> Option<Effort> {
    let sent = asked.clamp_to(claude.efforts)?;
    if sent < asked {
        report.lost_field(
            Field::Effort,
            format!("lowered from {} to {}: the model's highest", asked.as_str(), sent.as_str()),
        );
    }
    Some(sent)
}

/// A share of the output cap, at least 1024 and below the cap.
fn budget(conversation: &Conversation<'_>, asked: Effort, cap: u64, report: &mut Report) -> Option<u64> {
    if lacks_thinking(conversation) {
        report.mended("reasoning_effort", "dropped: the tool calls in hand were made without reasoning");
        return None;
    }
    if cap <= LEAST_BUDGET {
        report.lost_field(Field::Effort, "dropped: the output cap leaves no room to reason");
        return None;
    }
    let permille = match asked {
        Effort::None | Effort::Minimal => 25,
        Effort::Low => 150,
        Effort::Medium => 425,
        Effort::High | Effort::Xhigh | Effort::Max => 800,
    };
    let room = cap - LEAST_BUDGET;
    Some((LEAST_BUDGET + room / 1000 * permille + room % 1000 * permille / 1000).min(cap - 1))
}

/// In the middle of a tool loop Anthropic wants the thinking that led to the calls; clients of other formats do not keep it.
fn lacks_thinking(conversation: &Conversation<'_>) -> bool {
    let last = conversation.turns.iter().rfind(|turn| turn.role == Role::Assistant);
    let in_hand = conversation
        .turns
        .last()
        .is_some_and(|turn| turn.blocks.iter().any(|block| matches!(block, Block::ToolResult(_))));
    in_hand
        && last.is_some_and(|turn| {
            let begins = turn.blocks.first();
            !matches!(begins, Some(Block::Thinking { .. } | Block::RedactedThinking { .. }))
        })
}

// === impl Reasoning ===

impl Reasoning {
    pub(super) fn thinks(self) -> bool {
        matches!(self.thinking, Some(Sent::Adaptive | Sent::Budget(_)))
    }

    pub(super) fn write(self, body: &mut Object<'_>) {
        let Some(sent) = self.thinking else { return };
        let mut thinking = body.object("thinking");
        match sent {
            Sent::Disabled => drop(thinking.str("type", "disabled")),
            Sent::Adaptive => drop(thinking.str("type", "adaptive")),
            Sent::Budget(tokens) => drop(thinking.str("type", "enabled").number("budget_tokens", tokens)),
        }
        thinking.end();
    }
}
