//! The terminal: colours where it has them, plain text elsewhere.

use std::io::IsTerminal;

/// Writes to the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Print {
    colour: bool,
}

/// The widest line of quoted text.
const WIDTH: usize = 108;

// === impl Print ===

impl Print {
    /// Colours only on a terminal, and not when `NO_COLOR` is set.
    #[allow(clippy::new_without_default)] // it looks at the terminal: no default
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Print { colour }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The first lines.
    pub fn title(self, name: &str, what: &str) {
        println!("\n{}  {}\n", self.paint("1", name), self.paint("2", what));
    }

    /// Something that stands.
    pub fn up(self, name: &str, at: &str, what: &str) {
        println!("  {} {name:<20} {at:<28} {}", self.paint("32", "✓"), self.paint("2", what));
    }

    /// A headline.
    pub fn scene(self, number: usize, title: &str, who: &str) {
        println!(
            "\n{} {}  {}",
            self.paint("1;36", &number.to_string()),
            self.paint("1", title),
            self.paint("2", who)
        );
    }

    /// What is sent.
    pub fn sent(self, text: &str) {
        println!("  {} {}", self.paint("2", "→"), self.paint("2", &clip(text)));
    }

    /// What is answered.
    pub fn answered(self, text: &str) {
        println!("  {} {}", self.paint("32", "←"), clip(text));
    }

    /// What is refused, whole.
    pub fn refused(self, status: &str, text: &str) {
        println!("  {} {} {text}", self.paint("33", "✗"), self.paint("33", status));
    }

    /// A remark.
    pub fn detail(self, text: &str) {
        println!("    {}", self.paint("2", text));
    }

    /// A scene that did not show what it must.
    pub fn failed(self, text: &str) {
        println!("  {} {text}", self.paint("1;31", "FAILED"));
    }

    /// A line to copy.
    pub fn command(self, text: &str) {
        println!("    {}", self.paint("1", text));
    }

    /// A plain line.
    pub fn note(self, text: &str) {
        println!("{text}");
    }
}

fn clip(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
