//! Charges that Redis has not confirmed, in a file of the data folder, so that they outlive this process. It is empty while all
//! is well: a charge is written when Redis could not be told of it, or takes long. Written in batches off the request's path; a
//! crash loses those of the last moment (some 50 ms, and the disk's time).
//!
//! Lines of JSON: a charge (again when it may have been carried out without an answer), and the ids of those that Redis has
//! confirmed since. When nothing is left the file is emptied. What a crash has cut off at its end is passed over.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};
use tollgate_ledger::{
    charge::{Actual, Counter},
    redis::{Charge, RedisStore},
};
use uuid::Uuid;

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
    /// Those that are in the file and not confirmed.
    ids: HashSet<Uuid>,
    /// It was said that no more can be kept.
    told: bool,
}

/// A charge, and when it may have been carried out.
pub(super) type Tried = (Charge, Option<i64>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Charge(Box<Written>),
    Done(Vec<Uuid>),
}

/// A charge as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    id: Uuid,
    root: String,
    held: u64,
    counters: Vec<Counter>,
    levels: Vec<(String, Option<u64>)>,
    cost: u64,
    input: u64,
    output: u64,
    request: Uuid,
    record: String,
    tried: Option<i64>,
}

/// How large the file may become: charges beyond it are in memory only.
const MOST: u64 = 64 << 20;
/// The file's name.
const NAME: &str = "unposted.jsonl";

// === impl Kept ===

impl Kept {
    /// Opens the file, and reads what an earlier process left in it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Tried>)> {
        Self::with(folder, MOST)
    }

    fn with(folder: &Path, most: u64) -> io::Result<(Self, Vec<Tried>)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(NAME);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let left = read(&mut file)?;
        let size = file.seek(SeekFrom::End(0))?;
        let ids = left.keys().copied().collect();
        let mut kept = Kept { path, file, size, most, ids, told: false };
        if size > 0 {
            // A line that was cut off must not swallow the next.
            kept.append(b"\n")?;
        }
        Ok((kept, left.into_values().collect()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what Redis does not confirm, and what it has confirmed. Blocks; how many charges are in the file.
    pub(super) fn update(&mut self, store: &RedisStore) -> io::Result<usize> {
        let done: Vec<Uuid> = store.take_posted().into_iter().filter(|id| self.ids.remove(id)).collect();
        let new = store.to_keep(false);
        if new.is_empty() && self.ids.is_empty() {
            if self.size > 0 {
                self.file.set_len(0)?;
                self.file.seek(SeekFrom::Start(0))?;
                self.file.sync_data()?;
                self.size = 0;
            }
            return Ok(0);
        }
        let mut lines = lines(&new)?;
        if !done.is_empty() {
            line(&mut lines, &Line::Done(done))?;
        }
        if self.size + lines.len() as u64 > self.most {
            return self.write_anew(store);
        }
        self.ids.extend(new.iter().map(|(charge, _)| charge.id));
        self.append(&lines)?;
        Ok(self.ids.len())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.size += lines.len() as u64;
        self.file.write_all(lines)?;
        self.file.sync_data()
    }

    /// Puts a file in its place that has only what is not confirmed, as far as there is room.
    fn write_anew(&mut self, store: &RedisStore) -> io::Result<usize> {
        let all = store.to_keep(true);
        let (mut text, mut ids) = (Vec::new(), HashSet::new());
        for one in &all {
            let more = lines(std::slice::from_ref(one))?;
            if (text.len() + more.len()) as u64 > self.most {
                break;
            }
            text.extend(more);
            ids.insert(one.0.id);
        }
        if ids.len() < all.len() && !std::mem::replace(&mut self.told, true) {
            tracing::error!(
                file = %self.path.display(),
                beyond = all.len() - ids.len(),
                "no more charges can be kept in the file: should the gateway end before Redis is back, they are lost"
            );
        }
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&next)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&next, &self.path)?;
        (self.file, self.size, self.ids) = (file, text.len() as u64, ids);
        Ok(self.ids.len())
    }
}

fn read(file: &mut File) -> io::Result<BTreeMap<Uuid, Tried>> {
    let mut left = BTreeMap::new();
    for text in BufReader::new(file).split(b'\n') {
        let text = text?;
        match serde_json::from_slice(&text) {
            Ok(Line::Charge(written)) => {
                let Some((charge, tried)) = written.charge() else {
                    tracing::error!(id = %written.id, "a kept charge cannot be read: it is lost to the ledger");
                    continue;
                };
                left.insert(charge.id, (charge, tried));
            }
            Ok(Line::Done(ids)) => ids.iter().for_each(|id| drop(left.remove(id))),
            Err(_) if text.is_empty() => {}
            Err(error) => tracing::warn!(%error, "a line of the kept charges was cut off: passed over"),
        }
    }
    Ok(left)
}

fn lines(charges: &[Tried]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (charge, tried) in charges {
        line(&mut out, &Line::Charge(Box::new(Written::new(charge, *tried))))?;
    }
    Ok(out)
}

fn line(out: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}

// === impl Written ===

impl Written {
    fn new(charge: &Charge, tried: Option<i64>) -> Self {
        Written {
            id: charge.id,
            root: charge.root.clone(),
            held: charge.held,
            counters: charge.counters.clone(),
            levels: charge.levels.clone(),
            cost: charge.used.cost,
            input: charge.used.input_tokens,
            output: charge.used.output_tokens,
            request: charge.request,
            record: BASE64.encode(&charge.record),
            tried,
        }
    }

    fn charge(&self) -> Option<Tried> {
        let charge = Charge {
            id: self.id,
            root: self.root.clone(),
            held: self.held,
            counters: self.counters.clone(),
            levels: self.levels.clone(),
            used: Actual { cost: self.cost, input_tokens: self.input, output_tokens: self.output },
            request: self.request,
            record: BASE64.decode(&self.record).ok()?,
        };
        Some((charge, self.tried))
    }
}

#[cfg(test)]
mod tests;
