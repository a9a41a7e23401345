//! The pages in `docs/` keep up with the types.

use super::{rules::against, samples::documents, *};

const PAGES: [(&str, &str); 3] = [
    ("McpServer", include_str!("../../../../docs/mcp-server.md")),
    ("ProviderRoute", include_str!("../../../../docs/provider-route.md")),
    ("VirtualKey", include_str!("../../../../docs/virtual-key.md")),
];

#[test]
fn every_field_stands_in_its_page() {
    for (kind, page) in PAGES {
        for part in ["spec", "status"] {
            walk("", schema(kind).pointer(&format!("/properties/{part}")).unwrap(), &mut |path, _| {
                let field =
                    path.rsplit('.').next().unwrap_or_default().trim_end_matches(['[', ']', '{', '}']);
                // Kubernetes' own; everybody knows a condition.
                if path.starts_with(".conditions[].") || field == "observedGeneration" {
                    return;
                }
                let named = |c: char| !c.is_ascii_alphanumeric();
                assert!(
                    page.split(named).any(|word| word == field),
                    "{part}{path} is not in the page of {kind}"
                );
            });
        }
    }
}

#[test]
fn every_rule_and_default_stands_in_its_page() {
    for (kind, page) in PAGES {
        walk(kind, &schema(kind), &mut |path, node| {
            for rule in node.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                let message = rule.get("message").and_then(Value::as_str).unwrap();
                let start = message.split([':', ',']).next().unwrap();
                let known = page.contains(start) || start.starts_with("a pattern in ");
                assert!(known, "{path}: {message}");
            }
            let default = node.get("default").filter(|d| d.is_string() || d.is_number());
            if let Some(default) = default {
                let field = path.rsplit('.').next().unwrap();
                let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                let row = page
                    .lines()
                    .find(|l| l.starts_with('|') && l.contains(&format!(".{field}`")))
                    .or_else(|| page.lines().find(|l| l.starts_with(&format!("| `{field}`"))));
                assert!(
                    row.is_some_and(|r| r.contains(&format!("| `{shown}` |"))),
                    "{path}: {shown} in {row:?}"
                );
            }
        });
    }
}

#[test]
fn the_examples_are_valid() {
    for (kind, page) in PAGES {
        let mut examples = 0;
        for block in page.split("```yaml\n").skip(1) {
            for object in documents(block.split("```").next().unwrap()) {
                let of = object.get("kind").and_then(Value::as_str).unwrap();
                assert_eq!(against(of, &object), [""; 0], "{kind}: {object}");
                super::samples::round_trip(&object);
                examples += 1;
            }
        }
        assert!(examples > 1, "{kind}");
    }
}
