//! What is in force, in a file for the next start of this container. The file's time of change is when an operator last said
//! that this is what it wants.

use prost::Message;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};
use tollgate_proto::discovery::v1::SavedState;

/// The length of the digest that the file begins with.
const DIGEST: usize = 32;
/// The largest file, in bytes.
const MAX_FILE: u64 = 512 << 20;

/// Reads the file; `None`: there is none.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn load(path: &Path) -> io::Result<Option<SavedState>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if length > MAX_FILE {
        return Err(broken("it is too large"));
    }
    let bytes = fs::read(path)?;
    let (digest, content) = bytes.split_at_checked(DIGEST).ok_or_else(|| broken("it is cut off"))?;
    if Sha256::digest(content).as_slice() != digest {
        return Err(broken("its digest does not fit its content"));
    }
    SavedState::decode(content).map(Some).map_err(|error| broken(&error.to_string()))
}

/// Writes the file: whole or not at all, for its owner only.
///
/// # Errors
/// When it cannot be written.
pub fn save(path: &Path, state: &SavedState) -> io::Result<()> {
    let content = state.encode_to_vec();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&Sha256::digest(&content))?;
    file.write_all(&content)?;
    drop(file);
    fs::rename(&beside, path)
}

/// An operator says now that what the file holds is what it wants.
///
/// # Errors
/// When there is no such file, or its time cannot be set.
pub fn confirm(path: &Path) -> io::Result<()> {
    fs::File::options().write(true).open(path)?.set_modified(SystemTime::now())
}

/// How long ago an operator said so. A time to come, by a clock that was set back, is now; a file without a time is as old as can
/// be.
pub fn age(path: &Path) -> Duration {
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(confirmed) => SystemTime::now().duration_since(confirmed).unwrap_or_default(),
        Err(_) => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tollgate_proto::discovery::v1::Resource;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(load(&path).unwrap().is_none());
        let state = SavedState { resources: vec![Resource { name: "n/a".into(), ..Default::default() }] };
        save(&path, &SavedState::default()).unwrap();
        save(&path, &state).unwrap();
        assert_eq!(load(&path).unwrap(), Some(state));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let hours = Duration::from_secs(7200);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - hours).unwrap();
        assert!(age(&path) >= hours);
        confirm(&path).unwrap();
        assert!(age(&path) < hours);
        assert_eq!(age(&folder.path().join("none")), Duration::MAX);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(load(&path).is_err());
        fs::write(&path, "short").unwrap();
        assert!(load(&path).is_err());
    }
}
