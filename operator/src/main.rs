//! The control plane. Thin for now: it compiles manifests offline; watching a cluster comes with the control-plane part.

fn main() {}
