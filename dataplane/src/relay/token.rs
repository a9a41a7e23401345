//! The projected token: kubelet replaces the file before the token in it expires.

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use std::{path::PathBuf, sync::Arc};

/// The longest token that is taken.
const MAX: u64 = 64 << 10;

/// A token in a file. Its `Debug` prints no token.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    current: ArcSwapOption<HeaderValue>,
}

// === impl TokenFile ===

impl TokenFile {
    /// The token in `path`, read at once. A file that is not there yet is looked for again.
    pub(super) fn new(path: PathBuf) -> Self {
        let file = TokenFile { path, current: ArcSwapOption::empty() };
        file.read();
        file
    }

    /// `Bearer …`, marked as sensitive.
    pub(super) fn bearer(&self) -> Option<Arc<HeaderValue>> {
        self.current.load_full()
    }

    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads the file again. What cannot be read leaves the last token, which may still be good.
    pub(super) fn read(&self) {
        let value = match self.value() {
            Ok(value) => value,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "cannot read the ServiceAccount token");
                return;
            }
        };
        if self.current.load().as_deref() != Some(&value) {
            self.current.store(Some(Arc::new(value)));
            tracing::info!(file = %self.path.display(), "a new ServiceAccount token is in use");
        }
    }

    fn value(&self) -> std::io::Result<HeaderValue> {
        let wrong = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        if std::fs::metadata(&self.path)?.len() > MAX {
            return Err(wrong("it is too large for a token"));
        }
        let text = std::fs::read_to_string(&self.path)?;
        let token = text.trim();
        if token.is_empty() {
            return Err(wrong("it is empty"));
        }
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong("it holds no token"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_again_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let file = TokenFile::new(path.clone());
        assert!(file.bearer().is_none());
        for token in ["first-hush", "second-hush"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            file.read();
            assert_eq!(file.bearer().unwrap().to_str().unwrap(), format!("Bearer {token}"));
        }
        for bad in ["", "a\nb", "\u{e4}\n\u{1}"] {
            std::fs::write(&path, bad).unwrap();
            file.read();
            assert_eq!(file.bearer().unwrap().to_str().unwrap(), "Bearer second-hush", "{bad:?}");
        }
        assert!(!format!("{file:?}").contains("hush"));
    }
}
