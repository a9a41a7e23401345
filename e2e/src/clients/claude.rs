//! Claude Code, run headless.

use super::{Ended, hermetic, run, tool};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A run of Claude Code; its home is empty and removed afterwards.
#[derive(Debug)]
pub struct Claude {
    base_url: String,
    key: String,
    model: Option<String>,
    tools: Vec<String>,
    env: Vec<(String, String)>,
    home: TempDir,
}

/// What it printed with `--output-format json`.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: Option<i32>,
    /// The whole result object.
    pub json: Value,
}

// === impl Claude ===

impl Claude {
    /// Talks to `gateway` (`http://host:port`) with a key. Nothing else is configured.
    pub fn new(gateway: &str, key: &str) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("tollgate-claude-").tempdir()?;
        Ok(Claude {
            base_url: format!("{gateway}/anthropic"),
            key: key.to_owned(),
            model: None,
            tools: Vec::new(),
            env: Vec::new(),
            home,
        })
    }

    /// `--model`.
    pub fn model(mut self, model: &str) -> Self {
        self.model = Some(model.to_owned());
        self
    }

    /// `--allowedTools`.
    pub fn allow(mut self, tool: &str) -> Self {
        self.tools.push(tool.to_owned());
        self
    }

    /// One more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its home and working folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Puts a file into its working folder and says where it is.
    pub fn file(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.home.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// `claude mcp add --transport http NAME URL --header …`, as its user would type it.
    pub async fn mcp_add(&self, name: &str, url: &str, header: &str) -> anyhow::Result<()> {
        let args = ["mcp", "add", "--scope", "user", "--transport", "http", name, url, "--header", header];
        let ended = self.command(&args).await?;
        anyhow::ensure!(ended.code == Some(0), "claude mcp add: {}{}", ended.stdout, ended.stderr);
        Ok(())
    }

    /// `claude -p PROMPT --output-format json`.
    pub async fn ask(&self, prompt: &str) -> anyhow::Result<Said> {
        self.ask_with(prompt, &[]).await
    }

    /// The same with further arguments.
    pub async fn ask_with(&self, prompt: &str, more: &[&str]) -> anyhow::Result<Said> {
        let mut args = vec!["-p", prompt, "--output-format", "json"];
        args.extend(more);
        if let Some(model) = &self.model {
            args.extend(["--model", model]);
        }
        if !self.tools.is_empty() {
            args.push("--allowedTools");
            args.extend(self.tools.iter().map(String::as_str));
        }
        let ended = self.command(&args).await?;
        let json = serde_json::from_str(&ended.stdout)
            .with_context(|| format!("claude printed no JSON: {}{}", ended.stdout, ended.stderr))?;
        Ok(Said { code: ended.code, json })
    }

    async fn command(&self, args: &[&str]) -> anyhow::Result<Ended> {
        let mut command = hermetic(tool("claude/node_modules/.bin/claude")?, self.home.path());
        command.env("ANTHROPIC_BASE_URL", &self.base_url).env("ANTHROPIC_API_KEY", &self.key);
        for name in ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"] {
            command.env(name, "1");
        }
        command.envs(self.env.iter().cloned()).args(args);
        run(command).await
    }
}

// === impl Said ===

impl Said {
    /// The text of the result.
    pub fn text(&self) -> &str {
        self.json.get("result").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the result is an error.
    pub fn is_error(&self) -> bool {
        self.json.get("is_error") == Some(&json!(true))
    }

    /// The text when all went well, else an error with the whole result.
    pub fn ok(&self) -> anyhow::Result<&str> {
        anyhow::ensure!(self.code == Some(0) && !self.is_error(), "claude failed: {}", self.json);
        Ok(self.text())
    }
}
