//! What each Claude takes. Data: a new generation is a new row.

use crate::request::conversation::Effort::{self, High, Low, Max, Medium, Xhigh};

/// What a generation of models takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claude {
    pub(super) thinking: ThinkingStyle,
    /// The values of `output_config.effort`, ascending; empty: the field is not sent.
    pub(super) efforts: &'static [Effort],
    pub(super) sampling: SamplingStyle,
    /// Whether `output_config.format` is known.
    pub(super) structured_outputs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingStyle {
    /// The model cannot think aloud.
    None,
    /// `enabled` with a budget.
    Budget,
    /// `adaptive`.
    Adaptive,
    /// It always thinks: it refuses `disabled`, and a forced choice of tool.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SamplingStyle {
    /// `temperature` and `top_p`.
    Both,
    /// Either of them.
    One,
    /// Neither.
    None,
}

/// The line of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Opus,
    Other,
}

/// (from version, line or any, what it takes): the last row that fits counts. Sources: translation.md §1.9, §2.2, §2.6.
const ROWS: &[((u32, u32), Option<Line>, Claude)] = &[
    (
        (0, 0),
        None,
        Claude {
            thinking: ThinkingStyle::None,
            efforts: &[],
            sampling: SamplingStyle::Both,
            structured_outputs: false,
        },
    ),
    (
        (3, 7),
        None,
        Claude {
            thinking: ThinkingStyle::Budget,
            efforts: &[],
            sampling: SamplingStyle::Both,
            structured_outputs: false,
        },
    ),
    (
        (4, 1),
        None,
        Claude {
            thinking: ThinkingStyle::Budget,
            efforts: &[],
            sampling: SamplingStyle::One,
            structured_outputs: true,
        },
    ),
    (
        (4, 5),
        Some(Line::Opus),
        Claude {
            thinking: ThinkingStyle::Budget,
            efforts: &[Low, Medium, High],
            sampling: SamplingStyle::One,
            structured_outputs: true,
        },
    ),
    (
        (4, 6),
        None,
        Claude {
            thinking: ThinkingStyle::Adaptive,
            efforts: &[Low, Medium, High, Max],
            sampling: SamplingStyle::One,
            structured_outputs: true,
        },
    ),
    (
        (4, 7),
        None,
        Claude {
            thinking: ThinkingStyle::Adaptive,
            efforts: &[Low, Medium, High, Xhigh, Max],
            sampling: SamplingStyle::One,
            structured_outputs: true,
        },
    ),
    (
        (4, 7),
        Some(Line::Opus),
        Claude {
            thinking: ThinkingStyle::Adaptive,
            efforts: &[Low, Medium, High, Xhigh, Max],
            sampling: SamplingStyle::None,
            structured_outputs: true,
        },
    ),
    (
        (5, 0),
        None,
        Claude {
            thinking: ThinkingStyle::Adaptive,
            efforts: &[Low, Medium, High, Xhigh, Max],
            sampling: SamplingStyle::None,
            structured_outputs: true,
        },
    ),
    (
        (5, 1),
        None,
        Claude {
            thinking: ThinkingStyle::Always,
            efforts: &[Low, Medium, High, Xhigh, Max],
            sampling: SamplingStyle::None,
            structured_outputs: true,
        },
    ),
];

/// What `model` takes. A name without a version is taken for a current model, as Claude Code does.
pub(super) fn claude(model: &str) -> Claude {
    let lower = model.to_ascii_lowercase();
    let version = version(&lower).unwrap_or((5, 0));
    let line = if lower.contains("opus") { Line::Opus } else { Line::Other };
    let fits =
        |row: &&((u32, u32), Option<Line>, Claude)| version >= row.0 && row.1.is_none_or(|l| l == line);
    // Opus 5.1 to 5.4 can still be kept from thinking (§1.9: Opus 5.5, Fable 5.1).
    let version_fits = |row: &&((u32, u32), Option<Line>, Claude)| {
        fits(row) && !(row.2.thinking == ThinkingStyle::Always && line == Line::Opus && version < (5, 5))
    };
    ROWS.iter().rfind(version_fits).map_or(ROWS[0].2, |row| row.2)
}

/// The version in a name: `claude-opus-4-6-20260101` → 4.6, `claude-3-7-sonnet` → 3.7, `claude-sonnet-5` → 5.0.
fn version(model: &str) -> Option<(u32, u32)> {
    let at = model.find("claude")?;
    let words = model.get(at..)?.split(['-', '.', '@', ':', '_', '/']);
    // A date has more digits.
    let mut numbers = words.skip_while(|word| number(word).is_none()).map_while(number);
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

fn number(word: &str) -> Option<u32> {
    if word.len() > 2 { None } else { word.parse().ok() }
}
