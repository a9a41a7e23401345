//! An upstream's tool list: all of its pages, walked within bounds, each tool kept as the raw text it came in.

use crate::{
    json::{Object, quote, string},
    names,
};
use serde_json::value::RawValue;
use std::{collections::HashMap, ops::Range};

/// Bounds of one upstream's list.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Pages.
    pub pages: usize,
    /// Bytes of all tools together.
    pub bytes: usize,
    /// Tools.
    pub items: usize,
}

/// More than any real server has, little enough for a gateway's memory.
pub const BOUNDS: Bounds = Bounds { pages: 200, bytes: 16 << 20, items: 5000 };
/// The longest tool name taken from an upstream, in bytes.
const MAX_UPSTREAM_NAME: usize = 512;
/// The most names of dropped tools that are kept for the log.
const MAX_DROPPED: usize = 20;

/// A tool of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name at its server.
    pub name: Box<str>,
    /// Its prefixed name (see [`names::public`]).
    pub public: Box<str>,
    raw: Box<str>,
    name_at: Range<usize>,
}

/// All tools of one upstream, in the order of their names, with the tables that turn names back.
#[derive(Debug, Default)]
pub struct Listing {
    tools: Vec<Tool>,
    by_name: HashMap<Box<str>, usize>,
    by_public: HashMap<Box<str>, usize>,
    /// Tools that were left out, and why (the first few): for the log.
    pub dropped: Vec<String>,
    /// The list went on beyond the bounds.
    pub truncated: bool,
}

/// The state of walking a list.
#[derive(Debug)]
pub struct Walk {
    bounds: Bounds,
    pages: usize,
    bytes: usize,
    cursor: Option<String>,
    tools: Vec<Tool>,
    dropped: Vec<String>,
    truncated: bool,
    server: String,
}

/// A page that is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its tools/list answer is malformed: {0}")]
pub struct BadPage(String);

// === impl Walk ===

impl Walk {
    /// Begins to walk the tools of `server`.
    pub fn new(server: &str, bounds: Bounds) -> Self {
        Walk {
            bounds,
            pages: 0,
            bytes: 0,
            cursor: None,
            tools: Vec::new(),
            dropped: Vec::new(),
            truncated: false,
            server: server.to_owned(),
        }
    }

    /// The `params` of the next page's request, as JSON text.
    pub fn params(&self) -> String {
        self.cursor.as_ref().map_or_else(|| "{}".into(), |cursor| format!("{{\"cursor\":{cursor}}}"))
    }

    /// Takes a page's result. `true`: there is another page to ask for.
    ///
    /// # Errors
    /// When the result is not a list of tools.
    pub fn page(&mut self, result: &str) -> Result<bool, BadPage> {
        let object = Object::parse(result).map_err(|e| BadPage(e.to_string()))?;
        let tools = object.get("tools").ok_or_else(|| BadPage("there is no member \"tools\"".into()))?;
        let tools: Vec<&RawValue> = serde_json::from_str(tools).map_err(|e| BadPage(e.to_string()))?;
        for raw in tools {
            self.take(raw.get());
        }
        self.pages += 1;
        let next = object.get("nextCursor").filter(|c| *c != "null").map(str::to_owned);
        let again = next.is_some() && next == self.cursor;
        let more = next.is_some() && !again;
        self.cursor = next;
        self.truncated |= again || (more && self.pages >= self.bounds.pages);
        Ok(more && !self.truncated)
    }

    fn take(&mut self, raw: &str) {
        if self.tools.len() >= self.bounds.items || self.bytes + raw.len() > self.bounds.bytes {
            self.truncated = true;
            return;
        }
        match Tool::parse(&self.server, raw) {
            Ok(tool) => {
                self.bytes += raw.len();
                self.tools.push(tool);
            }
            Err(why) if self.dropped.len() < MAX_DROPPED => self.dropped.push(why),
            Err(_) => {}
        }
    }

    /// The list of all that was walked.
    pub fn finish(self) -> Listing {
        let mut listing = Listing { dropped: self.dropped, truncated: self.truncated, ..Listing::default() };
        let mut tools = self.tools;
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        for tool in tools {
            if listing.by_name.contains_key(&tool.name) || listing.by_public.contains_key(&tool.public) {
                if listing.dropped.len() < MAX_DROPPED {
                    listing.dropped.push(format!("{:?}: the name is there twice", tool.name));
                }
                continue;
            }
            listing.by_name.insert(tool.name.clone(), listing.tools.len());
            listing.by_public.insert(tool.public.clone(), listing.tools.len());
            listing.tools.push(tool);
        }
        listing
    }
}

// === impl Tool ===

impl Tool {
    fn parse(server: &str, raw: &str) -> Result<Self, String> {
        let object = Object::parse(raw).map_err(|e| e.to_string())?;
        let name_raw = object.get("name").ok_or("a tool without a name")?;
        let name = string(name_raw).ok_or("a tool whose name is not a string")?;
        if name.is_empty() || name.len() > MAX_UPSTREAM_NAME {
            return Err(format!("a tool whose name has {} bytes", name.len()));
        }
        let start = name_raw.as_ptr() as usize - raw.as_ptr() as usize;
        Ok(Tool {
            public: names::public(server, &name).into(),
            name: name.into(),
            name_at: start..start + name_raw.len(),
            raw: raw.into(),
        })
    }

    /// The tool's JSON as it came.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Writes the tool's JSON with `name` in place of its own; every other byte as it came.
    pub fn write(&self, name: &str, out: &mut String) {
        out.push_str(self.raw.get(..self.name_at.start).unwrap_or_default());
        out.push_str(&quote(name));
        out.push_str(self.raw.get(self.name_at.end..).unwrap_or_default());
    }
}

// === impl Listing ===

impl Listing {
    /// The tools in the order of their names.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tool that its server calls `name`.
    pub fn by_name(&self, name: &str) -> Option<&Tool> {
        self.tools.get(*self.by_name.get(name)?)
    }

    /// The tool whose prefixed name is `public`.
    pub fn by_public(&self, public: &str) -> Option<&Tool> {
        self.tools.get(*self.by_public.get(public)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(tools: &str, cursor: &str) -> String {
        format!("{{\"tools\":[{tools}],\"nextCursor\":{cursor},\"later\":1}}")
    }

    #[test]
    fn all_pages_are_walked_with_the_cursor_as_it_came() {
        let mut walk = Walk::new("db", BOUNDS);
        assert_eq!(walk.params(), "{}");
        assert!(walk.page(&page(r#"{"name":"b"}"#, r#""\u0061=""#)).unwrap());
        assert_eq!(walk.params(), r#"{"cursor":"\u0061="}"#);
        assert!(!walk.page(&page(r#"{"name":"a"}"#, "null")).unwrap());
        let listing = walk.finish();
        assert_eq!(listing.tools().iter().map(|t| &*t.public).collect::<Vec<_>>(), ["db__a", "db__b"]);
        assert!(!listing.truncated && listing.by_public("db__b").is_some() && listing.by_name("b").is_some());
    }

    #[test]
    fn only_the_name_is_edited() {
        let raw = r#"{ "inputSchema":{"type":"object","name":1.0e2},  "name" : "q\u0075ery" ,"execution":{"taskSupport":"optional"},"x":[1, 2]}"#;
        let mut walk = Walk::new("db", BOUNDS);
        walk.page(&page(raw, "null")).unwrap();
        let listing = walk.finish();
        let (tool, mut out) = (listing.by_name("query").unwrap(), String::new());
        tool.write("db__query", &mut out);
        assert_eq!(out, raw.replace(r#""q\u0075ery""#, r#""db__query""#));
        assert_eq!(tool.raw(), raw);
    }

    #[test]
    fn endless_lists_end() {
        let mut walk = Walk::new("db", Bounds { pages: 3, ..BOUNDS });
        for n in 0..3 {
            assert_eq!(walk.page(&page("", &format!("\"{n}\""))).unwrap(), n < 2);
        }
        assert!(walk.finish().truncated);
        let mut walk = Walk::new("db", BOUNDS);
        assert!(walk.page(&page("", "\"same\"")).unwrap());
        assert!(!walk.page(&page("", "\"same\"")).unwrap(), "a cursor that leads to itself");
        let mut walk = Walk::new("db", Bounds { items: 1, ..BOUNDS });
        walk.page(&page(r#"{"name":"a"},{"name":"b"}"#, "null")).unwrap();
        let listing = walk.finish();
        assert!(listing.truncated && listing.tools().len() == 1);
    }

    #[test]
    fn broken_tools_do_not_hide_good_ones() {
        let mut walk = Walk::new("db", BOUNDS);
        let tools =
            r#"1,{"title":"x"},{"name":2},{"name":""},{"name":"a","name":"b"},{"name":"ok"},{"name":"ok"}"#;
        walk.page(&page(tools, "null")).unwrap();
        let listing = walk.finish();
        assert_eq!((listing.tools().len(), listing.dropped.len()), (1, 6), "{:?}", listing.dropped);
        assert!(Walk::new("db", BOUNDS).page("{}").is_err());
        assert!(Walk::new("db", BOUNDS).page(r#"{"tools":{}}"#).is_err());
    }

    proptest! {
        #[test]
        fn names_turn_back(names in proptest::collection::hash_set("\\PC{1,90}", 1..12)) {
            let tools: Vec<_> = names.iter().map(|n| format!("{{\"name\":{}}}", quote(n))).collect();
            let mut walk = Walk::new("db", BOUNDS);
            walk.page(&page(&tools.join(","), "null")).unwrap();
            let listing = walk.finish();
            prop_assert_eq!(listing.tools().len(), names.len());
            for tool in listing.tools() {
                prop_assert_eq!(&listing.by_public(&tool.public).unwrap().name, &tool.name);
                prop_assert!(names.contains(&*tool.name));
            }
        }
    }
}
