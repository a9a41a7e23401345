//! Secrets where they do not belong: in a log, in what the API server tells of anything but Secrets (Events are objects too), in
//! metrics, in records, in what clients were answered.
//!
//! The search itself is tried on what must be found: by it, every secret that is in force is in the API server's Secrets, and every
//! place that is searched has a word that belongs there.

use super::{
    keys::{AUDITOR, KEYS, MCP_TOKEN},
    stage::Stage,
};
use crate::{client::Http, provider::DEFAULT_KEY};
use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// A secret.
#[derive(Debug)]
struct Needle {
    /// Whose; findings tell this and not the secret.
    what: String,
    /// Whether the API server must have it.
    in_force: bool,
    /// As it is, and as it looks inside of base64.
    forms: Vec<String>,
}

/// Text that was read somewhere.
#[derive(Debug)]
struct Place {
    name: String,
    text: String,
    /// What shows that this is the text that was meant.
    word: &'static str,
}

/// Both programs say so as they start.
const STARTED: &str = "listening on http";
/// A finding tells where in a text it is: what goes before.
const BEFORE: usize = 160;

/// Tells the logs of all programs what to look for: they keep no more than so many lines, and this must not depend on that.
pub fn seek(stage: &Stage) {
    let mut parts: Vec<String> = needles(stage).into_iter().flat_map(|needle| needle.forms).collect();
    parts.push(STARTED.to_owned());
    for process in stage.processes() {
        process.log().seek(&parts);
    }
}

/// Searches all places; how many bytes that were.
pub async fn check(stage: &Stage) -> anyhow::Result<usize> {
    let needles = needles(stage);
    control(stage, &needles).await?;
    let mut places = logs(stage)?;
    places.extend(objects(stage).await?);
    places.extend(metrics(stage).await?);
    places.push(Place {
        name: "the records".to_owned(),
        text: stage.rows("SELECT to_json(r) FROM records r")?,
        word: "\"attempts\"",
    });
    places.push(answers(stage));
    for place in &places {
        let Place { name, text, word } = place;
        ensure!(
            text.contains(word),
            "{name}: there is no {word:?}, so nothing was searched:\n{}",
            clip(text)
        );
        let at = |needle: &Needle| needle.forms.iter().filter_map(|form| text.find(form)).min();
        let found: Vec<(&str, usize)> =
            needles.iter().filter_map(|needle| Some((needle.what.as_str(), at(needle)?))).collect();
        if let Some((_, first)) = found.iter().min_by_key(|(_, at)| *at) {
            let what = found.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", ");
            let before = tail(text.get(..*first).unwrap_or_default());
            stage.world.judge.finding(&format!("in {name}: {what}; the first stands after {before:?}"));
        }
    }
    Ok(places.iter().map(|place| place.text.len()).sum())
}

/// The same search finds what is there.
async fn control(stage: &Stage, needles: &[Needle]) -> anyhow::Result<()> {
    let secrets = stage.kubectl(&["get", "secrets", "-o", "json"]).await?;
    for needle in needles.iter().filter(|needle| needle.in_force) {
        let found = needle.forms.iter().any(|form| secrets.contains(form));
        ensure!(found, "{} is in no Secret: the search finds nothing", needle.what);
    }
    Ok(())
}

fn needles(stage: &Stage) -> Vec<Needle> {
    let names = KEYS.iter().map(|key| key.name).chain([AUDITOR]);
    let tokens = names.map(|name| (format!("the token of {name}"), stage.world.token(name), true));
    let past = stage.world.past_tokens().into_iter();
    let past = past.map(|(name, token)| (format!("a token that {name} had"), token, false));
    let others = [("the provider's key", DEFAULT_KEY), ("the MCP server's credential", MCP_TOKEN)];
    let others = others.into_iter().map(|(what, secret)| (what.to_owned(), secret.to_owned(), true));
    let needle =
        |(what, secret, in_force): (String, String, bool)| Needle { what, in_force, forms: forms(&secret) };
    tokens.chain(past).chain(others).map(needle).collect()
}

/// A secret, and what is certain of its base64, wherever it begins.
fn forms(secret: &str) -> Vec<String> {
    let encoded = |before: usize| {
        let bytes = [&vec![0; before], secret.as_bytes()].concat();
        let text = STANDARD_NO_PAD.encode(&bytes);
        // Characters that also hold bits of what stands before or after it.
        let from = (before * 8).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        text.get(from..to).unwrap_or_default().to_owned()
    };
    [secret.to_owned(), encoded(0), encoded(1), encoded(2)].into()
}

/// The logs of our programs and of all others.
fn logs(stage: &Stage) -> anyhow::Result<Vec<Place>> {
    let place = |name: &str, text, word| Place { name: format!("the log of {name}"), text, word };
    let mut places = Vec::new();
    for process in stage.processes() {
        // Every line of them was searched as it came.
        places.push(place(process.name(), process.log().found().join("\n"), STARTED));
    }
    places.push(place("Redis", stage.redis.log()?, "Ready to accept connections"));
    let postgres = stage.postgres.log().map_err(anyhow::Error::msg)?;
    places.push(place("PostgreSQL", postgres, "ready to accept connections"));
    for (name, word) in [("kube-apiserver", "apiserver"), ("audit", "auditID")] {
        let path = stage.cluster.folder().join(format!("{name}.log"));
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        places.push(place(name, String::from_utf8_lossy(&text).into_owned(), word));
    }
    Ok(places)
}

/// Everything that the API server lists, but Secrets.
async fn objects(stage: &Stage) -> anyhow::Result<Vec<Place>> {
    let kinds = stage.cluster.kubectl(["api-resources", "--verbs=list", "-o", "name"]).await?;
    let kinds: Vec<&str> = kinds.split_whitespace().filter(|kind| *kind != "secrets").collect();
    ensure!(kinds.contains(&"virtualkeys.tollgate.dev"), "the API server lists {kinds:?}");
    let get = |kinds: String| async move {
        let all = ["get", &kinds, "--all-namespaces", "--show-managed-fields", "-o", "json"];
        stage.cluster.kubectl(all).await
    };
    let (events, others): (Vec<&str>, Vec<&str>) =
        kinds.into_iter().partition(|kind| *kind == "events" || kind.starts_with("events."));
    let place = |name: &str, text, word| Place { name: name.to_owned(), text, word };
    Ok(vec![
        place("the objects", get(others.join(",")).await?, "\"kind\": \"VirtualKey\""),
        place("the Events", get(events.join(",")).await?, "\"kind\": \"Event\""),
    ])
}

async fn metrics(stage: &Stage) -> anyhow::Result<Vec<Place>> {
    let (http, mut places) = (Http::new(), Vec::new());
    for process in stage.processes() {
        let text = http.get(&process.admin("/metrics")).await?.expect(200)?.text();
        places.push(Place { name: format!("the metrics of {}", process.name()), text, word: "tollgate_" });
    }
    Ok(places)
}

/// Errors, as clients read them.
fn answers(stage: &Stage) -> Place {
    let turns: Vec<String> = stage.world.judge.turns().iter().map(ToString::to_string).collect();
    Place { name: "the answers".to_owned(), text: turns.join("\n"), word: "ended" }
}

fn tail(text: &str) -> String {
    let mut tail: Vec<char> = text.chars().rev().take(BEFORE).collect();
    tail.reverse();
    tail.into_iter().collect()
}

fn clip(text: &str) -> String {
    text.chars().take(BEFORE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_secret_is_found_wherever_it_stands_in_base64() {
        let secret = "sk-a-secret-0123456789abcdef";
        for around in ["", "a", "ab", "abc", "Bearer "] {
            for after in ["", "x", "xy"] {
                let text = STANDARD.encode(format!("{around}{secret}{after}"));
                assert!(forms(secret).iter().any(|form| text.contains(form)), "{around:?} {after:?}: {text}");
            }
        }
        let other = STANDARD.encode("sk-another-0123456789abcdef");
        assert!(!forms(secret).iter().any(|form| other.contains(form)));
    }
}
