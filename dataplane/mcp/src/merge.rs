//! One list out of many: deterministic order and bytes, because clients cache it and model prompts are made of it.

use crate::list::Tool;

/// The most bytes of tools on one page of the gateway's own list; most lists are one page.
pub const PAGE_BYTES: usize = 4 << 20;

/// A tool as one caller sees it.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a> {
    /// The name it has for the caller.
    pub name: &'a str,
    /// The tool.
    pub tool: &'a Tool,
}

/// A page of the merged list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// JSON array of the tools.
    pub tools: String,
    /// The name after which the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// Sorts what a caller sees by name. Of several tools of one name (only without prefixes) the first given stays.
pub fn order(tools: &mut Vec<Visible<'_>>) {
    tools.sort_by(|a, b| a.name.cmp(b.name));
    tools.dedup_by(|later, first| later.name == first.name);
}

/// The page after the tool `after`, of at most about `budget` bytes, of an ordered list.
pub fn page(tools: &[Visible<'_>], after: Option<&str>, budget: usize) -> Page {
    let start = after.map_or(0, |name| tools.partition_point(|t| t.name <= name));
    let mut out = String::from("[");
    let (mut last, mut rest) = (None, tools.get(start..).unwrap_or_default().iter().peekable());
    while let Some(visible) = rest.peek() {
        if last.is_some() && out.len() + visible.tool.raw().len() > budget {
            break;
        }
        if last.is_some() {
            out.push(',');
        }
        visible.tool.write(visible.name, &mut out);
        last = rest.next().map(|v| v.name);
    }
    out.push(']');
    let next = rest.peek().and(last).map(str::to_owned);
    Page { tools: out, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{BOUNDS, Listing, Walk};

    fn listing(server: &str, names: &[&str]) -> Listing {
        let tools: Vec<_> =
            names.iter().map(|n| format!("{{\"name\":\"{n}\",\"of\":\"{server}\"}}")).collect();
        let mut walk = Walk::new(server, BOUNDS);
        walk.page(&format!("{{\"tools\":[{}]}}", tools.join(","))).unwrap();
        walk.finish()
    }

    #[test]
    fn the_order_does_not_depend_on_who_answered_first() {
        let (a, b) = (listing("a", &["z", "y"]), listing("b", &["x"]));
        let see = |lists: [&Listing; 2]| {
            let all = lists.map(|l| l.tools().to_vec()).concat();
            let mut seen: Vec<_> = all.iter().map(|tool| Visible { name: &tool.public, tool }).collect();
            order(&mut seen);
            page(&seen, None, PAGE_BYTES).tools
        };
        assert_eq!(see([&a, &b]), see([&b, &a]));
        assert!(
            see([&a, &b]).starts_with(r#"[{"name":"a__y","of":"a"},{"name":"a__z","of":"a"},{"name":"b__x""#)
        );
    }

    #[test]
    fn without_prefixes_the_first_server_wins() {
        let (a, b) = (listing("a", &["q"]), listing("b", &["q"]));
        let all = [b.tools(), a.tools()].concat();
        let mut seen: Vec<_> = all.iter().map(|tool| Visible { name: &tool.name, tool }).collect();
        order(&mut seen);
        assert_eq!(page(&seen, None, PAGE_BYTES).tools, r#"[{"name":"q","of":"b"}]"#);
    }

    #[test]
    fn pages_together_are_the_list() {
        let list = listing("s", &["a", "b", "c", "d", "e"]);
        let seen: Vec<_> = list.tools().iter().map(|tool| Visible { name: &tool.public, tool }).collect();
        let whole = page(&seen, None, PAGE_BYTES);
        assert_eq!(whole.next, None);
        let (mut parts, mut after) = (Vec::new(), None);
        loop {
            let part = page(&seen, after.as_deref(), 50);
            parts.push(part.tools.trim_matches(['[', ']']).to_owned());
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((parts.len() > 1, format!("[{}]", parts.join(","))), (true, whole.tools));
        assert_eq!(page(&seen, Some("zzz"), 50), Page { tools: "[]".into(), next: None });
        assert_eq!(page(&[], None, 50), Page { tools: "[]".into(), next: None });
    }
}
