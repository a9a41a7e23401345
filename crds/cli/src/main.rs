//! `kubectl tollgate`: what Tollgate's objects say, from a terminal and in a pipeline.

fn main() {}
