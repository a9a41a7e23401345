//! Compiles the wire's messages. protox is a protobuf compiler in Rust, so no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["tollgate/v1/resources.proto"], ["proto"])?;
    prost_build::Config::new()
        // Maps in key order: the same resource has the same bytes everywhere, and so the same version.
        .btree_map(["."])
        // Its Debug must not print what it holds (see `resource.rs`).
        .skip_debug(["tollgate.v1.Secret", "tollgate.v1.SealingKeys"])
        .compile_fds(files)?;
    discovery()
}

/// Discovery's messages, and its services as far as features ask for them.
fn discovery() -> Result<(), Box<dyn Error>> {
    let sources = ["tollgate/discovery/v1/discovery.proto", "tollgate/discovery/v1/report.proto"];
    let files = protox::compile(sources, ["proto"])?;
    let mut config = prost_build::Config::new();
    config
        .btree_map(["."])
        // Shared among all streams instead of copied.
        .bytes([".tollgate.discovery.v1.Any.value"])
        // It may hold a Secret (see `discovery.rs`).
        .skip_debug(["tollgate.discovery.v1.Any"]);
    #[cfg(any(feature = "client", feature = "server"))]
    tonic_prost_build::configure()
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .compile_fds_with_config(files, config)?;
    #[cfg(not(any(feature = "client", feature = "server")))]
    config.compile_fds(files)?;
    Ok(())
}
