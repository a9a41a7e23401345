//! The tools that the MCP conformance suite calls by their names, as its scenarios describe them.

use serde_json::{Value, json};

/// A red pixel as PNG.
const IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A WAV file without a sample.
const AUDIO: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// The tools that answer without asking back.
const PLAIN: [(&str, &str); 8] = [
    ("test_simple_text", "Answers text"),
    ("test_image_content", "Answers an image"),
    ("test_audio_content", "Answers sound"),
    ("test_embedded_resource", "Answers a resource"),
    ("test_multiple_content_types", "Answers text, an image and a resource"),
    ("test_tool_with_logging", "Logs as it works"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_progress", "Tells of its progress"),
];

/// The tools that ask the client's model or its user.
const ASKING: [(&str, &str, &str); 4] = [
    ("test_sampling", "Asks the client's model", "sampling"),
    ("test_elicitation", "Asks the user", "elicitation"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults", "elicitation"),
    ("test_elicitation_sep1330_enums", "Asks the user, with choices", "elicitation"),
];

/// All definitions.
pub fn tools() -> Vec<Value> {
    let tool = |name: &str, description: &str| json!({"name": name, "description": description, "inputSchema": {"type": "object", "properties": {}}});
    let plain = PLAIN.iter().map(|(name, description)| tool(name, description));
    let asking = ASKING.iter().map(|(name, description, _)| tool(name, description));
    let schema = json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
            "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
            "additionalProperties": false,
        },
    });
    plain.chain(asking).chain([schema]).collect()
}

/// A tool's result, for a client that offers these capabilities; `None`: there is no such tool.
pub fn call(tool: &str, capabilities: &Value) -> Option<Value> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image", "data": IMAGE, "mimeType": "image/png"});
    let resource = |name: &str, mime: &str, text: &str| json!({"type": "resource", "resource": {"uri": format!("test://{name}"), "mimeType": mime, "text": text}});
    let content = match tool {
        "test_simple_text" => json!([text("This is a simple text response for testing.")]),
        "test_image_content" => json!([image]),
        "test_audio_content" => json!([{"type": "audio", "data": AUDIO, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => {
            json!([resource("embedded-resource", "text/plain", "This is an embedded resource content.")])
        }
        "test_multiple_content_types" => {
            let data =
                resource("mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#);
            json!([text("Multiple content types test:"), image, data])
        }
        "test_error_handling" => {
            let words = "This tool intentionally returns an error for testing";
            return Some(json!({"content": [text(words)], "isError": true}));
        }
        "test_tool_with_logging" | "test_tool_with_progress" | "json_schema_2020_12_tool" => {
            json!([text("Done.")])
        }
        _ => {
            let (_, _, asked) = ASKING.iter().find(|(name, ..)| *name == tool)?;
            // Nothing here asks back: a client that offers it would have to be a reason to build that.
            let words = match capabilities.get(*asked) {
                Some(_) => format!("this fake does not ask for {asked}"),
                None => format!("the client offers no {asked}"),
            };
            return Some(json!({"content": [text(&words)], "isError": true}));
        }
    };
    Some(json!({"content": content}))
}

/// What is told before a tool's result; `None`: its answer is no stream.
pub fn news(tool: &str, params: &Value) -> Option<Vec<Value>> {
    let notification =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
    match tool {
        "test_tool_with_logging" => {
            let lines = ["Tool execution started", "Tool processing data", "Tool execution completed"];
            let line = |data| notification("notifications/message", json!({"level": "info", "data": data}));
            Some(lines.map(line).into())
        }
        "test_tool_with_progress" => {
            let token = params.pointer("/_meta/progressToken")?;
            let progress = |done: u64| {
                let params = json!({"progressToken": token, "progress": done, "total": 100});
                notification("notifications/progress", params)
            };
            Some([0, 50, 100].map(progress).into())
        }
        _ => None,
    }
}
