//! Compiles the wire's messages. protox is a protobuf compiler in Rust, so no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["tollgate/v1/resources.proto"], ["proto"])?;
    prost_build::Config::new()
        // Maps in key order: the same resource has the same bytes everywhere, and so the same version.
        .btree_map(["."])
        // Its Debug must not print what it holds (see `resource.rs`).
        .skip_debug(["tollgate.v1.Secret"])
        .compile_fds(files)?;
    Ok(())
}
