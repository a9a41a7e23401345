//! MCP servers.

use super::{Row, STANDALONE, check};

/// How a server is reached.
const TRANSPORTS: &[Row] = &[
    ("{streamableHttp: {url: 'http://localhost:9000/mcp'}, description: Staging database}", &[]),
    ("{}", &["Accepted Invalid spec: names no transport"]),
    (
        "{streamableHttp: {url: 'https://x.com/mcp'}, sse: {url: 'https://x.com/sse'}}",
        &[
            "Accepted NotSupported spec.sse: ",
            "Accepted Invalid spec: names several transports: streamableHttp, sse",
        ],
    ),
    (
        "{stdio: {image: example/mcp, command: [mcp]}}",
        &["ResolvedRefs NotRun spec.stdio: commands are not run"],
    ),
    (
        "{streamableHttp: {url: mcp.example.com}}",
        &["Accepted Invalid spec.streamableHttp.url: `mcp.example.com` must begin"],
    ),
    (
        "{streamableHttp: {uri: 'https://x.com'}}",
        &[
            "Accepted Invalid spec.streamableHttp.uri: unknown field `uri`",
            "Accepted Invalid spec.streamableHttp.url: missing field `url`",
        ],
    ),
];

/// What is shown to it, which of its tools count, what happens when it fails.
const REST: &[Row] = &[
    (
        "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: 'X Y', secretRef: {name: creds, key: key}}}}",
        &["Accepted Invalid spec.auth.header.name: `X Y` is not the name of a header"],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: Host, secretRef: {name: creds, key: key}}}}",
        &["Accepted Invalid spec.auth.header.name: `Host` is set by the gateway itself"],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: Authorization, secretRef: {name: no, key: key}}}}",
        &[
            "ResolvedRefs SecretNotFound spec.auth.header.secretRef: Secret default/no does not exist; the server is off",
        ],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, tools: {allow: ['a[b]']}}",
        &["Accepted Invalid spec.tools.allow[0]: `a[b]` contains `[`"],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, tools: {pin: Strict}}",
        &["Accepted NotSupported spec.tools.pin: "],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, tools: {prices: [{tool: a, usd: '1'}]}}",
        &["Accepted NotSupported spec.tools.prices: "],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, timeouts: {call: soon}}",
        &["Accepted Invalid spec.timeouts.call: `soon` is not a duration"],
    ),
    (
        "{streamableHttp: {url: 'https://x.com'}, failureMode: open}",
        &["Accepted Invalid spec.failureMode: unknown variant `open`"],
    ),
    ("{streamableHttp: {url: 'https://x.com'}, naming: {mode: None}}", &[]),
];

#[test]
fn the_transports_of_servers() {
    check("McpServer", STANDALONE, TRANSPORTS);
}

#[test]
fn everything_else_of_servers() {
    check("McpServer", STANDALONE, REST);
}
