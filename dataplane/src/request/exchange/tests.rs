use super::*;
use crate::{
    gateway::Options,
    model::fixtures::{key, route, world},
};
use http::HeaderValue;
use parking_lot::Mutex;
use tollgate_ledger::{charge::Ask, memory::MemoryStore};
use tollgate_translate::Provider;

type Records = Arc<Mutex<Vec<Record>>>;

/// A request with a hold, whose record goes to the second part.
fn held(sink: impl Fn() + Send + Sync + 'static) -> (Exchange, Records) {
    let (snapshot, node) = world(vec![key("k")], vec![route("r", Provider::OpenAi)]);
    let records = Records::default();
    let log = records.clone();
    let sink: crate::records::Sink = Arc::new(move |record| {
        sink();
        log.lock().push(record);
    });
    let gateway =
        Arc::new(Gateway::new(Options::default(), Arc::new(snapshot), MemoryStore::new().into(), sink));
    let id = Uuid::now_v7();
    let mut exchange = Exchange::new(gateway.clone(), id, Format::Chat, node, &HeaderMap::new(), 0);
    let now = gateway.now();
    let ask = Ask::free(id, now, now + 1000);
    let held = gateway.ledger.reserve(&[], &ask, true);
    exchange.held = Some(futures_util::FutureExt::now_or_never(held).unwrap().unwrap());
    (exchange, records)
}

#[test]
fn a_panic_releases_the_hold_and_is_recorded() {
    let (exchange, records) = held(|| {});
    let gateway = exchange.gateway.clone();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _inside = exchange;
        panic!("injected");
    }));
    assert!(result.is_err());
    assert_eq!(gateway.ledger.holds(), 0);
    let record = records.lock().pop().unwrap();
    assert_eq!((record.status, record.error.unwrap().contains("failed")), (500, true));
}

#[test]
fn a_sink_that_panics_while_another_panic_unwinds_does_not_end_the_process() {
    let (exchange, _) = held(|| panic!("injected into the sink"));
    let gateway = exchange.gateway.clone();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _inside = exchange;
        panic!("injected");
    }));
    assert!(result.is_err());
    assert_eq!(gateway.ledger.holds(), 0);
}

#[test]
fn a_hold_outlives_the_longest_wait_for_an_answer() {
    let (mut exchange, _) = held(|| {});
    let gateway = exchange.gateway.clone();
    let wait = Duration::from_secs(3600);
    exchange.leaving(Instant::now(), wait);
    let late = gateway.now() + i64::try_from(wait.as_millis()).unwrap();
    let expired = |now| futures_util::FutureExt::now_or_never(gateway.ledger.tick(now)).unwrap().len();
    assert_eq!(expired(late), 0, "an answer may still come");
    assert_eq!(expired(late + 2 * gateway.options.hold_ms), 1);
}

#[test]
fn what_is_recorded_of_headers_is_bounded() {
    let mut headers = HeaderMap::new();
    let long = HeaderValue::from_str(&"x".repeat(100_000)).unwrap();
    headers.insert(http::header::USER_AGENT, long.clone());
    for n in 0..100 {
        let name = format!("{}{n:0>200}", names::META_PREFIX);
        headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), long.clone());
    }
    assert_eq!(user_agent(&headers).unwrap().len(), MAX_USER_AGENT);
    let metadata = metadata(&headers);
    assert_eq!(metadata.len(), MAX_METADATA);
    assert!(metadata.iter().all(|(n, v)| n.len() <= MAX_METADATA_NAME && v.len() <= MAX_METADATA_VALUE));
}
