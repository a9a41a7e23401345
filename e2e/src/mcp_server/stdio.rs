//! The fake over standard input and output, with tools that misbehave:
//!
//! | tool | what it does |
//! |---|---|
//! | `test_exit` | ends the process with status 7, without an answer |
//! | `test_garbage` | writes lines that are no messages, then the answer |
//! | `test_huge` | answers with a line of `bytes` bytes |
//! | `test_sleep` | shows progress, then answers after `ms`, unless it is cancelled |
//! | `test_cancelled` | the ids of requests that were cancelled |
//! | `test_count` | how often it was called in this process |
//! | `test_ask` | asks its client (`ping`, or `elicitation/create` when `elicit`), then answers with what came back |

use super::{Options, State, rpc};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    sync::Arc,
    time::{Duration, Instant},
};

/// What the threads of calls share.
#[derive(Debug, Default)]
struct Shared {
    cancelled: Vec<Value>,
    answers: Vec<Value>,
    count: u64,
}

/// Serves until its input ends.
///
/// # Errors
/// When its output is closed.
pub fn run(name: &str) -> anyhow::Result<()> {
    let state = Arc::new(State::new(Options::named(name)));
    let shared = Arc::new(Mutex::new(Shared::default()));
    eprintln!("{name} is up");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            eprintln!("not a message: {line}");
            continue;
        };
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        match (message.get("id").cloned(), method.as_str()) {
            (Some(_), "") => shared.lock().answers.push(message),
            (None, "notifications/cancelled") => {
                let id = message.pointer("/params/requestId").cloned().unwrap_or_default();
                shared.lock().cancelled.push(id);
            }
            (None, _) => {}
            (Some(id), _) => {
                let (state, shared) = (state.clone(), shared.clone());
                std::thread::spawn(move || request(&state, &shared, &id, &method, &message));
            }
        }
    }
    Ok(())
}

fn request(state: &State, shared: &Mutex<Shared>, id: &Value, method: &str, message: &Value) {
    let empty = json!({});
    let params = message.get("params").unwrap_or(&empty);
    let tool = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let outcome = match (method, tool) {
        ("tools/call", tool) if tool.starts_with("test_") => match misbehave(shared, id, tool, params) {
            Some(value) => {
                Ok(json!({"content": [{"type": "text", "text": value.to_string()}], "isError": false}))
            }
            None => return,
        },
        _ => rpc::answer(state, method, params, None).map(|mut result| {
            if let Some(tools) = result.get_mut("tools").and_then(Value::as_array_mut) {
                tools.push(
                    json!({"name": "test_count", "description": "Counts", "inputSchema": {"type": "object"}}),
                );
            }
            result
        }),
    };
    say(&match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, words)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": words}}),
    });
}

/// What a tool answers; `None`: nothing.
fn misbehave(shared: &Mutex<Shared>, id: &Value, tool: &str, params: &Value) -> Option<Value> {
    let argument = |name: &str| params.pointer(&format!("/arguments/{name}")).cloned().unwrap_or_default();
    match tool {
        "test_exit" => std::process::exit(7),
        "test_garbage" => {
            for line in ["DEBUG: hello", "{\"jsonrpc\": \"2.0\", \"id\"", "[]", "{}", ""] {
                raw(line);
            }
            Some(json!("after garbage"))
        }
        "test_huge" => Some(json!("x".repeat(usize::try_from(argument("bytes").as_u64()?).ok()?))),
        "test_count" => {
            let mut shared = shared.lock();
            shared.count += 1;
            Some(json!({"count": shared.count, "pid": std::process::id()}))
        }
        "test_cancelled" => Some(json!(shared.lock().cancelled)),
        "test_sleep" => {
            if let Some(token) = params.pointer("/_meta/progressToken") {
                let params = json!({"progressToken": token, "progress": 1, "total": 2});
                say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
            }
            let done = Instant::now() + Duration::from_millis(argument("ms").as_u64().unwrap_or(1000));
            while Instant::now() < done {
                if shared.lock().cancelled.contains(id) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Some(json!("slept"))
        }
        "test_ask" => {
            let method = if argument("elicit") == json!(true) { "elicitation/create" } else { "ping" };
            say(&json!({"jsonrpc": "2.0", "id": "ask-1", "method": method, "params": {}}));
            loop {
                if let Some(answer) = shared.lock().answers.pop() {
                    return Some(answer);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        _ => Some(json!("no such test tool")),
    }
}

fn say(message: &Value) {
    raw(&message.to_string());
}

fn raw(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
