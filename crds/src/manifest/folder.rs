//! The files of a folder.

use super::MAX_FILE;
use std::{
    collections::BTreeMap,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

/// The most files of a folder, and the most folders within folders.
pub const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 16;

/// A file's content, or why it could not be read.
pub type Content = Result<Vec<u8>, String>;

/// Reads the manifests (`*.yaml`, `*.yml`, `*.json`) of a folder and of the folders in it, in the order of their names;
/// or one file. Names that begin with a dot are passed over: editors' swap files, and the bookkeeping of mounted ConfigMaps.
/// Fails only when the folder itself cannot be read.
pub fn scan(root: &Path) -> io::Result<BTreeMap<PathBuf, Content>> {
    let mut files = BTreeMap::new();
    if fs::metadata(root)?.is_file() {
        files.insert(root.to_owned(), content(root));
        return Ok(files);
    }
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                files.insert(folder, Err(format!("the folder cannot be read: {error}")));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // Of links only those to files are followed, so that no loop is.
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_folder && depth < MAX_DEPTH {
                folders.push((path, depth + 1));
            } else if !is_folder && is_manifest(&path) {
                if files.len() == MAX_FILES {
                    return Err(io::Error::other(format!("the folder has more than {MAX_FILES} manifests")));
                }
                let content = content(&path);
                files.insert(path, content);
            }
        }
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads one byte more than allowed at most, so that a file that is too large is known as such and does no harm.
fn content(path: &Path) -> Content {
    let read = || {
        if !fs::metadata(path)?.is_file() {
            // Opening a pipe would wait for whoever writes to it.
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error: io::Error| format!("the file cannot be read: {error}"))
}
