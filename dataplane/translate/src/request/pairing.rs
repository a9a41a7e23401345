//! Makes the history legal: every tool call is answered exactly once, at once, and under an id of its own
//! (reference: translation.md §2.7). Clients that were interrupted, or cut their history, send other things.

use super::conversation::{Block, Conversation, Role, ToolResult, Turn};
use super::names::call_id;
use super::report::Report;
use crate::raw::Text;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

/// What a call without a result is answered with.
const MISSING: &str = "No result was recorded for this tool call: it was interrupted.";

/// Calls of one assistant turn that wait for their results: client's id → our ids, in order.
type Waiting = HashMap<String, VecDeque<String>>;

/// The ids of calls so far.
#[derive(Debug, Default)]
struct Ids {
    used: HashSet<String>,
    /// How often a client's id came: where to go on looking for a free one, so that repeats stay cheap.
    seen: HashMap<String, u64>,
}

/// Repairs the turns. Ids come out as `[a-zA-Z0-9_-]{1,id_max}`.
pub(crate) fn repair(conversation: &mut Conversation<'_>, id_max: usize, report: &mut Report) {
    let turns = merge_assistants(std::mem::take(&mut conversation.turns));
    let mut ids = Ids::default();
    let mut out: Vec<Turn<'_>> = Vec::with_capacity(turns.len() + 1);
    let mut turns = turns.into_iter().peekable();
    while let Some(mut turn) = turns.next() {
        if turn.role != Role::Assistant {
            drop_results(&mut turn, report);
            out.push(turn);
            continue;
        }
        let (order, waiting) = rename_calls(&mut turn, id_max, &mut ids);
        let calls = !order.is_empty();
        out.push(turn);
        let mut replies = Vec::new();
        while let Some(reply) = turns.next_if(|next| next.role != Role::Assistant) {
            replies.push(reply);
        }
        if calls {
            answer(&order, waiting, &mut replies, report);
        } else {
            replies.iter_mut().for_each(|reply| drop_results(reply, report));
        }
        out.append(&mut replies);
    }
    out.retain(|turn| !turn.blocks.is_empty());
    conversation.turns = out;
}

/// Joins assistant turns that follow one another: some clients send parallel calls one turn each.
fn merge_assistants(turns: Vec<Turn<'_>>) -> Vec<Turn<'_>> {
    let mut out: Vec<Turn<'_>> = Vec::with_capacity(turns.len());
    for mut turn in turns {
        match out.last_mut() {
            Some(last) if last.role == Role::Assistant && turn.role == Role::Assistant => {
                let ends_in_text = matches!(last.blocks.last(), Some(Block::Text { .. }));
                if ends_in_text && matches!(turn.blocks.first(), Some(Block::Text { .. })) {
                    last.blocks.push(Block::text("\n\n"));
                }
                last.blocks.append(&mut turn.blocks);
            }
            _ => out.push(turn),
        }
    }
    out
}

/// Gives every call of the turn an id that is legal and was not used before.
fn rename_calls(turn: &mut Turn<'_>, id_max: usize, ids: &mut Ids) -> (Vec<String>, Waiting) {
    let mut order = Vec::new();
    let mut waiting = Waiting::new();
    for block in &mut turn.blocks {
        let Block::ToolUse(call) = block else { continue };
        let client = call.id.clone().into_owned();
        let id = ids.fresh(&client, id_max);
        call.id = Cow::Owned(id.clone());
        order.push(id.clone());
        waiting.entry(client).or_default().push_back(id);
    }
    (order, waiting)
}

/// Puts the results of all calls right behind them: at the head of the first reply, or in a turn of their own when
/// instructions come first.
fn answer<'a>(order: &[String], mut waiting: Waiting, replies: &mut Vec<Turn<'a>>, report: &mut Report) {
    let mut results = Vec::with_capacity(order.len());
    for reply in replies.iter_mut() {
        let mut rest = Vec::with_capacity(reply.blocks.len());
        for block in reply.blocks.drain(..) {
            match block {
                Block::ToolResult(mut result) => {
                    match waiting.get_mut(result.id.as_ref()).and_then(VecDeque::pop_front) {
                        Some(id) => {
                            result.id = Cow::Owned(id);
                            results.push(result);
                        }
                        None => orphan(report),
                    }
                }
                other => rest.push(other),
            }
        }
        reply.blocks = rest;
    }
    let open: HashSet<String> = waiting.into_values().flatten().collect();
    for id in order.iter().filter(|id| open.contains(*id)) {
        report.mended("messages.content.tool_result", "added: a tool call had no result");
        let content = vec![Block::Text { text: Text::from(MISSING), cache: None }];
        results.push(ToolResult { id: Cow::Owned(id.clone()), is_error: true, content });
    }
    let results = results.into_iter().map(Block::ToolResult);
    match replies.first_mut() {
        Some(first) if first.role == Role::User => {
            first.blocks.splice(0..0, results);
        }
        _ => replies.insert(0, Turn { role: Role::User, blocks: results.collect() }),
    }
}

fn drop_results(turn: &mut Turn<'_>, report: &mut Report) {
    turn.blocks.retain(|block| {
        let is_result = matches!(block, Block::ToolResult(_));
        if is_result {
            orphan(report);
        }
        !is_result
    });
}

fn orphan(report: &mut Report) {
    report.mended("messages.content.tool_result", "dropped: it answers no tool call of the turn before");
}

// === impl Ids ===

impl Ids {
    /// A legal id that no call had before: the client's own where that is possible.
    fn fresh(&mut self, client: &str, id_max: usize) -> String {
        let seen = self.seen.entry(client.to_owned()).or_default();
        loop {
            *seen += 1;
            let wanted =
                if *seen == 1 { Cow::Borrowed(client) } else { Cow::Owned(format!("{client}_{seen}")) };
            let id = call_id(wanted, id_max).into_owned();
            if self.used.insert(id.clone()) {
                return id;
            }
        }
    }
}
