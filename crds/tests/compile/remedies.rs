//! Manifests that would be accepted and then do nothing, or fail at the first request: each is told what to write instead.

use super::cases::check;
use tollgate_crds::compile::Options;

#[test]
fn tools_that_nobody_gets() {
    check(
        "VirtualKey",
        Options::CLUSTER,
        &[
            (
                "{tools: [{server: tools}]}",
                &[
                    "ResolvedRefs ToolNotFound spec.tools[0]: gives no tool of `tools`: write allow: [\"*\"] for all of them",
                ],
            ),
            (
                "{tools: [{server: tools, allow: [query, tools__list], deny: [mcp__tollgate__tools__drop]}]}",
                &[
                    "ResolvedRefs ToolNotFound spec.tools[0].allow[1]: `tools__list` is the name that clients see, and matches nothing here: write `list`",
                    "ResolvedRefs ToolNotFound spec.tools[0].deny[0]: `mcp__tollgate__tools__drop` is the name that clients see, and matches nothing here: write `drop`",
                ],
            ),
            ("{tools: [{server: tools, allow: ['*', 'other__query', 'list_*']}]}", &[]),
        ],
    );
}

#[test]
fn endpoints_that_lead_nowhere() {
    check(
        "ProviderRoute",
        Options::STANDALONE,
        &[
            (
                "{backends: [{name: a, anthropic: {}, endpoint: 'https://api.anthropic.com/v1'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `https://api.anthropic.com/v1` is too long: the gateway appends `/v1/messages`, so write `https://api.anthropic.com`",
                ],
            ),
            (
                "{backends: [{name: a, anthropic: {}, endpoint: 'https://x.com/v1/messages'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `https://x.com/v1/messages` is too long: the gateway appends `/v1/messages`, so write `https://x.com`",
                ],
            ),
            (
                "{backends: [{name: a, openAICompatible: {}, endpoint: 'https://x.com/v1/chat/completions'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `https://x.com/v1/chat/completions` is too long: the gateway appends `/chat/completions`, so write `https://x.com/v1`",
                ],
            ),
            (
                "{backends: [{name: a, openAI: {}, endpoint: 'https://api.openai.com'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `https://api.openai.com` is too short: the gateway appends `/chat/completions`, so write `https://api.openai.com/v1`",
                ],
            ),
            ("{backends: [{name: a, openAI: {}, endpoint: 'https://api.openai.com/v1'}]}", &[]),
            ("{backends: [{name: a, openAICompatible: {}, endpoint: 'http://localhost:8000'}]}", &[]),
            ("{backends: [{name: a, anthropic: {}, endpoint: 'https://x.com/v1/anthropic'}]}", &[]),
        ],
    );
}

#[test]
fn a_provider_without_a_key_is_no_backend() {
    check(
        "ProviderRoute",
        Options::CLUSTER,
        &[
            (
                "{backends: [{name: a, anthropic: {}}, {name: b, openAI: {}, endpoint: 'https://api.openai.com/v1'}]}",
                &[
                    "ResolvedRefs CredentialsMissing spec.backends[0].credentials: is missing: https://api.anthropic.com takes no request without a key; backend `a` is off",
                    "ResolvedRefs CredentialsMissing spec.backends[1].credentials: is missing: https://api.openai.com takes no request without a key; backend `b` is off",
                ],
            ),
            ("{backends: [{name: a, anthropic: {}, endpoint: 'https://proxy.example.com'}]}", &[]),
            (
                "{backends: [{name: a, openAI: {}, endpoint: 'http://10.0.0.1/v1'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `http://10.0.0.1/v1` leads to a private or cluster address, which the operator does not allow: whoever runs it sets operator.allowPrivateEndpoints and names the address in networkPolicy.upstreams",
                ],
            ),
        ],
    );
}
