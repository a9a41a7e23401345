//! The wire formats that clients and upstreams speak, and the kinds of provider.

/// A wire format: the shape of a request, its answer, its stream and its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Anthropic Messages, `POST /v1/messages`.
    Messages,
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    Chat,
}

/// The kind of an upstream; the key of the price catalogue and of permissions by provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// `api.anthropic.com` or anything that speaks its API.
    Anthropic,
    /// `api.openai.com`.
    OpenAi,
    /// Azure OpenAI.
    AzureOpenAi,
    /// Claude on Azure AI Foundry.
    AzureFoundry,
    /// Google Vertex AI.
    VertexAi,
    /// Google Gemini API.
    Gemini,
    /// Amazon Bedrock.
    Bedrock,
    /// Any server with OpenAI's Chat Completions API (vLLM, Ollama, Mistral, …).
    OpenAiCompatible,
}

// === impl Format ===

impl Format {
    /// A short lower-case name for records and logs: `messages` or `chat`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Messages => "messages",
            Format::Chat => "chat",
        }
    }
}

// === impl Provider ===

impl Provider {
    /// The name as it stands in manifests (`spec.providers.allow`): `Anthropic`, `OpenAI`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Anthropic => "Anthropic",
            Provider::OpenAi => "OpenAI",
            Provider::AzureOpenAi => "AzureOpenAI",
            Provider::AzureFoundry => "AzureFoundry",
            Provider::VertexAi => "VertexAI",
            Provider::Gemini => "Gemini",
            Provider::Bedrock => "Bedrock",
            Provider::OpenAiCompatible => "OpenAICompatible",
        }
    }
}
