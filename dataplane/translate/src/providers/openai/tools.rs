//! Tool calls of a Chat answer, put together from pieces.
//!
//! OpenAI numbers the calls by `index` and gives id and name once, at the start. Other servers leave the index out, use 0
//! for every call, repeat the id or the name, send `null` or `""` in later pieces, or send the name after the first
//! arguments. What a piece belongs to is decided here, in one place.

use crate::{
    answer::{
        args::Scan,
        event::{Event, MAX_TOOLS},
    },
    json::{Num, Obj, Str},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The longest id or name that is remembered, in bytes; a longer id counts as none.
const NAME_CAP: usize = 1024;

/// The most bytes of arguments that may come before a call's name.
const HELD_CAP: usize = 1 << 20;

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Tools {
    calls: Vec<Call>,
    /// How many of them have begun: the next ordinal.
    begun: usize,
    /// How many of them still wait for their name.
    unnamed: usize,
}

#[derive(Debug)]
struct Call {
    choice: u64,
    index: Option<u64>,
    id: String,
    name: String,
    /// The ordinal, once the name is known.
    tool: Option<usize>,
    /// Arguments that came before the name.
    held: String,
    scan: Scan,
}

/// An element of `tool_calls`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireCall<'a> {
    index: Num,
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    function: Obj<WireFunction<'a>>,
}

/// The function of a call.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireFunction<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    /// A string by the API; some servers send the object itself.
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

// === impl WireCall ===

impl<'a> WireCall<'a> {
    pub(super) fn function(&self) -> Option<&WireFunction<'a>> {
        self.function.0.as_ref()
    }
}

// === impl WireFunction ===

impl<'a> WireFunction<'a> {
    /// The piece of JSON text that the arguments hold.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        match self.arguments.map(RawValue::get) {
            None | Some("null") => Cow::Borrowed(""),
            Some(text) if text.starts_with('"') => {
                serde_json::from_str::<Str<'a>>(text).ok().and_then(|text| text.0).unwrap_or_default()
            }
            Some(value) => Cow::Borrowed(value),
        }
    }
}

// === impl Tools ===

impl Tools {
    /// Takes a piece of `tool_calls`.
    pub(super) fn call(&mut self, choice: u64, call: &WireCall<'_>, on: &mut impl FnMut(Event<'_>)) {
        let none = WireFunction::default();
        let function = call.function().unwrap_or(&none);
        self.piece(choice, call.index.0, call.id.get(), function, on);
    }

    /// Takes a piece of the older `function_call`, of which an answer has one at most.
    pub(super) fn function(
        &mut self,
        choice: u64,
        function: &WireFunction<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) {
        self.piece(choice, Some(0), "", function, on);
    }

    /// The answer's calls are all there: one that never got a name still begins, so that nobody takes the answer for one
    /// without it; its empty name says what is wrong with it.
    pub(super) fn end(&mut self, on: &mut impl FnMut(Event<'_>)) {
        if self.unnamed == 0 {
            return;
        }
        self.unnamed = 0;
        for call in &mut self.calls {
            call.begin("", &mut self.begun, on);
        }
    }

    /// The answer was truncated: a call that has no name yet is left out.
    pub(super) fn cut_off(&mut self) {
        self.unnamed = 0;
    }

    fn piece(
        &mut self,
        choice: u64,
        index: Option<u64>,
        id: &str,
        function: &WireFunction<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) {
        let (name, arguments) = (function.name.get(), function.arguments());
        let id = if id.len() > NAME_CAP { "" } else { id };
        let at = match self.find(choice, index, id, name) {
            Some(at) => at,
            None if id.is_empty() && name.is_empty() && arguments.is_empty() => return,
            None => match self.add(choice, index) {
                Some(at) => at,
                None => {
                    on(Event::ToolStart { tool: MAX_TOOLS, id, name });
                    return;
                }
            },
        };
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        if call.tool.is_none() && !name.is_empty() {
            self.unnamed = self.unnamed.saturating_sub(1);
            call.begin(name, &mut self.begun, on);
        }
        call.arguments(&arguments, on);
        if call.held.len() > HELD_CAP {
            self.unnamed = self.unnamed.saturating_sub(1);
            call.begin("", &mut self.begun, on);
        }
    }

    /// Which call a piece continues; `None` when it begins a new one.
    fn find(&self, choice: u64, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let latest = |test: &dyn Fn(&Call) -> bool| {
            self.calls.iter().rposition(|call| call.choice == choice && test(call))
        };
        let at_index = |index| latest(&|call| call.index == Some(index));
        if id.is_empty() {
            let at = index.map_or_else(|| latest(&|_| true), at_index)?;
            return self.calls.get(at).is_some_and(|call| call.continued_by(name)).then_some(at);
        }
        // Two calls with one id differ in index and bring a name each.
        let same_id =
            latest(&|call| call.id == id && (index.is_none() || call.index == index || name.is_empty()));
        same_id.or_else(|| {
            let at = at_index(index?)?;
            self.calls.get(at).is_some_and(|call| call.continued_under_another_id(name)).then_some(at)
        })
    }

    fn add(&mut self, choice: u64, index: Option<u64>) -> Option<usize> {
        if self.calls.len() >= MAX_TOOLS {
            return None;
        }
        self.unnamed += 1;
        self.calls.push(Call {
            choice,
            index,
            id: String::new(),
            name: String::new(),
            tool: None,
            held: String::new(),
            scan: Scan::default(),
        });
        Some(self.calls.len() - 1)
    }
}

// === impl Call ===

impl Call {
    /// Whether a piece without an id belongs to this call: a piece with a name does when the name was missing, or is
    /// repeated while the arguments are still on the way.
    fn continued_by(&self, name: &str) -> bool {
        name.is_empty() || self.tool.is_none() || (self.name == name && !self.scan.complete_object())
    }

    /// Whether a piece with the index of this call but another id belongs to it: it brings the id that was missing, or no
    /// name (a call does not begin without one), or the arguments so far break off.
    fn continued_under_another_id(&self, name: &str) -> bool {
        name.is_empty()
            || (self.id.is_empty() && self.continued_by(name))
            || (self.name == name && !self.scan.is_empty() && !self.scan.complete_object())
    }

    /// The name is known: the call begins, with the arguments that came before.
    fn begin(&mut self, name: &str, begun: &mut usize, on: &mut impl FnMut(Event<'_>)) {
        if self.tool.is_some() {
            return;
        }
        let tool = *begun;
        *begun += 1;
        self.tool = Some(tool);
        if name.len() <= NAME_CAP {
            self.name.push_str(name);
        }
        on(Event::ToolStart { tool, id: &self.id, name });
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            on(Event::ToolArgs { tool, json: &held });
        }
    }

    fn arguments(&mut self, json: &str, on: &mut impl FnMut(Event<'_>)) {
        if json.is_empty() {
            return;
        }
        self.scan.feed(json);
        match self.tool {
            Some(tool) => on(Event::ToolArgs { tool, json }),
            None => self.held.push_str(json),
        }
    }
}
