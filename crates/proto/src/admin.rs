//! The admin service of `proto/admin.proto`: what the command line asks a running server over its Unix socket.

#![expect(clippy::allow_attributes, reason = "the generator writes them")]

tonic::include_proto!("cairn.v1");
