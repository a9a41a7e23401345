//! The stream to the data plane: delta discovery and reports (`proto/proto/tollgate/discovery/v1`).
//!
//! ```text
//! watch<Arc<Resources>> -> [ publish: quiet for 10 ms, encoded once ] -> watch<Arc<Published>>
//!                                       one stream a gateway: [ view ] -> [ stream: diff, nonces, ACK and NACK ] -> wire
//! ```
//! Every replica serves; nothing here writes anywhere.
//!
//! # Layout
//! - [`publish`]: resources with their bytes and versions, and when a change is published
//! - [`diff`]: what a client lacks, in pieces (pure)
//! - [`stream`]: the state of one client's stream (pure)
//! - [`server`]: the services, their bounds and their end
//! - [`auth`]: who may connect; [`token_review`]: by the cluster's word; [`view`]: what each may see; [`places`]: how many at once
//! - [`reports`]: what gateways say of themselves
//! - [`listen`]: connections, with TLS whose certificate rotates live

pub mod auth;
pub mod diff;
pub mod listen;
pub mod places;
pub mod publish;
pub mod reports;
pub mod server;
pub mod stream;
pub mod token_review;
pub mod view;

pub use auth::{Authenticate, Denied, DenyAll, Identity, TokenFile};
pub use publish::Published;
pub use reports::Nodes;
pub use server::{Options, Server};
pub use token_review::TokenReviews;
pub use view::{ByNode, Everything, View};
