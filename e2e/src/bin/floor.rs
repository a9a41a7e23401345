//! The reverse proxy that does nothing: `floor LISTEN UPSTREAM`.

use anyhow::Context;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut address = || args.next().context("usage: floor LISTEN UPSTREAM");
    let (listen, upstream) = (address()?, address()?);
    tollgate_e2e::floor::serve(listen.parse()?, upstream.parse()?).await
}
