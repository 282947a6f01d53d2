//! The engine speaks as the examples in `tests/contract` say, which the control plane checks from its side.

use crate::support::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/contract").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The dotted paths of all fields; of lists only the first element counts.
fn fields(value: &Value) -> BTreeSet<String> {
    let below = |name: &str, value: &Value| {
        let inner = fields(value).into_iter().map(|field| format!("{name}.{field}"));
        inner.chain([name.to_owned()]).collect::<Vec<_>>()
    };
    match value {
        Value::Object(object) => object.iter().flat_map(|(name, value)| below(name, value)).collect(),
        Value::Array(list) => list.first().into_iter().flat_map(|first| below("0", first)).collect(),
        _ => BTreeSet::new(),
    }
}

#[tokio::test]
async fn health_and_stream_status_have_the_examples_fields() {
    let server = Server::start().await;
    assert_eq!(fields(&server.api("GET", "/v1/health").await.json()), fields(&example("health.json")));
    let publication = server.publish("main", false);
    let status = server.api("GET", "/v1/streams/main").await.json();
    assert_eq!(fields(&status), fields(&example("stream-status-on-air.json")));
    drop(publication);
    let status = server.api("GET", "/v1/streams/main").await.json();
    // The example leaves its ledgers empty.
    let missing: Vec<_> =
        fields(&example("stream-status-off-air.json")).difference(&fields(&status)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}
