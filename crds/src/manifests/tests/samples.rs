//! The design's example and `deploy/samples/`.
