//! Secrets that cannot be printed, and the border to whoever can unseal them.

use std::fmt;

/// A secret key in the clear. It is not printed and not compared.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for signing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A sealed secret cannot be opened: it was sealed under another key, or it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sealed secret cannot be opened with this store's key")]
pub struct UnsealError;

/// Opens the secrets of identity rows.
pub trait SecretSealer: Send + Sync + 'static {
    /// Opens one.
    ///
    /// # Errors
    /// It was sealed under another key, or it is damaged.
    fn unseal(&self, sealed: &[u8]) -> Result<Secret, UnsealError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert!(!format!("{:?}", Secret::new("hunter2".to_owned())).contains("hunter2"));
    }
}
