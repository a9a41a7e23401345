use super::catalogue::EMBEDDED;
use super::*;
use crate::Provider::{self, *};

fn find(provider: Provider, model: &str) -> &'static Model {
    Catalogue::embedded().find(provider, model).unwrap_or_else(|| panic!("{provider:?} {model} is not known"))
}

fn price(provider: Provider, model: &str) -> &'static Price {
    find(provider, model).price.as_ref().unwrap()
}

#[test]
fn sonnet_is_charged_by_kind_of_token() {
    // 3 / 15 USD a million; cache read 0.30, write 3.75, write for an hour 6; 10 USD a thousand searches.
    let usage = Usage {
        input: 1_000,
        cache_read: 100_000,
        cache_write: 2_000,
        cache_write_1h: 500,
        output: 700,
        reasoning: 300,
        web_searches: 2,
    };
    let expected =
        1_000 * 3_000 + 100_000 * 300 + 2_000 * 3_750 + 500 * 6_000 + 700 * 15_000 + 2 * 10_000_000;
    assert_eq!(expected, 74_000_000); // 0.074 USD
    assert_eq!(price(Anthropic, "claude-sonnet-4-5").cost(&usage), expected);
    assert_eq!(price(Anthropic, "claude-sonnet-4-5-20250929").cost(&usage), expected);
}

#[test]
fn a_long_context_prices_all_tokens_of_the_request() {
    // Vertex keeps the tier above 200,000: 6 / 22.50, cache read 0.60, write 7.50, write for an hour 12.
    let sonnet = price(VertexAi, "claude-sonnet-4-5@20250929");
    let at = |cache_read| Usage {
        input: 10_000,
        cache_read,
        cache_write: 20_000,
        cache_write_1h: 5_000,
        output: 1_000,
        ..Usage::default()
    };
    let below = at(165_000); // 200,000 in all: not above it
    assert_eq!(below.total_input(), 200_000);
    assert_eq!(
        sonnet.cost(&below),
        10_000 * 3_000 + 165_000 * 300 + 20_000 * 3_750 + 5_000 * 6_000 + 1_000 * 15_000
    );
    let above = at(165_001);
    assert_eq!(
        sonnet.cost(&above),
        10_000 * 6_000 + 165_001 * 600 + 20_000 * 7_500 + 5_000 * 12_000 + 1_000 * 22_500
    );
}

#[test]
fn openai_has_a_price_for_cached_input_and_none_for_writes() {
    let usage = Usage { input: 1_234, cache_read: 4_096, output: 999, reasoning: 900, ..Usage::default() };
    assert_eq!(price(OpenAi, "gpt-5").cost(&usage), 1_234 * 1_250 + 4_096 * 125 + 999 * 10_000);
    assert_eq!(price(OpenAi, "gpt-5-mini").cost(&usage), 1_234 * 250 + 4_096 * 25 + 999 * 2_000);
    assert_eq!(price(OpenAi, "gpt-5-mini").cache_write, 250, "a write would be input, not free");
    assert_eq!(price(AzureOpenAi, "gpt-5-mini-2025-08-07").output, 2_000);
}

#[test]
fn limits_of_known_models() {
    let sonnet = find(Anthropic, "claude-sonnet-4-5");
    assert_eq!((sonnet.max_output, sonnet.context), (Some(64_000), Some(200_000)));
    assert_eq!(find(OpenAi, "gpt-5").max_output, Some(128_000));
}

#[test]
fn worst_prices_look_at_the_tiers_that_can_be_reached() {
    let sonnet = price(VertexAi, "claude-sonnet-4-5");
    assert_eq!((sonnet.worst_input(200_000), sonnet.worst_output(200_000)), (6_000, 15_000));
    assert_eq!((sonnet.worst_input(200_001), sonnet.worst_output(200_001)), (12_000, 22_500));
    let gpt = price(OpenAi, "gpt-5");
    assert_eq!((gpt.worst_input(u64::MAX), gpt.worst_output(0)), (1_250, 10_000));
}

#[test]
fn dearer_modes_have_their_own_prices() {
    let gpt = find(OpenAi, "gpt-5");
    assert_eq!(gpt.price_in("priority").unwrap().output, 20_000);
    assert_eq!(gpt.price_in("default"), gpt.price.as_ref());
    assert_eq!(find(Anthropic, "claude-opus-4-6").price_in("us").unwrap().input, 5_500);
}

#[test]
fn huge_usage_saturates() {
    let most = u64::MAX;
    let usage = Usage {
        input: most,
        cache_read: most,
        cache_write: most,
        cache_write_1h: most,
        output: most,
        reasoning: most,
        web_searches: most,
    };
    assert_eq!(price(Anthropic, "claude-sonnet-4-5").cost(&usage), u64::MAX);
    let dear = Price { input: most, output: most, web_search: most, ..Price::default() };
    assert_eq!(dear.cost(&usage), u64::MAX);
    assert_eq!(Price::default().cost(&usage), 0);
}

#[test]
fn the_unknown_has_no_price() {
    let catalogue = Catalogue::embedded();
    for (provider, model) in [
        (Anthropic, "claude-nonesuch-9"),
        (Anthropic, ""),
        (Anthropic, "gpt-5"),
        (OpenAi, "gpt-"),
        (OpenAi, "gpt-5-nonesuch"),
        (OpenAi, "claude-sonnet-4-5"),
        (OpenAiCompatible, "llama3:8b"),
        (OpenAiCompatible, "deepseek-v99"),
        (OpenAiCompatible, "€-2025-08-07"),
        (Bedrock, "us.anthropic."),
        (Gemini, "models/"),
    ] {
        assert_eq!(catalogue.find(provider, model), None, "{provider:?} {model}");
    }
}

#[test]
fn names_lead_to_their_model() {
    for (provider, asked, same) in [
        (Anthropic, "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        (Anthropic, "claude-sonnet-4-6-20991231", "claude-sonnet-4-6"),
        (Anthropic, "claude-sonnet-4-5-latest", "claude-sonnet-4-5"),
        (Anthropic, "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        (AzureFoundry, "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        (OpenAi, "gpt-5-mini-2099-01-31", "gpt-5-mini"),
        (OpenAi, "ft:gpt-4o-2024-08-06:acme:bot:9a8b", "ft:gpt-4o-2024-08-06"),
        (AzureOpenAi, "gpt-5-2099-01-31", "gpt-5"),
        (VertexAi, "claude-sonnet-4-6@20991231", "claude-sonnet-4-6"),
        (VertexAi, "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (Gemini, "models/gemini-2.5-pro", "gemini-2.5-pro"),
        (Bedrock, "ca.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        (Bedrock, "anthropic.claude-haiku-4-5-20251001-v2:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        (Bedrock, "anthropic.claude-haiku-4-5", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        (Bedrock, "claude-opus-4-6", "anthropic.claude-opus-4-6-v1"),
        (
            Bedrock,
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
    ] {
        assert_eq!(find(provider, asked), find(provider, same), "{provider:?} {asked}");
    }
}

#[test]
fn a_region_has_its_own_price_where_it_is_known() {
    let at = |model| price(Bedrock, model).input;
    assert_eq!(at("anthropic.claude-haiku-4-5-20251001-v1:0"), 1_000);
    assert_eq!(at("us.anthropic.claude-haiku-4-5-20251001-v1:0"), 1_100);
}

#[test]
fn decimals_are_taken_over_exactly_and_fractions_rounded_up() {
    let nova = price(Bedrock, "amazon.nova-micro-v1:0"); // 0.000000035, 0.00000014 and 0.00000000875 USD
    assert_eq!((nova.input, nova.output, nova.cache_read), (35, 140, 9));
    let haiku = price(Bedrock, "us.anthropic.claude-haiku-4-5-20251001-v1:0"); // 0.0000011: no binary fraction
    assert_eq!((haiku.input, haiku.output, haiku.cache_read), (1_100, 5_500, 110));
}

#[test]
fn a_dated_snapshot_keeps_its_own_price() {
    assert_eq!(price(OpenAi, "gpt-4o-2024-05-13").input, 5_000);
    assert_eq!(price(OpenAi, "gpt-4o").input, 2_500);
}

#[test]
fn the_embedded_file_is_whole_and_says_where_it_comes_from() {
    let catalogue = Catalogue::default().with_overrides(EMBEDDED).unwrap();
    assert!(catalogue.len() > 500, "{} models", catalogue.len());
    assert!(EMBEDDED.len() < 300_000);
    let source = catalogue.source();
    assert_eq!(source.name, "PyPI litellm");
    assert!(source.licence.starts_with("MIT"));
    assert_eq!((source.date.len(), source.sha256.len()), (10, 64));
    assert!(!source.version.is_empty());
    assert_eq!(Catalogue::embedded().len(), catalogue.len());
}

#[test]
fn every_embedded_price_is_whole_and_none_is_free() {
    let file: serde_json::Value = serde_json::from_str(EMBEDDED).unwrap();
    for (provider, models) in file["providers"].as_object().unwrap() {
        let provider =
            [Anthropic, OpenAi, AzureOpenAi, AzureFoundry, VertexAi, Gemini, Bedrock, OpenAiCompatible]
                .into_iter()
                .find(|p| p.as_str() == provider)
                .unwrap();
        for name in models.as_object().unwrap().keys() {
            let model = find(provider, name);
            let plain = model.price.as_ref().unwrap();
            let tiers = || plain.tiers.iter().map(|tier| &tier.price);
            let modes = model.modes.iter().map(|(_, price)| price);
            for p in std::iter::once(plain).chain(tiers()).chain(modes) {
                let kinds = [p.input, p.cache_read, p.cache_write, p.cache_write_1h, p.output];
                assert!(kinds.iter().all(|kind| *kind > 0), "{name}: {p:?}");
            }
            assert!(plain.tiers.is_sorted_by(|a, b| a.above < b.above), "{name}");
            assert!(tiers().all(|tier| tier.input >= plain.input && tier.output >= plain.output), "{name}");
        }
    }
}

#[test]
fn the_embedded_file_is_sorted_with_a_line_for_each_model() {
    let mut previous: Option<&str> = None;
    let mut models = 0;
    for line in EMBEDDED.lines().skip(2) {
        let name = line.split('"').nth(1).unwrap();
        match line.ends_with(":{") {
            true => previous = None,
            false => {
                assert!(previous < Some(name), "{name} comes after {previous:?}");
                previous = Some(name);
                models += 1;
            }
        }
    }
    assert_eq!(models, Catalogue::embedded().len());
}

fn overridden(json: &str) -> Catalogue {
    Catalogue::embedded().with_overrides(json).unwrap()
}

#[test]
fn overrides_replace_and_add() {
    let json = r#"{"providers": {
        "Anthropic": {"claude-sonnet-4-5": {"input": 2001, "output": 9000}},
        "OpenAICompatible": {"local": {"input": 0, "output": 0, "maxOutput": 8192, "context": 32768}}}}"#;
    let catalogue = overridden(json);
    let sonnet = catalogue.find(Anthropic, "claude-sonnet-4-5").unwrap();
    let expected = Price {
        input: 2_001,
        cache_read: 201,
        cache_write: 2_502,
        cache_write_1h: 4_002,
        output: 9_000,
        tiers: vec![],
        web_search: 10_000_000,
    };
    assert_eq!(sonnet.price, Some(expected), "fractions are rounded up");
    assert_eq!(sonnet.max_output, Some(64_000), "what is not overridden stays");
    let local = catalogue.find(OpenAiCompatible, "local").unwrap();
    assert_eq!(local.price, Some(Price::default()), "free because somebody said so");
    assert_eq!((local.max_output, local.context), (Some(8_192), Some(32_768)));
    assert_eq!(catalogue.len(), Catalogue::embedded().len() + 1);
    assert_eq!(catalogue.source(), Catalogue::embedded().source());
}

#[test]
fn an_override_without_prices_keeps_them() {
    let catalogue = overridden(r#"{"providers": {"OpenAI": {"gpt-5": {"maxOutput": 1000}}}}"#);
    let gpt = catalogue.find(OpenAi, "gpt-5").unwrap();
    assert_eq!(gpt.max_output, Some(1_000));
    assert_eq!(gpt.price, find(OpenAi, "gpt-5").price);
    assert_eq!(gpt.modes, find(OpenAi, "gpt-5").modes);
}

#[test]
fn an_overridden_tier_fills_in_what_rises_with_its_input() {
    let json = r#"{"providers": {"Gemini": {"g": {"input": 1000, "output": 8000, "cacheRead": 101,
        "tiers": [{"above": 300, "input": 4000}, {"above": 200, "input": 1500, "output": 12000}]}}}}"#;
    let catalogue = overridden(json);
    let tiers = &catalogue.find(Gemini, "g").unwrap().price.as_ref().unwrap().tiers;
    let shown: Vec<_> =
        tiers.iter().map(|t| (t.above, t.price.cache_read, t.price.cache_write, t.price.output)).collect();
    assert_eq!(shown, [(200, 152, 1_500, 12_000), (300, 404, 4_000, 8_000)]);
}

#[test]
fn bad_overrides_are_refused_with_the_reason() {
    for (json, words) in [
        ("{", "EOF"),
        (r#"{"providers": {"Antropic": {}}}"#, r#"provider "Antropic"; known are Anthropic, OpenAI"#),
        (r#"{"providers": {"OpenAI": {"m": {"inptu": 1}}}}"#, "unknown field `inptu`"),
        (r#"{"providers": {"OpenAI": {"m": {"input": 0.000003, "output": 1}}}}"#, "whole nano-USD a token"),
        (r#"{"providers": {"OpenAI": {"m": {"input": -1, "output": 1}}}}"#, "whole nano-USD a token"),
        (
            r#"{"providers": {"OpenAI": {"m": {"input": 5}}}}"#,
            r#"OpenAI "m" is not valid: a price needs both"#,
        ),
        (r#"{"providers": {"OpenAI": {"m": {"tiers": [{"above": 1, "input": 1}]}}}}"#, "a price needs both"),
        (
            r#"{"providers": {"OpenAI": {"m": {"input": 3000000000, "output": 1}}}}"#,
            "more than 0.1 USD a token",
        ),
    ] {
        let error = Catalogue::embedded().with_overrides(json).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_name_is_looked_up_without_a_panic(name in "\\PC{0,40}", provider in 0_usize..8) {
        let provider = [Anthropic, OpenAi, AzureOpenAi, AzureFoundry, VertexAi, Gemini, Bedrock, OpenAiCompatible][provider];
        let _found = Catalogue::embedded().find(provider, &name);
    }

    #[test]
    fn the_worst_prices_cover_every_cost(
        model: proptest::sample::Index,
        kinds in [0_u64..300_000, 0..300_000, 0..300_000, 0..300_000],
        output in 0_u64..100_000,
    ) {
        let all = Catalogue::embedded().prices();
        let price = model.get(&all);
        let [input, cache_read, cache_write, cache_write_1h] = kinds;
        let usage = Usage { input, cache_read, cache_write, cache_write_1h, output, ..Usage::default() };
        let total = usage.total_input();
        let hold = total * price.worst_input(total) + output * price.worst_output(total);
        proptest::prop_assert!(price.cost(&usage) <= hold);
    }
}
