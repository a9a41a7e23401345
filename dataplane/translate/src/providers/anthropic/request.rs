//! Requests: decoded from and encoded to Anthropic Messages.
