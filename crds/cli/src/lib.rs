//! `kubectl tollgate`: what Tollgate's objects say, in a terminal and in a pipeline.
//!
//! # Layout
//! - [`review`]: what a change to manifests means, without a cluster
//! - [`cluster`]: the API server, and a way to the gateway through it; [`kubeconfig`]: which one, and as whom
//! - [`get`], [`spend`]: keys, routes and servers; budgets as a tree
//! - [`logs`]: records, also as they come
//! - [`check`]: whether everything is installed and healthy
//! - [`table`]: columns for a terminal; [`words`]: errors in words

pub mod check;
pub mod cluster;
pub mod get;
pub mod kubeconfig;
pub mod logs;
pub mod review;
pub mod spend;
pub mod table;
pub mod words;
