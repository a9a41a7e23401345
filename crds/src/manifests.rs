//! The CustomResourceDefinitions as `crds/manifests/` holds them.
