//! Writes `crds/manifests/`.
fn main() {}
