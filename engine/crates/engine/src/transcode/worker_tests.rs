use super::super::test_support::{Recording, aac_config, opus_config, record};
use super::*;
use std::sync::mpsc;
use tallylight_media::{EndReason, Protocol, Publication, PublisherInfo, Streams};

/// No step of these tests takes a second; a broken one ends here instead of hanging.
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    streams: Streams,
    events: Arc<EventLog>,
    workers: Arc<Workers>,
    recording: Recording,
}

impl Rig {
    fn new(linger: Duration) -> Rig {
        let (events, streams) = (Arc::new(EventLog::new()), Streams::new(0));
        let workers = Workers::new(events.clone(), Arc::default(), linger);
        let starter = workers.clone();
        streams.on_opus_wanted(move |stream| starter.start(stream));
        Rig { streams, events, workers, recording: record("0.5*sin(2*PI*440*t)", 48_000, 2) }
    }

    fn stream(&self) -> Arc<Stream> {
        self.streams.get_or_create("main")
    }

    fn publish(&self, configs: &[TrackConfig]) -> Publication {
        let info = PublisherInfo {
            session: "test".into(),
            protocol: Protocol::Rtmp,
            request_keyframe: None,
            close: Arc::new(|_| {}),
        };
        let mut publication = self.stream().publish(info, Instant::now()).expect("nobody else publishes");
        publication.set_tracks(tracks(configs));
        publication
    }

    fn send(&self, publication: &Publication, frames: std::ops::Range<i64>) {
        for index in frames {
            let data = self.recording.frames[index as usize % self.recording.frames.len()].clone().into();
            let pts = index * 1024;
            let (track, arrived_at) = (TrackId::AUDIO, Instant::now());
            publication.push(AccessUnit { track, pts, dts: pts, keyframe: true, data, arrived_at }, arrived_at);
        }
    }

    /// Names and reasons of the events so far.
    fn seen(&self) -> Vec<String> {
        let events = self.events.after(0).events;
        events
            .iter()
            .map(|event| {
                let json: serde_json::Value = serde_json::from_str(&event.json).expect("an event is JSON");
                format!("{} {}", event.name, json["reason"].as_str().unwrap_or_default()).trim_end().to_owned()
            })
            .collect()
    }

    /// Waits until the last event is this one.
    fn wait_for(&self, event: &str) {
        wait(|| self.seen().last().is_some_and(|last| last == event), event);
    }
}

fn tracks(configs: &[TrackConfig]) -> Vec<Track> {
    configs.iter().map(|config| Track { id: TrackId::AUDIO, config: config.clone() }).collect()
}

fn wait(condition: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

/// A viewer: its subscription and a bell.
struct Listener(Subscription, mpsc::Receiver<()>);

impl Listener {
    fn new(stream: &Stream) -> Listener {
        let (bell, rings) = mpsc::channel();
        let waker: Waker = Arc::new(move || {
            let _ = bell.send(());
        });
        Listener(stream.subscribe(JoinPoint::Live, waker), rings)
    }

    /// The next `count` Opus units' times.
    fn opus(&self, count: usize) -> Vec<i64> {
        let mut times = Vec::new();
        while times.len() < count {
            match self.0.try_next() {
                Some(Item::Unit(unit)) if unit.track == TrackId::AUDIO_OPUS => times.push(unit.pts),
                Some(_) => {}
                None => self.1.recv_timeout(DEADLINE).expect("Opus comes"),
            }
        }
        times
    }
}

#[test]
fn the_first_viewer_starts_it_and_the_last_one_ends_it() {
    let rig = Rig::new(Duration::ZERO);
    let publication = rig.publish(&[aac_config(&rig.recording)]);
    let stream = rig.stream();
    let listener = Listener::new(&stream);
    let (first, second) = (stream.want_opus(), stream.want_opus());
    rig.wait_for("transcoder_started");
    rig.send(&publication, 0..40);
    let times = listener.opus(30);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960));
    drop(first);
    rig.send(&publication, 40..60);
    listener.opus(10);
    drop(second);
    rig.wait_for("transcoder_stopped not_needed");
    assert_eq!(rig.workers.counters.transcoders.get(), 0);
    let _third = stream.want_opus();
    rig.wait_for("transcoder_started");
}

#[test]
fn flickering_demand_never_makes_a_second_one() {
    let rig = Rig::new(Duration::from_secs(3600));
    let publication = rig.publish(&[aac_config(&rig.recording)]);
    let stream = rig.stream();
    for _ in 0..100 {
        drop(stream.want_opus());
    }
    let _viewer = stream.want_opus();
    rig.wait_for("transcoder_started");
    let listener = Listener::new(&stream);
    rig.send(&publication, 0..40);
    let times = listener.opus(30);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960), "two transcoders would interleave");
    assert_eq!(rig.seen(), ["transcoder_started"]);
}

#[test]
fn demand_that_returns_while_it_ends_is_served() {
    let rig = Rig::new(Duration::ZERO);
    let publication = rig.publish(&[aac_config(&rig.recording)]);
    let stream = rig.stream();
    for _ in 0..200 {
        drop(stream.want_opus());
    }
    let _viewer = stream.want_opus();
    let listener = Listener::new(&stream);
    // Whatever is running or starting: units that come now are served, by one worker.
    wait(|| rig.workers.counters.transcoders.get() == 1 && rig.seen().last().unwrap() == "transcoder_started", "runs");
    rig.send(&publication, 0..40);
    let times = listener.opus(30);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960));
}

#[test]
fn it_survives_publishers_and_changes_of_tracks() {
    let rig = Rig::new(Duration::from_secs(3600));
    let stream = rig.stream();
    let _viewer = stream.want_opus();
    let listener = Listener::new(&stream);
    for _ in 0..3 {
        let mut publication = rig.publish(&[aac_config(&rig.recording)]);
        rig.wait_for("transcoder_started");
        rig.send(&publication, 0..10);
        // The same tracks again are no change.
        publication.set_tracks(tracks(&[aac_config(&rig.recording)]));
        rig.send(&publication, 10..20);
        // 20 frames of 1024 samples are 21 packets of 960 and a rest.
        let times = listener.opus(21);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960));
        publication.set_tracks(tracks(&[opus_config()]));
        rig.wait_for("transcoder_stopped tracks_changed");
        publication.set_tracks(tracks(&[aac_config(&rig.recording)]));
        rig.wait_for("transcoder_started");
        publication.end(EndReason::Finished);
        rig.wait_for("transcoder_stopped publisher_ended");
    }
}

#[test]
fn surround_is_refused_in_words_and_damage_is_counted() {
    let rig = Rig::new(Duration::from_secs(3600));
    let stream = rig.stream();
    let _viewer = stream.want_opus();
    let mut surround = aac_config(&rig.recording);
    surround.extradata = tallylight_media::codec::aac::AudioSpecificConfig::lc_bytes(48_000, 6).expect("5.1 exists");
    let mut publication = rig.publish(&[surround]);
    rig.wait_for("transcoder_stopped channels_unsupported");
    let refused = rig.workers.counters.transcoder_errors.get();
    assert_eq!(refused, 1);
    publication.set_tracks(tracks(&[aac_config(&rig.recording)]));
    rig.wait_for("transcoder_started");
    let (track, now) = (TrackId::AUDIO, Instant::now());
    // A coupling channel element, which AAC-LC here does not have.
    let data = bytes::Bytes::from_static(&[0x40; 40]);
    publication.push(AccessUnit { track, pts: 0, dts: 0, keyframe: true, data, arrived_at: now }, now);
    wait(|| rig.workers.counters.transcoder_errors.get() == refused + 1, "the damaged frame is counted");
}
