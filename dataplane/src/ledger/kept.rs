//! Charges that Redis has not confirmed, in a file of the data folder, so that they outlive this process. It is empty while all
//! is well: a charge is written when Redis could not be told of it, or takes long. Written in batches off the request's path; a
//! crash loses those of the last moment (some 150 ms, and the disk's time).
//!
//! Lines of JSON: a charge, when one may have been carried out without an answer, and the ids of those that Redis has confirmed
//! since. When nothing is left the file is emptied. What a crash has cut off at its end is passed over. Each process has a file
//! of its own (`slot`).

mod line;
mod slot;

use line::Line;
use slot::Slot;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};
use tollgate_ledger::redis::{Charge, RedisStore, Unposted};
use uuid::Uuid;

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    slot: Slot,
    file: File,
    size: u64,
    most: u64,
    /// Those that are in the file and not confirmed, with the length of their lines.
    ids: HashMap<Uuid, u64>,
    /// How many bytes of the file those are.
    live: u64,
    /// There is no room for more before half of the file is free. When it was found, or looked at since.
    full: Option<Instant>,
    /// A write failed: what the file has is not known. When it is written anew.
    broken: Option<Instant>,
    /// It was said that no more can be kept.
    told: bool,
}

/// What is to be added to the file: charges with the lengths of their lines, and all lines.
struct News {
    new: Vec<(Unposted, u64)>,
    lines: Vec<u8>,
}

/// A charge, and when it may have been carried out.
pub(super) type Tried = (Charge, Option<i64>);

/// How large the file may become: charges beyond it are in memory only.
const MOST: u64 = 64 << 20;
/// How long after a failure it is written anew, and how often a full one is looked at for more than what was posted.
const MEND: Duration = Duration::from_secs(1);

// === impl Kept ===

impl Kept {
    /// Opens the file, and reads what an earlier process left in it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Tried>)> {
        Self::with(folder, MOST)
    }

    fn with(folder: &Path, most: u64) -> io::Result<(Self, Vec<Tried>)> {
        std::fs::create_dir_all(folder)?;
        let (slot, mut file) = Slot::take(folder)?;
        let mut left = read(&mut file)?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut ids = HashMap::new();
        for (charge, tried) in left.values() {
            ids.insert(charge.id, line::charge(charge, *tried)?.len() as u64);
        }
        let live = ids.values().sum();
        let mut kept = Kept { slot, file, size, most, ids, live, full: None, broken: None, told: false };
        if size > 0 {
            // A line that was cut off must not swallow the next.
            kept.append(b"\n")?;
        }
        kept.inherit(folder, &mut left)?;
        Ok((kept, left.into_values().collect()))
    }

    /// Takes over what processes left that had other files of this folder, and run no longer.
    fn inherit(&mut self, folder: &Path, left: &mut BTreeMap<Uuid, Tried>) -> io::Result<()> {
        for mut orphan in self.slot.orphans(folder) {
            let mut lines = Vec::new();
            for (id, (charge, tried)) in read(&mut orphan.file)? {
                let text = line::charge(&charge, tried)?;
                self.note(id, text.len() as u64);
                lines.extend(text);
                left.insert(id, (charge, tried));
            }
            self.append(&lines)?;
            orphan.file.set_len(0)?;
            orphan.file.sync_data()?;
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.slot.path()
    }

    /// Writes down what Redis does not confirm, and what it has confirmed. Blocks; how many charges are in the file.
    pub(super) fn update(&mut self, store: &RedisStore) -> io::Result<usize> {
        let done: Vec<Uuid> = store.take_posted().into_iter().filter(|id| self.forget(*id)).collect();
        if self.broken.is_some_and(|at| at.elapsed() < MEND) {
            return Ok(self.ids.len());
        }
        if self.broken.is_some() || (self.full.is_some() && self.live <= self.most / 2) {
            return self.write_anew(store);
        }
        let News { new, lines } = self.news(store, done)?;
        if new.is_empty() && self.ids.is_empty() {
            self.empty()?;
            return Ok(0);
        }
        if self.size + lines.len() as u64 > self.most && self.live <= self.most / 2 {
            return self.write_anew(store);
        }
        self.append(&lines)?;
        for (unposted, length) in &new {
            self.note(unposted.charge().id, *length);
        }
        store.kept(new.iter().map(|(unposted, _)| unposted));
        Ok(self.ids.len())
    }

    /// What is new, as far as there is room.
    fn news(&mut self, store: &RedisStore, done: Vec<Uuid>) -> io::Result<News> {
        let (mut new, mut lines, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        let looks = self.full.is_none_or(|at| at.elapsed() >= MEND);
        for unposted in if looks { store.to_keep(false) } else { Vec::new() } {
            let id = unposted.charge().id;
            if let Some(length) = self.ids.get(&id) {
                tried.extend(unposted.tried().map(|at| (id, at)));
                new.push((unposted, *length));
                continue;
            }
            let text = line::charge(unposted.charge(), unposted.tried())?;
            // Where half of the file is dead lines, it is written anew.
            let room =
                self.size + (lines.len() + text.len()) as u64 <= self.most || self.live <= self.most / 2;
            if self.full.is_some() || !room {
                self.is_full();
                continue;
            }
            new.push((unposted, text.len() as u64));
            lines.extend(text);
        }
        if !tried.is_empty() {
            lines.extend(Line::Tried(tried).text()?);
        }
        if !done.is_empty() {
            lines.extend(Line::Done(done).text()?);
        }
        Ok(News { new, lines })
    }

    fn is_full(&mut self) {
        self.full = Some(Instant::now());
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(
                file = %self.path().display(),
                "no more charges can be kept in the file: should the gateway end before Redis is back, they are lost"
            );
        }
    }

    fn note(&mut self, id: Uuid, length: u64) {
        let before = self.ids.insert(id, length).unwrap_or(0);
        self.live = self.live + length - before;
    }

    fn forget(&mut self, id: Uuid) -> bool {
        let length = self.ids.remove(&id);
        self.live -= length.unwrap_or(0);
        length.is_some()
    }

    fn empty(&mut self) -> io::Result<()> {
        if self.size > 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.sync_data()?;
            (self.size, self.told) = (0, false);
        }
        Ok(())
    }

    /// After an error the file is written anew.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.size += lines.len() as u64,
            Err(_) => {
                // Half a line would swallow the next; if even this fails, the reader passes it over.
                self.file.set_len(self.size).ok();
                self.file.seek(SeekFrom::Start(self.size)).ok();
                self.broken = Some(Instant::now());
            }
        }
        written
    }

    /// Puts a file in its place that has only what is not confirmed, as far as there is room.
    fn write_anew(&mut self, store: &RedisStore) -> io::Result<usize> {
        match self.written_anew(store) {
            Ok(()) => Ok(self.ids.len()),
            Err(error) => {
                self.broken = Some(Instant::now());
                Err(error)
            }
        }
    }

    fn written_anew(&mut self, store: &RedisStore) -> io::Result<()> {
        let all = store.to_keep(true);
        let (next, file) = self.slot.next()?;
        let (mut size, mut written, mut ids) = (0, 0, HashMap::new());
        let mut file = BufWriter::new(file);
        for unposted in &all {
            let text = line::charge(unposted.charge(), unposted.tried())?;
            if size + text.len() as u64 > self.most {
                break;
            }
            file.write_all(&text)?;
            size += text.len() as u64;
            written += 1;
            ids.insert(unposted.charge().id, text.len() as u64);
        }
        let file = file.into_inner()?;
        file.sync_data()?;
        std::fs::rename(&next, self.path())?;
        (self.file, self.size, self.live, self.ids) = (file, size, size, ids);
        (self.full, self.broken) = (None, None);
        store.kept(all.iter().take(written));
        if written < all.len() {
            self.is_full();
        }
        Ok(())
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
            Ok(Line::Tried(ids)) => {
                for (id, at) in ids {
                    if let Some((_, tried)) = left.get_mut(&id) {
                        *tried = Some(at);
                    }
                }
            }
            Ok(Line::Done(ids)) => ids.iter().for_each(|id| drop(left.remove(id))),
            Err(_) if text.is_empty() => {}
            Err(error) => tracing::warn!(%error, "a line of the kept charges was cut off: passed over"),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests;
