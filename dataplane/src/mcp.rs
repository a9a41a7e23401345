//! `/mcp`: the shell around the pure crate `tollgate-mcp`: HTTP in, HTTP out, records.
