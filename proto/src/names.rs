//! What a name means: here alone, because the compiler, the operator's views, the data plane and `kubectl tollgate review` must never
//! disagree about it.

use crate::v1;

/// The most keys on a path to the root, the key itself included.
pub const MAX_DEPTH: usize = 8;

/// The object that a name means in `namespace`: its own, else the first by namespace of those exported to it. `of` says in which
/// namespace an object is and whether it is exported to `namespace`.
pub fn meant<T>(
    namesakes: impl IntoIterator<Item = T>,
    namespace: &str,
    of: impl for<'t> Fn(&'t T) -> (&'t str, bool),
) -> Option<T> {
    let mut best: Option<T> = None;
    for object in namesakes {
        let (own, exported) = of(&object);
        if own == namespace {
            return Some(object);
        }
        if exported && best.as_ref().is_none_or(|best| own < of(best).0) {
            best = Some(object);
        }
    }
    best
}

/// Whether an export reaches `namespace`; none reaches nobody.
pub fn reaches(export: Option<&v1::Export>, namespace: &str) -> bool {
    match export.and_then(|export| export.to.as_ref()) {
        Some(v1::export::To::All(all)) => *all,
        Some(v1::export::To::Namespaces(list)) => list.names.iter().any(|name| name == namespace),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_object_hides_all_others_and_the_first_by_namespace_is_next() {
        let there = |objects: &[(&'static str, bool)], from: &str| {
            meant(objects.to_vec(), from, |(namespace, exported)| (namespace, *exported)).map(|o| o.0)
        };
        let all = [("c", true), ("a", false), ("b", true), ("d", false)];
        assert_eq!(there(&all, "d"), Some("d"));
        assert_eq!(there(&all, "x"), Some("b"));
        assert_eq!(there(&[("a", false)], "x"), None);
    }

    #[test]
    fn an_export_reaches_whom_it_names() {
        let to = |to| v1::Export { to: Some(to) };
        let named = to(v1::export::To::Namespaces(v1::Namespaces { names: vec!["apps".into()] }));
        assert!(reaches(Some(&named), "apps") && !reaches(Some(&named), "ops"));
        assert!(reaches(Some(&to(v1::export::To::All(true))), "ops"));
        assert!(!reaches(Some(&to(v1::export::To::All(false))), "ops"));
        assert!(!reaches(Some(&v1::Export { to: None }), "ops") && !reaches(None, "ops"));
    }
}
