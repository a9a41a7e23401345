//! The mutating webhook: pods labelled `tollgate.dev/inject: enabled` get the relay beside their containers.
//!
//! Only labelled pods are ever asked about (the configuration's objectSelector), and what this cannot do it lets pass with a
//! warning: a pod is refused only for a wrong annotation of our own.
//!
//! # Layout
//! - here: what is injected, by the operator's settings; the addresses of the webhook
//! - [`pod`]: the patch of one pod (pure); `annotations`: what its annotations ask for; `relay`: the container
//! - [`review`]: an AdmissionReview in, an AdmissionReview out (pure)
//! - [`serve`]: HTTPS; [`start`]: the task of a running operator

mod annotations;
pub mod pod;
mod relay;
pub mod review;
pub mod serve;
mod start;

#[cfg(test)]
mod tests;

pub use start::start;

/// The label whose value `enabled` asks for the relay.
pub const LABEL: &str = "tollgate.dev/inject";
/// The path of the webhook.
pub const PATH: &str = "/inject";

/// What is injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The image of the data plane.
    pub image: String,
    /// Where relays find gateways: the headless Service, so that they see them all.
    pub upstream: String,
    /// The name in the gateways' certificate.
    pub server_name: String,
    /// The audience of the projected token.
    pub audience: String,
    /// The authority of the gateways' certificate, as PEM; empty: none is known yet.
    pub ca: String,
}
