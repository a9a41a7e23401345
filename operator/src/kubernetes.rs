//! The cluster as the source of resources.
//!
//! ```text
//! watches ------ apply, delete, restart, complete --> [ Index: pure ] -- compile --> watch<Arc<World>>     (status, children)
//! get by name -- the Secrets that some object names -->   |                     `--> watch<Arc<Resources>> (xds::publish)
//! ```
//! Nothing is published before the first list of every watch is complete and every Secret that an object names was looked
//! for: an operator that has just started must not take away what its predecessor has handed out. Later an object waits for its
//! own Secrets only, and a Secret that cannot be read counts as it was: see `secrets`.
//!
//! # Layout
//! - [`index`]: objects by name, and what they make together (pure); [`observed`]: what it is told of
//! - [`world`]: what is published
//! - `secrets`: which entries of which Secrets are needed, and what is known of them (pure)
//! - `object`: an object of the API server as the compiler takes it
//! - `watches`: the watches; `reads`: Secrets, one by one; `follow`: the task around the index

mod follow;
pub mod index;
mod object;
pub mod observed;
mod reads;
mod secrets;
mod watches;
pub mod world;

pub use follow::{Feed, start};
pub use index::Index;
pub use observed::{Observed, Source, Watched};
pub use secrets::Read;
pub use world::{ObjectName, World};
