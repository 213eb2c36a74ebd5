//! The admin service of `proto/admin.proto`: what the command line asks a running server over its Unix socket.

#![expect(unused_qualifications, clippy::allow_attributes, reason = "the generator writes whole paths")]

tonic::include_proto!("cairn.v1");
