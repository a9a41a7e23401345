//! Errors in words, each said once: libraries like to repeat their causes, and to print whole structs.

use std::error::Error;

/// What went wrong with the API server.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => chain(causes(other).into_iter()),
    }
}

/// What went wrong, and why.
pub fn of(error: &anyhow::Error) -> String {
    chain(error.chain())
}

/// Whether the API server said that one may not.
pub fn is_forbidden(error: &anyhow::Error) -> bool {
    let status = error.chain().find_map(|error| error.downcast_ref::<kube::Error>());
    matches!(status, Some(kube::Error::Api(status)) if status.code == 403)
}

/// An error and what it came from.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut all = vec![error];
    let mut next = error.source();
    while let Some(cause) = next {
        all.push(cause);
        next = cause.source();
    }
    all
}

fn chain<'e>(errors: impl Iterator<Item = &'e (dyn Error + 'static)>) -> String {
    let mut out = String::new();
    for error in errors {
        let (words, is_last) = match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if !status.message.is_empty() => (status.message.clone(), true),
            _ => (error.to_string(), false),
        };
        if !out.contains(&words) {
            out = if out.is_empty() { words } else { format!("{out}: {words}") };
        }
        if is_last {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use kube::core::Status;

    #[test]
    fn a_cause_is_told_once_and_a_status_by_its_message() {
        let missing = || {
            kube::Error::Api(Box::new(Status::failure("leases \"x\" not found", "NotFound").with_code(404)))
        };
        assert_eq!(said(&missing()), "leases \"x\" not found");
        let error = anyhow::Error::new(missing()).context("cannot read the Lease");
        assert_eq!(of(&error), "cannot read the Lease: leases \"x\" not found");
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
        let twice = Err::<(), _>(io)
            .context("Connection refused (os error 111)")
            .context("cannot connect")
            .unwrap_err();
        assert_eq!(of(&twice), "cannot connect: Connection refused (os error 111)");
    }
}
