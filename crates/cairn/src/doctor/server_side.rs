//! What a running server of our own tells: where it is, whom to trust, and a key for the time of the examination.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use cairn_proto::admin::{CreateKeyRequest, GetServerRequest, ListBucketsRequest, RemoveKeyRequest, ServerInfo};

use crate::{
    admin::{AdminClient, connect, explain},
    args::DataArgs,
    http_client::{Address, Roots, roots_of_pem},
    secrets::{KeyPair, Secret},
};

/// The running server.
pub(super) struct ServerSide {
    client: AdminClient,
    info: ServerInfo,
    /// A key that was made here and must go again.
    made: Option<String>,
}

impl ServerSide {
    /// Finds it by its data folder.
    pub(super) async fn connect(data: &DataArgs) -> Result<Self> {
        let mut client = connect(data).await?;
        let info = client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))?.into_inner();
        Ok(Self { client, info, made: None })
    }

    /// Where it listens, by a name that its own certificate has.
    pub(super) fn address(&self) -> Result<Address> {
        if self.info.tls && self.info.ca_pem.is_empty() {
            bail!(
                "the server's certificate comes from outside: name --endpoint https://NAME:PORT as clients do, and its --ca"
            );
        }
        let address = self.info.s3_addresses.first().context("the server did not say where it listens")?;
        let address: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.to_string(),
        };
        Ok(Address { tls: self.info.tls, host, port: address.port() })
    }

    /// Its own CA; none if its certificate comes from outside.
    pub(super) fn roots(&self) -> Result<Option<Roots>> {
        if self.info.ca_pem.is_empty() {
            return Ok(None);
        }
        roots_of_pem(self.info.ca_pem.as_bytes(), self.info.ca_path.clone()).map(Some)
    }

    /// The bucket, if there is one alone.
    pub(super) async fn only_bucket(&mut self) -> Result<String> {
        let request = ListBucketsRequest { after: String::new() };
        let page = self.client.list_buckets(request).await.map_err(|status| explain(&status))?.into_inner();
        let mut names = page.buckets.into_iter().map(|bucket| bucket.name);
        match (names.next(), names.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => bail!("the server has no bucket: make one with `cairn bucket create NAME`"),
            (Some(_), Some(_)) => bail!("the server has several buckets: name one with --bucket"),
        }
    }

    /// Makes a key for the examination.
    pub(super) async fn key(&mut self, bucket: &str, prefix: &str) -> Result<KeyPair> {
        let request = CreateKeyRequest {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            write: true,
            description: "cairn doctor, for the time of its run".to_owned(),
        };
        let created = self.client.create_key(request).await.map_err(|status| explain(&status))?.into_inner();
        let access_key = created.key.context("the server's answer has no key")?.access_key;
        self.made = Some(access_key.clone());
        Ok(KeyPair { access_key, secret: Secret::new(created.secret_key) })
    }

    /// Removes the key that was made.
    pub(super) async fn forget(&mut self) -> Result<()> {
        let Some(access_key) = self.made.take() else { return Ok(()) };
        let removed = self.client.remove_key(RemoveKeyRequest { access_key: access_key.clone() }).await;
        removed.map_err(|status| explain(&status)).with_context(|| {
            format!(
                "the key {access_key}, made for this examination, is left: `cairn key remove {access_key}` removes it"
            )
        })?;
        Ok(())
    }
}
