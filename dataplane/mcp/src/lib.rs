//! MCP aggregation without I/O: envelopes over raw JSON, names, merged lists, sealed tokens, both protocol eras.
