//! The charts against a real API server: every value set is taken, an upgrade keeps passwords, an uninstallation leaves what it
//! says, root keys are for platform namespaces, and the operator's rights end where they should.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod admission;
mod alerts;
mod arguments;
mod flows;
mod install;
mod rights;
mod support;
