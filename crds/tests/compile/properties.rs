//! The compiler is a function of the set of objects: no order, no memory, no panic.

use super::input;
use proptest::prelude::*;
use std::sync::LazyLock;
use tollgate_crds::compile::{Input, Object, Options, compile};
use tollgate_crds::manifest;

/// Objects that need, export to, hide and contradict each other.
const WORLD: &str = include_str!("world.yaml");

static OBJECTS: LazyLock<Input> = LazyLock::new(|| {
    let (input, problems) = input(WORLD, Options::STANDALONE);
    assert_eq!(problems, Vec::<String>::new());
    assert!(input.objects.len() >= 24);
    input
});

fn with(objects: Vec<Object>, options: Options) -> Input {
    Input { objects, namespaces: OBJECTS.namespaces.clone(), options, ..Input::default() }
}

fn options() -> impl Strategy<Value = Options> {
    prop_oneof![Just(Options::STANDALONE), Just(Options::CLUSTER)]
}

proptest! {
    #[test]
    fn order_does_not_matter(objects in Just(OBJECTS.objects.clone()).prop_shuffle(), options in options()) {
        let sorted = compile(&with(OBJECTS.objects.clone(), options));
        let shuffled = compile(&with(objects, options));
        prop_assert_eq!(&sorted.resources, &shuffled.resources);
        prop_assert_eq!(&sorted.statuses, &shuffled.statuses);
        let versions = |c: &tollgate_crds::compile::Compiled| -> Vec<_> {
            c.resources.iter().map(|r| (r.id(), r.version())).collect()
        };
        prop_assert_eq!(versions(&sorted), versions(&shuffled));
    }

    #[test]
    fn any_subset_compiles(chosen in proptest::collection::vec(any::<bool>(), OBJECTS.objects.len()), options in options()) {
        let objects: Vec<_> = OBJECTS.objects.iter().zip(chosen).filter(|(_, c)| *c).map(|(o, _)| o.clone()).collect();
        let count = objects.len();
        let compiled = compile(&with(objects, options));
        prop_assert_eq!(compiled.statuses.len(), count);
        for status in &compiled.statuses {
            let emitted = compiled.resources.get(&status.id()).is_some();
            let secret = status.kind == tollgate_proto::Kind::Secret;
            // A duplicate shares its name with the object that counts.
            prop_assert!(secret || emitted || !status.is_accepted(), "{}", status);
        }
        for key in compiled.resources.keys() {
            let parent = key.parent_ref.as_ref();
            let exists = |p: &tollgate_proto::v1::ObjectRef| {
                compiled.resources.keys().any(|k| k.namespace == p.namespace && k.name == p.name)
            };
            prop_assert!(parent.is_none_or(exists) || !key.denied.is_empty(), "{:?}", key);
        }
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        let _ = manifest::read("x", text.as_bytes(), &|_| None);
    }

    #[test]
    fn a_damaged_world_is_read_and_compiled(at in 0..WORLD.len(), length in 0..40usize, noise in "[ -~\n]{0,8}") {
        let mut bytes = WORLD.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, noise.bytes());
        let file = manifest::read("x", &bytes, &|_| None);
        let compiled = compile(&with(file.objects, Options::STANDALONE));
        // A hole of 40 bytes damages few documents, and no other.
        prop_assert!(compiled.resources.len() >= 8, "{:?}", file.problems);
    }
}
