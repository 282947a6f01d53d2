//! JSON lines on stderr: one object per line, the event's name under `event`.

use crate::timestamps::rfc3339;
use serde_json::{Map, Value};
use std::fmt;
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Sets the level, for example `debug` or `info,tallylight_webrtc=trace`.
const LEVEL_VARIABLE: &str = "TALLYLIGHT_LOG";
/// The libraries under us speak about every peer's mistakes at info.
const DEFAULT_FILTER: &str = "info,str0m=warn,dimpl=warn,hyper=warn";

/// Call once, first of all.
pub fn install() {
    let filter = EnvFilter::try_from_env(LEVEL_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).event_format(JsonLine).init();
}

struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        fields.0.insert("at".into(), rfc3339(SystemTime::now()).into());
        fields.0.insert("level".into(), event.metadata().level().as_str().to_ascii_lowercase().into());
        fields.0.insert("target".into(), event.metadata().target().into());
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// Collects an event's fields. The message is its name; a field `json` holds more fields (the event log's).
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "event" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match serde_json::from_str(value) {
            Ok(Value::Object(more)) if field.name() == "json" => self.0.extend(more),
            _ => self.set(field, value.into()),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_event_is_one_flat_object() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).event_format(JsonLine).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(stream = "a\nb", count = 2_u64, "http_accept_failed");
            tracing::info!(json = r#"{"event":"media_stalled","seq":7}"#);
        });
        let text = String::from_utf8(lines.0.lock().expect("one thread").clone()).expect("UTF-8");
        let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(values[0]["event"], "http_accept_failed");
        assert_eq!((&values[0]["stream"], &values[0]["count"]), (&"a\nb".into(), &2.into()));
        assert_eq!((&values[1]["event"], &values[1]["seq"]), (&"media_stalled".into(), &7.into()));
        assert_eq!(values.len(), 2);
    }
}
