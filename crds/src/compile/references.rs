//! Which Secrets an object needs: whoever reads Secrets for the compiler asks here, so that nothing else of them is read.

use super::Body;
use crate::{annotations, api::SecretKeyRef};

/// The entries of Secrets, in the object's own namespace, that a compilation of it looks at.
pub fn secrets(body: &Body) -> Vec<SecretKeyRef> {
    match body {
        Body::VirtualKey(key) => {
            key.spec.token.iter().flat_map(|token| of_token(&token.secret_ref)).collect()
        }
        Body::ProviderRoute(route) => {
            let of_backend =
                |b: &crate::api::provider_route::Backend| b.credentials.as_ref()?.secret_ref.clone();
            route.spec.backends.iter().filter_map(of_backend).collect()
        }
        Body::McpServer(server) => {
            server.spec.auth.iter().map(|auth| auth.header.secret_ref.clone()).collect()
        }
        Body::Secret(_) | Body::Unreadable(..) => Vec::new(),
    }
}

/// A token, and the one before its rotation.
fn of_token(token: &SecretKeyRef) -> [SecretKeyRef; 3] {
    let entry = |key: String| SecretKeyRef { name: token.name.clone(), key };
    [token.clone(), entry(annotations::previous(&token.key)), entry(annotations::previous_until(&token.key))]
}
