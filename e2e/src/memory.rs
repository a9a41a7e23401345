//! What a running process holds in its memory: secrets that it should never have had, say.

use anyhow::Context;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// How much is read at once.
const PIECE: u64 = 1 << 20;
/// Bytes of a page's entry in `pagemap`, and the bits of its last one that say that the page is in memory, or was swapped out.
const ENTRY: u64 = 8;
const THERE: u8 = 0b1100_0000;

/// Whether a process has these bytes in memory that it can write to. What it has freed and not yet used again counts as well.
pub fn in_memory(pid: u32, needle: &[u8]) -> anyhow::Result<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut pages, page) = (File::open(format!("/proc/{pid}/pagemap"))?, page_size()?);
    let mut bytes = vec![0; PIECE as usize];
    for line in maps.lines().filter(|l| l.split(' ').nth(1).is_some_and(|p| p.starts_with("rw"))) {
        let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let (mut at, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut tail = Vec::new();
        while at < to {
            let want = (to - at).min(PIECE);
            // An allocator reserves much that it never touches.
            if !is_touched(&mut pages, at / page, want.div_ceil(page))? {
                tail.clear();
                at += want;
                continue;
            }
            memory.seek(SeekFrom::Start(at))?;
            let Ok(read @ 1..) = memory.read(&mut bytes[..want as usize]) else { break };
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

/// Whether one of so many pages has ever been written to.
fn is_touched(pages: &mut File, first: u64, count: u64) -> anyhow::Result<bool> {
    let mut entries = vec![0; (count * ENTRY) as usize];
    pages.seek(SeekFrom::Start(first * ENTRY))?;
    pages.read_exact(&mut entries)?;
    // Little endian on all that this runs on.
    Ok(entries.chunks(ENTRY as usize).any(|entry| entry.last().is_some_and(|last| last & THERE != 0)))
}

fn page_size() -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let size = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:")?.trim().strip_suffix(" kB"));
    Ok(size.context("the kernel names no size of its pages")?.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_holds_is_found_and_what_it_does_not_hold_is_not() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "held=\"held-by-\"; held=\"$held$held\"; echo; read -r forever"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        let (held, not_held) =
            (in_memory(child.id(), b"held-by-held-by-"), in_memory(child.id(), b"by-nobody-at-all"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((held.unwrap(), not_held.unwrap()), (true, false));
    }
}
