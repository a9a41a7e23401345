//! The catalogue: embedded, overridden, looked up.

use super::Model;
use super::file::{CatalogueError, File};
use super::names::{STEPS, canonical};
use crate::Provider;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A set of models by provider and name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    source: Source,
    providers: Vec<Models>,
}

/// Where a catalogue comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Source {
    /// The package it was read from.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// When the version was taken over, `YYYY-MM-DD`.
    pub date: String,
    /// The licence of the source.
    pub licence: String,
    /// SHA-256 of the source's table, in hex.
    pub sha256: String,
}

/// The models of one provider.
#[derive(Debug, Clone, Default)]
struct Models {
    by_name: HashMap<Box<str>, Model>,
    /// The full name that stands for each canonical one that has no entry of its own.
    aliases: HashMap<Box<str>, Box<str>>,
}

/// All providers, in the order in which their models are kept.
const PROVIDERS: [Provider; 8] = [
    Provider::Anthropic,
    Provider::OpenAi,
    Provider::AzureOpenAi,
    Provider::AzureFoundry,
    Provider::VertexAi,
    Provider::Gemini,
    Provider::Bedrock,
    Provider::OpenAiCompatible,
];

/// Made by `data/refresh`.
pub(super) const EMBEDDED: &str = include_str!("../../data/prices.json");

// === impl Catalogue ===

impl Catalogue {
    /// The catalogue embedded at build time (`make prices` refreshes it; date and source inside). Read at the first use.
    pub fn embedded() -> &'static Catalogue {
        // The file is part of the program, and a test reads it: it cannot fail here.
        static CATALOGUE: LazyLock<Catalogue> =
            LazyLock::new(|| Catalogue::default().with_overrides(EMBEDDED).unwrap_or_default());
        &CATALOGUE
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How many models it knows.
    pub fn len(&self) -> usize {
        self.providers.iter().map(|models| models.by_name.len()).sum()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy with the entries of a JSON text added or replaced (the format is that of `data/prices.json`):
    ///
    /// ```
    /// use tollgate_translate::{Provider, price::Catalogue};
    /// let json = r#"{"providers": {"OpenAICompatible": {"my-model": {"input": 3000, "output": 15000}}}}"#;
    /// let catalogue = Catalogue::embedded().with_overrides(json).unwrap();
    /// let price = catalogue.find(Provider::OpenAiCompatible, "my-model").unwrap().price.as_ref().unwrap();
    /// assert_eq!(price.output, 15_000); // nano-USD a token: 15 USD a million
    /// ```
    ///
    /// # Errors
    /// The whole text is refused when it is not JSON of that format, names an unknown provider or field, or gives only
    /// half a price.
    pub fn with_overrides(&self, json: &str) -> Result<Catalogue, CatalogueError> {
        let file: File = serde_json::from_str(json)?;
        let mut out = self.clone();
        out.providers.resize_with(PROVIDERS.len(), Models::default);
        if let Some(source) = file.source {
            out.source = source;
        }
        for (name, entries) in file.providers {
            let known =
                PROVIDERS.iter().zip(&mut out.providers).find(|(provider, _)| provider.as_str() == name);
            let Some((provider, models)) = known else { return Err(unknown_provider(name)) };
            for (model, entry) in entries {
                let merged = entry.model(&model, models.by_name.get(&model));
                let merged = merged.map_err(|problem| CatalogueError::Model {
                    provider: provider.as_str(),
                    model: model.to_string(),
                    problem,
                })?;
                models.by_name.insert(model, merged);
            }
            models.index();
        }
        Ok(out)
    }

    /// All prices, in the order of their models' names.
    #[cfg(test)]
    pub(super) fn prices(&self) -> Vec<&super::Price> {
        let mut models: Vec<_> = self.providers.iter().flat_map(|models| &models.by_name).collect();
        models.sort_by_key(|(name, _)| *name);
        models.into_iter().filter_map(|(_, model)| model.price.as_ref()).collect()
    }

    /// The names of all models of a provider, in no order.
    pub fn models(&self, provider: Provider) -> impl Iterator<Item = &str> {
        let own = PROVIDERS.iter().position(|p| *p == provider).and_then(|index| self.providers.get(index));
        own.into_iter().flat_map(|models| models.by_name.keys().map(AsRef::as_ref))
    }

    /// Looks a model up: exact name, then without region prefix, date and version suffix (`us.`, `anthropic.`, `@date`, `-v1:0`).
    pub fn find(&self, provider: Provider, model: &str) -> Option<&Model> {
        let place = PROVIDERS.iter().position(|known| *known == provider)?;
        self.providers.get(place)?.find(model)
    }
}

fn unknown_provider(name: String) -> CatalogueError {
    CatalogueError::Provider { name, known: PROVIDERS.map(Provider::as_str).join(", ") }
}

// === impl Models ===

impl Models {
    /// The exact name; then the name shortened step by step, so that the price of a region or a dated snapshot is used
    /// where it is known; then the newest snapshot of what is left. Allocates nothing.
    fn find(&self, model: &str) -> Option<&Model> {
        if let Some(found) = self.by_name.get(model) {
            return Some(found);
        }
        let mut name = model;
        for step in STEPS {
            let shorter = step(name);
            if shorter.len() < name.len() {
                name = shorter;
                if let Some(found) = self.by_name.get(name) {
                    return Some(found);
                }
            }
        }
        self.by_name.get(self.aliases.get(name)?)
    }

    /// Notes for each canonical name the full one that stands for it: the shortest (no region), then the newest.
    fn index(&mut self) {
        self.aliases.clear();
        for name in self.by_name.keys() {
            let short = canonical(name);
            if short.len() == name.len() {
                continue;
            }
            let better = |known: &str| {
                (name.len(), std::cmp::Reverse(&**name)) < (known.len(), std::cmp::Reverse(known))
            };
            match self.aliases.get_mut(short) {
                Some(known) if better(known) => *known = name.clone(),
                Some(_) => {}
                None => {
                    self.aliases.insert(short.into(), name.clone());
                }
            }
        }
    }
}
