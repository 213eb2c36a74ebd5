//! The API server of the Kubernetes cluster this process runs in: reading and applying single named objects of the
//! pod's own namespace, and nothing else.
//!
//! Objects are written by server-side apply. What that needs of a Role was read in the API server's source
//! (`apiserver/pkg/endpoints/handlers/patch.go`): the request is authorized as `patch`, and where the object is
//! missing once more as `create`, with the name of the URL, so that here, other than for a POST, `resourceNames`
//! limits `create` too. The whole Role:
//!
//! ```yaml
//! rules:
//!   - apiGroups: [""]
//!     resources: [secrets]
//!     resourceNames: [cairn-root, cairn-runner]   # root-secret, and the secret of each [[key]]
//!     verbs: [get, patch, create]
//!   - apiGroups: [""]
//!     resources: [configmaps]
//!     resourceNames: [cairn-ca]                   # ca-config-map
//!     verbs: [get, patch, create]
//! ```

mod client;
mod error;
mod object;

pub(crate) use client::KubernetesClient;
pub(crate) use error::KubernetesError;
pub(crate) use object::{Kind, ca_of, key_of};
