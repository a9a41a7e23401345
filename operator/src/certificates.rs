//! The operator's own authority, what it issues, and the keys that gateways seal with.
//!
//! ```text
//! Secret tollgate-ca ------------ the authority's key pair, the next one, and the certificates of those before
//!   |-> Secret tollgate-operator-tls, tollgate-gateway-tls   renewed after two thirds of their life
//!   `-> ConfigMap tollgate-ca, the webhook's caBundle        the authorities to trust
//! Secret tollgate-sealing ------- what gateways seal state with that travels through clients
//! ```
//! Every replica reads them and serves what they hold; only the leader writes. What lacks the operator's label is somebody
//! else's (cert-manager's, say): it is used as it is, and never written.
//!
//! # Layout
//! - [`authority`]: authorities and certificates as text, and when they are due (pure)
//! - [`sealing`]: sealing keys, and when they are due (pure)
//! - [`plan`]: what there is, and what the leader is to write (pure)
//! - [`validity`]: from when until when a certificate is valid
//! - `keep`: the task; `write`: its writes

pub mod authority;
mod keep;
pub mod plan;
pub mod sealing;
pub mod validity;
mod write;

pub use keep::{Certificates, start};

/// The Secret of the authority: only the operator reads it.
pub const AUTHORITY: &str = "tollgate-ca";
/// The ConfigMap of the authorities to trust, under [`BUNDLE_KEY`].
pub const BUNDLE: &str = "tollgate-ca";
/// The entry of [`BUNDLE`].
pub const BUNDLE_KEY: &str = "ca.crt";
/// The Secret of the operator's certificate.
pub const OPERATOR_TLS: &str = "tollgate-operator-tls";
/// The Secret of the gateways' certificate.
pub const GATEWAY_TLS: &str = "tollgate-gateway-tls";
/// The Secret of the sealing keys.
pub const SEALING: &str = "tollgate-sealing";
/// On a Secret of a certificate: for which names and by which authority it was issued.
pub const ISSUED_FOR: &str = "tollgate.dev/issued-for";
