//! Protocol revisions and the two eras.

/// A revision of the protocol, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The first; its own HTTP transport is not served, but clients ask for it over streamable HTTP.
    V2024_11_05,
    /// Streamable HTTP, batches.
    V2025_03_26,
    /// No batches any more, `MCP-Protocol-Version`.
    V2025_06_18,
    /// The last with sessions.
    V2025_11_25,
    /// Stateless: no `initialize`, everything in each request's `_meta`.
    V2026_07_28,
}

/// How a client and a server find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// `initialize`, sessions: to 2025-11-25.
    Legacy,
    /// Stateless: from 2026-07-28.
    Modern,
}

/// All revisions spoken, newest first.
pub const SUPPORTED: [Version; 5] = [
    Version::V2026_07_28,
    Version::V2025_11_25,
    Version::V2025_06_18,
    Version::V2025_03_26,
    Version::V2024_11_05,
];

// === impl Version ===

impl Version {
    /// The newest revision that begins with `initialize`.
    pub const NEWEST_LEGACY: Version = Version::V2025_11_25;
    /// What a request without `MCP-Protocol-Version` and without a session is taken for (2025-11-25, transports).
    pub const ASSUMED: Version = Version::V2025_03_26;

    /// The revision of this date.
    pub fn parse(text: &str) -> Option<Self> {
        SUPPORTED.into_iter().find(|v| v.as_str() == text)
    }

    /// Its date, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V2024_11_05 => "2024-11-05",
            Version::V2025_03_26 => "2025-03-26",
            Version::V2025_06_18 => "2025-06-18",
            Version::V2025_11_25 => "2025-11-25",
            Version::V2026_07_28 => "2026-07-28",
        }
    }

    /// Its era.
    pub fn era(self) -> Era {
        if self >= Version::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }

    /// What `initialize` answers to a client that asks for `asked`: the same when it is spoken, else the newest that has `initialize`.
    pub fn negotiate(asked: &str) -> Self {
        Version::parse(asked).filter(|v| v.era() == Era::Legacy).unwrap_or(Version::NEWEST_LEGACY)
    }

    /// A JSON array of all revisions spoken.
    pub fn supported_json() -> String {
        let all: Vec<_> = SUPPORTED.iter().map(|v| format!("\"{}\"", v.as_str())).collect();
        format!("[{}]", all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_negotiates_a_revision_that_has_it() {
        for (asked, got) in [
            ("2024-11-05", Version::V2024_11_05),
            ("2025-06-18", Version::V2025_06_18),
            ("2025-11-25", Version::V2025_11_25),
            ("2026-07-28", Version::V2025_11_25),
            ("1999-01-01", Version::V2025_11_25),
            ("", Version::V2025_11_25),
        ] {
            assert_eq!(Version::negotiate(asked), got, "{asked}");
        }
    }
}
