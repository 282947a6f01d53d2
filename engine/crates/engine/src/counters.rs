//! Counters of the whole process, shown by `GET /v1/statistics` under their dotted names.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows, or (a gauge) the number of something that exists now.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    /// For gauges: one fewer exists now.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// The registry: a counter exists exactly when it has a line here.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $field: Counter,)* }

        impl Counters {
            /// Every counter with its dotted name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// Gauge: open connections of the public http front.
    http_connections => "http.connections",
    http_connections_accepted => "http.connections_accepted",
    /// Closed at once: too many in total or from one address.
    http_connections_refused => "http.connections_refused",
    http_requests => "http.requests",
    http_proxied => "http.proxied",
    http_control_plane_away => "http.control_plane_away",
    /// Gauge: open `/live/{name}/events` streams.
    http_event_streams => "http.event_streams",
    hls_requests => "hls.requests",
    /// Of playlists and media, without headers.
    hls_bytes => "hls.bytes",
    /// Gauge: requests that wait for the next part or playlist.
    hls_held => "hls.held",
    /// Viewers of private streams who were not let in.
    playback_refused => "playback.refused",
    /// Sessions that a new policy ended.
    playback_revoked => "playback.revoked",
    /// Gauge: readers of `/v1/streams/{name}/tap`.
    tap_open => "tap.open",
    tap_bytes => "tap.bytes",
    /// Units that slow readers lost.
    tap_dropped => "tap.dropped",
    admission_questions => "admission.questions",
    admission_denied => "admission.denied",
    admission_unanswered => "admission.unanswered",
    /// Gauge: open RTMP connections.
    rtmp_connections => "rtmp.connections",
    rtmp_connections_accepted => "rtmp.connections_accepted",
    rtmp_connections_refused => "rtmp.connections_refused",
    rtmp_protocol_errors => "rtmp.protocol_errors",
    rtmp_bytes_in => "rtmp.bytes_in",
    /// Gauge: streams whose AAC is being made into Opus.
    transcoders => "transcode.active",
    /// Frames that could not be decoded or encoded, and tracks that could not be taken up.
    transcoder_errors => "transcode.errors",
}
