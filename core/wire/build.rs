//! Compiles the schema with a pure-Rust compiler: no `protoc`, nothing downloaded, nothing generated is committed.

use std::io;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto/segue.proto");
    let descriptors = protox::compile(["proto/segue.proto"], ["proto"]).map_err(io::Error::other)?;
    prost_build::Config::new().compile_fds(descriptors)
}
