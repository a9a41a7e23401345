//! Requests: decoded from and encoded to Chat Completions.
