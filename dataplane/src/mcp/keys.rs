//! The sealing key of a gateway that stands alone: made once and kept in a file, so that sessions survive a restart.

use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs::{File, OpenOptions},
    io::{self, Error, ErrorKind, Read, Write},
    path::Path,
};
use tollgate_mcp::seal::KEY_LEN;

/// The key in the file at `path`, 64 hexadecimal digits; made when there is no file, readable by its owner only.
///
/// # Errors
/// When the file cannot be read or made, or holds no key: it is never overwritten.
pub fn load_or_create(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    match create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => load(path),
        made => made,
    }
}

fn load(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    let mut text = String::new();
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    let mut key = [0; KEY_LEN];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
        Error::new(
            ErrorKind::InvalidData,
            format!(
                "{} holds no sealing key (64 hexadecimal digits); remove it to have one made",
                path.display()
            ),
        )
    })?;
    Ok(key)
}

/// Writes beside `path` and links it there, so that a file at `path` is always whole and the first of two processes wins.
fn create(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    if path.try_exists()? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut key = [0; KEY_LEN];
    SystemRandom::new().fill(&mut key).map_err(|_| Error::other("the system has no randomness"))?;
    let draft = path.with_extension(format!("{}.tmp", uuid::Uuid::now_v7().simple()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(hex::encode(key).as_bytes())?;
        file.sync_all()
    });
    let linked = written.and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    linked.and(removed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp-sealing.key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), key);
        assert_ne!(load_or_create(&dir.path().join("other.key")).unwrap(), key);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no drafts are left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "no key").unwrap();
        assert_eq!(load_or_create(&path).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no key");
    }
}
