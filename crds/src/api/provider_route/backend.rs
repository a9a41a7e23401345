//! A backend of a route: one upstream and the kind of provider it is.

use crate::api::{
    SecretKeyRef, is_default,
    refs::{DNS_LABEL, PATTERN, URL},
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One upstream. Exactly one of the provider kinds stands in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "[has(self.anthropic), has(self.openAI), has(self.azureOpenAI), has(self.azureFoundry), \
         has(self.vertexAI), has(self.gemini), has(self.bedrock), has(self.openAICompatible)]\
         .filter(x, x).size() == 1"
    )
    .message(
        "a backend has exactly one of anthropic, openAI, azureOpenAI, azureFoundry, vertexAI, gemini, bedrock and \
         openAICompatible; one without fields is written with braces: anthropic: {}"
    ),
    validation = Rule::new(
        "has(self.endpoint) || !(has(self.azureOpenAI) || has(self.azureFoundry) || has(self.openAICompatible))"
    )
    .message("azureOpenAI, azureFoundry and openAICompatible need endpoint: they have no public one"),
    validation = Rule::new("!has(self.endpoint) || !has(self.anthropic) || !self.endpoint.matches('/(v1|messages)/*$')")
        .message("endpoint of anthropic ends before /v1, such as https://api.anthropic.com: the gateway appends /v1/messages"),
    validation = Rule::new(
        "!has(self.endpoint) || !(has(self.openAI) || has(self.openAICompatible)) || \
         !self.endpoint.matches('/(completions|responses)/*$|^https://api[.]openai[.]com/*$')"
    )
    .message("endpoint of openAI and openAICompatible mostly ends with /v1: the gateway appends /chat/completions")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Name of the backend within the route, as records and status show it.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// Patterns of the route's models that this backend serves, such as `gpt-*`. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = PATTERN)))]
    pub models: Option<Vec<String>>,
    /// The Anthropic API (Messages).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<Anthropic>,
    /// The OpenAI API (Chat Completions).
    #[serde(default, rename = "openAI", skip_serializing_if = "Option::is_none")]
    pub open_ai: Option<OpenAi>,
    /// Azure OpenAI. Needs `endpoint`. Not supported yet.
    #[serde(default, rename = "azureOpenAI", skip_serializing_if = "Option::is_none")]
    pub azure_open_ai: Option<AzureOpenAi>,
    /// Claude models in Azure AI Foundry. Needs `endpoint`. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_foundry: Option<AzureFoundry>,
    /// Google Vertex AI. Not supported yet.
    #[serde(default, rename = "vertexAI", skip_serializing_if = "Option::is_none")]
    pub vertex_ai: Option<VertexAi>,
    /// The Gemini API. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gemini: Option<Gemini>,
    /// Amazon Bedrock. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bedrock: Option<Bedrock>,
    /// Any server that speaks OpenAI's Chat Completions, such as vLLM or Ollama. Needs `endpoint`.
    #[serde(default, rename = "openAICompatible", skip_serializing_if = "Option::is_none")]
    pub open_ai_compatible: Option<OpenAiCompatible>,
    /// Base URL of the upstream, without a slash at the end. The gateway appends `/v1/messages` for `anthropic` and
    /// `/chat/completions` for `openAI` and `openAICompatible`, so theirs ends with `/v1` as a rule: `http://ollama:11434/v1`.
    /// When left out: `https://api.anthropic.com`, `https://api.openai.com/v1`. In a cluster, addresses within it are refused
    /// unless the operator's configuration allows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = URL))]
    pub endpoint: Option<String>,
    /// Region of the upstream, such as `eu-west`, which `providers.regions` of keys speaks of. A label of yours: it sends no
    /// request anywhere by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub region: Option<String>,
    /// The credential that the gateway presents to the upstream. None when left out; the client's own credential is never
    /// passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Share of the requests among the backends of the same priority: 80 and 20 split them 80 to 20. 0 takes none.
    /// 1 when left out.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: u32,
    /// The lowest number is used first; the next one when no backend of it is healthy. 0 when left out.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub priority: u32,
}

/// The credential that the gateway presents to an upstream. Exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != (has(self.ambient) && self.ambient)")
        .message("credentials have exactly one of secretRef and ambient: true")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// A Secret of this namespace with the provider's API key. For `vertexAI`, the key file of a service account; for
    /// `bedrock`, a Bedrock API key or an AWS credentials file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// `true`: the cloud identity of the gateway itself (workload identity of Azure, Google Cloud or AWS), in namespaces
    /// where the operator's configuration allows it. Not supported yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ambient: bool,
}

/// The Anthropic API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anthropic {}

/// The OpenAI API (Chat Completions).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenAi {}

/// Azure OpenAI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureOpenAi {
    /// Version of the API: `v1`, or a date such as `2024-10-21`. `v1` when left out.
    #[serde(default = "v1")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^(v1|preview|\d{4}-\d{2}-\d{2}(-preview)?)$"))]
    pub api_version: String,
}

/// Claude models in Azure AI Foundry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureFoundry {}

/// Google Vertex AI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VertexAi {
    /// The Google Cloud project.
    #[schemars(length(min = 1, max = 63))]
    pub project: String,
    /// The location, such as `europe-west1` or `global`.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub location: String,
}

/// The Gemini API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gemini {}

/// Amazon Bedrock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bedrock {
    /// The AWS region, such as `eu-central-1`.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub aws_region: String,
    /// An IAM role to assume with the credentials, such as `arn:aws:iam::123456789012:role/tollgate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 2048), regex(pattern = r"^arn:aws[-a-z]*:iam::\d{12}:role/.+$"))]
    pub role_arn: Option<String>,
}

/// Any server that speaks OpenAI's Chat Completions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenAiCompatible {}

/// A kind of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProviderKind {
    /// The Anthropic API.
    Anthropic,
    /// The OpenAI API (Chat Completions).
    #[serde(rename = "OpenAI")]
    OpenAi,
    /// Azure OpenAI.
    #[serde(rename = "AzureOpenAI")]
    AzureOpenAi,
    /// Claude models in Azure AI Foundry.
    AzureFoundry,
    /// Google Vertex AI.
    #[serde(rename = "VertexAI")]
    VertexAi,
    /// The Gemini API.
    Gemini,
    /// Amazon Bedrock.
    Bedrock,
    /// Any server that speaks OpenAI's Chat Completions.
    #[serde(rename = "OpenAICompatible")]
    OpenAiCompatible,
}

// === defaults ===

fn one() -> u32 {
    1
}

fn v1() -> String {
    "v1".to_owned()
}

// === impl AzureOpenAi ===

impl Default for AzureOpenAi {
    fn default() -> Self {
        AzureOpenAi { api_version: v1() }
    }
}

// === impl Backend ===

impl Default for Backend {
    /// What the schema's defaults make of an empty backend.
    fn default() -> Self {
        Backend {
            name: String::new(),
            models: None,
            anthropic: None,
            open_ai: None,
            azure_open_ai: None,
            azure_foundry: None,
            vertex_ai: None,
            gemini: None,
            bedrock: None,
            open_ai_compatible: None,
            endpoint: None,
            region: None,
            credentials: None,
            weight: one(),
            priority: 0,
        }
    }
}

impl Backend {
    /// The provider kinds that stand in this backend, with their field names. A valid backend has exactly one; the API
    /// server refuses others by CEL, and the compiler does for files.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderKind, &'static str)> {
        [
            (self.anthropic.is_some(), ProviderKind::Anthropic, "anthropic"),
            (self.open_ai.is_some(), ProviderKind::OpenAi, "openAI"),
            (self.azure_open_ai.is_some(), ProviderKind::AzureOpenAi, "azureOpenAI"),
            (self.azure_foundry.is_some(), ProviderKind::AzureFoundry, "azureFoundry"),
            (self.vertex_ai.is_some(), ProviderKind::VertexAi, "vertexAI"),
            (self.gemini.is_some(), ProviderKind::Gemini, "gemini"),
            (self.bedrock.is_some(), ProviderKind::Bedrock, "bedrock"),
            (self.open_ai_compatible.is_some(), ProviderKind::OpenAiCompatible, "openAICompatible"),
        ]
        .into_iter()
        .filter_map(|(present, kind, field)| present.then_some((kind, field)))
    }

    /// The provider kind, when there is exactly one.
    pub fn provider(&self) -> Option<ProviderKind> {
        let mut providers = self.providers();
        match (providers.next(), providers.next()) {
            (Some((kind, _)), None) => Some(kind),
            _ => None,
        }
    }
}
