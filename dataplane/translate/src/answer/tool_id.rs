//! Ids of tool calls as a client can send them back to any provider.

use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The id that the client sees: the upstream's, if it is one that Anthropic's API accepts (`^[a-zA-Z0-9_-]+$`) and no other
/// call of the answer has it. Otherwise one made from it, or from the answer's id and the call's ordinal where there is none:
/// the next turn may go to another provider, and ids are what ties results to calls.
pub(crate) fn for_client<'a>(
    id: &'a str,
    answer: &str,
    tool: usize,
    taken: impl Fn(&str) -> bool,
) -> Cow<'a, str> {
    let legal = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !id.is_empty() && legal(id) && !taken(id) {
        return Cow::Borrowed(id);
    }
    let stem: String = if id.is_empty() { format!("call_{answer}_{tool}") } else { id.into() };
    let clean: String =
        stem.chars().map(|c| if legal(c.encode_utf8(&mut [0; 4])) { c } else { '_' }).collect();
    if id.is_empty() && !taken(&clean) {
        return Cow::Owned(clean);
    }
    let digest = hex::encode(Sha256::digest(format!("{answer}/{tool}/{id}").as_bytes()));
    let (short, _) = digest.split_at(8);
    Cow::Owned(format!("{clean}_{short}"))
}
