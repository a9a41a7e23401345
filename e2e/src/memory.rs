//! What a running process holds in its memory: secrets that it should never have had, say.

use std::io::{Read, Seek, SeekFrom};

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Whether a process has these bytes in memory that it can write to. What it has freed and not yet used again counts as well.
pub fn in_memory(pid: u32, needle: &[u8]) -> anyhow::Result<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    for line in maps.lines().filter(|l| l.split(' ').nth(1).is_some_and(|p| p.starts_with("rw"))) {
        let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; PIECE];
        let mut at = from;
        let mut tail = Vec::new();
        while at < to {
            let want = (to - at).min(PIECE as u64) as usize;
            memory.seek(SeekFrom::Start(at))?;
            let Ok(read @ 1..) = memory.read(&mut bytes[..want]) else { break };
            tail.extend_from_slice(&bytes[..read]);
            if contains(&tail, needle) {
                return Ok(true);
            }
            tail.drain(..tail.len().saturating_sub(needle.len()));
            at += read as u64;
        }
    }
    Ok(false)
}

/// Whether bytes stand among others.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
