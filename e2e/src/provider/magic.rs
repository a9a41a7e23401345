//! Magic words: what a person (or the demo) writes into a prompt to steer the fake provider.
//!
//! | words | effect |
//! |---|---|
//! | `[[say:TEXT]]` | answers TEXT |
//! | `[[think:TEXT]]` | reasons TEXT before answering |
//! | `[[tool:NAME {"json":"arguments"}]]` | calls a tool; several: in parallel |
//! | `[[status:529]]` | answers this error; 429 and 5xx only the first time, so that a retry succeeds |
//! | `[[break]]` | breaks the stream off in its middle |
//! | `[[slow:SECONDS]]` | falls silent in the middle of the stream |
//! | `[[garbage]]` | answers bytes that are no JSON |
//! | `[[usage:INPUT,OUTPUT]]` | reports these tokens |
//! | `[[deltas:N]]` | streams in N pieces |
//! | `[[every:MS]]` | so many milliseconds between the stream's events |

use super::{Reply, ToolCall, UsageSpec};
use serde_json::Value;

/// The most words read from one message.
const MAX_WORDS: usize = 32;

/// The reply that the words in `text` ask for, when there is one. `first` says whether a failure is due (false for
/// the retry of a message that failed already).
pub fn reply(text: &str, first: impl FnOnce() -> bool) -> Option<Reply> {
    let words = words(text);
    if words.is_empty() {
        return None;
    }
    let mut reply = Reply::default();
    for word in words {
        apply(&mut reply, word);
    }
    let passing = reply.status.is_some_and(|s| s == 429 || s >= 500);
    if passing && !first() {
        reply.status = None;
    }
    Some(reply)
}

fn words(text: &str) -> Vec<&str> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once("[[") {
        let Some((word, next)) = after.split_once("]]") else { break };
        found.push(word);
        rest = next;
        if found.len() >= MAX_WORDS {
            break;
        }
    }
    found
}

fn apply(reply: &mut Reply, word: &str) {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    match name {
        "say" => reply.text = Some(value.to_owned()),
        "think" => reply.thinking = Some(value.to_owned()),
        "tool" => reply.tools.extend(tool(value)),
        "status" => {
            reply.status = value.parse().ok();
            reply.message = Some(format!("the prompt asked for status {value}"));
        }
        "break" => reply.break_after = Some(4),
        "slow" => {
            reply.pause_after = Some(4);
            reply.pause_ms = value.parse::<u64>().unwrap_or(10).saturating_mul(1000);
        }
        "garbage" => reply.body = Some("<html><body>502 Bad Gateway</body></html>".to_owned()),
        "usage" => {
            let (input, output) = value.split_once(',').unwrap_or((value, "1"));
            let parse = |n: &str| n.trim().parse().unwrap_or(1);
            reply.usage =
                Some(UsageSpec { input: parse(input), output: parse(output), ..UsageSpec::default() });
        }
        "deltas" => reply.deltas = value.parse().ok(),
        "every" => reply.every_ms = value.parse().unwrap_or(0),
        _ => {}
    }
}

fn tool(value: &str) -> Option<ToolCall> {
    let (name, input) = value.split_once(' ').unwrap_or((value, "{}"));
    let input: Value = serde_json::from_str(input).ok()?;
    Some(ToolCall { name: name.to_owned(), input, id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_reply() {
        let text =
            r#"please [[tool:Read {"file_path":"/a"}]] and [[tool:Bash]] [[usage:10,20]] [[think:hm]]"#;
        let got = reply(text, || true).unwrap();
        assert_eq!(got.tools.len(), 2);
        assert_eq!(got.tools[0].input["file_path"], "/a");
        assert_eq!(got.usage.unwrap().output, 20);
        assert_eq!(got.thinking.as_deref(), Some("hm"));
        assert!(reply("nothing here", || true).is_none());
        assert!(reply("[[unclosed", || true).is_none());
    }

    #[test]
    fn a_passing_failure_passes() {
        assert_eq!(reply("[[status:529]]", || true).unwrap().status, Some(529));
        assert_eq!(reply("[[status:529]]", || false).unwrap().status, None);
        assert_eq!(reply("[[status:400]]", || false).unwrap().status, Some(400));
    }
}
