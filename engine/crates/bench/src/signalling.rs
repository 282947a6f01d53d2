//! WHEP requests on worker threads, so that a slow answer does not stop the packet counting.

use crate::http::{self, HttpError};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Requests under way at once: 50 joins a second at up to 80 ms each.
const WORKERS: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("the server answered {status}: {body}")]
    Refused { status: u16, body: String },
}

/// What a viewer's POST brought.
#[derive(Debug)]
pub struct Answer {
    pub sdp: String,
    /// Absolute URL of the session, to end it.
    pub session: Option<String>,
    pub posted_at: Instant,
    pub round_trip: Duration,
}

struct Job {
    viewer: usize,
    offer: String,
}

/// Posts offers and collects answers by viewer index.
pub struct Signalling {
    jobs: Sender<Job>,
    answers: Receiver<(usize, Result<Answer, JoinError>)>,
}

impl Signalling {
    /// `notify` is called from a worker when an answer is there to be taken.
    pub fn start(url: &str, token: Option<&str>, notify: impl Fn() + Send + Sync + 'static) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (results, answers) = mpsc::channel();
        let (queue, notify) = (Arc::new(Mutex::new(queue)), Arc::new(notify));
        for _ in 0..WORKERS {
            let (queue, results, notify) = (queue.clone(), results.clone(), notify.clone());
            let (url, token) = (url.to_owned(), token.map(str::to_owned));
            thread::spawn(move || {
                while let Some(job) = queue.lock().ok().and_then(|queue| queue.recv().ok()) {
                    if results.send((job.viewer, join(&url, token.as_deref(), &job.offer))).is_err() {
                        return;
                    }
                    notify();
                }
            });
        }
        Self { jobs, answers }
    }

    pub fn post(&self, viewer: usize, offer: String) {
        // The workers live as long as this sender.
        let _ = self.jobs.send(Job { viewer, offer });
    }

    pub fn answers(&self) -> impl Iterator<Item = (usize, Result<Answer, JoinError>)> {
        self.answers.try_iter()
    }
}

fn join(url: &str, token: Option<&str>, offer: &str) -> Result<Answer, JoinError> {
    let posted_at = Instant::now();
    let response = http::request("POST", url, token, offer)?;
    let round_trip = posted_at.elapsed();
    if response.status != 201 {
        return Err(JoinError::Refused { status: response.status, body: response.body });
    }
    let session = response.location.map(|location| http::absolute(&location, url)).transpose()?;
    Ok(Answer { sdp: response.body, session, posted_at, round_trip })
}

/// Ends sessions, as a browser does that leaves the page. Failures do not matter: the measurement is over.
pub fn leave(sessions: &[String], token: Option<&str>) {
    let share = sessions.len().div_ceil(WORKERS).max(1);
    thread::scope(|scope| {
        for sessions in sessions.chunks(share) {
            scope.spawn(move || {
                for session in sessions {
                    let _ = http::request("DELETE", session, token, "");
                }
            });
        }
    });
}
