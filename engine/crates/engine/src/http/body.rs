//! Bodies: the one type of every answer, receiving with a size and a deadline, sending line by line.

use super::problem::{Code, Problem};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Whole, empty, streamed or passed on from the control plane.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A client has this long to send a body of ours (an SDP of some kilobytes), and this long before a body
/// passed on to the control plane must have shown the least rate (hardening matrix H1).
pub const RECEIPT_DEADLINE: Duration = Duration::from_secs(10);
/// The slowest upload worth waiting for: below any phone's, above what an attacker wants to pay.
const LEAST_BYTES_PER_SECOND: f64 = 1024.0;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The whole body, if it has at most `max_bytes` and arrives in time.
pub async fn receive(body: Incoming, max_bytes: usize) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(RECEIPT_DEADLINE, Limited::new(body, max_bytes).collect());
    match collected.await {
        Err(_) => Err(Problem::new(Code::BodyTooSlow, "The request body did not arrive in time.")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::TooLarge, format!("The request body has more than {max_bytes} bytes.")))
        }
        Ok(Err(_)) => Err(Problem::new(Code::BodyBroken, "The request body broke off.")),
    }
}

/// An endless answer written by a task; it ends when the task drops its end, and the task sees
/// [`mpsc::Sender::closed`] when the client is gone.
pub fn channel() -> (mpsc::Sender<Bytes>, Body) {
    // Four lines: a reader that is slower than that gets the next state, not a backlog.
    let (sender, receiver) = mpsc::channel(4);
    (sender, ChannelBody(receiver).boxed_unsync())
}

struct ChannelBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the client's request body broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the client sends its request body more slowly than {LEAST_BYTES_PER_SECOND} bytes a second")]
    TooSlow,
}

/// A request body on its way to the control plane that must not crawl.
pub struct Upload {
    incoming: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl Upload {
    pub fn new(incoming: Incoming) -> Upload {
        Upload { incoming, deadline: Box::pin(tokio::time::sleep(RECEIPT_DEADLINE)) }
    }

    fn extend(&mut self, received: usize) {
        let earned = Duration::from_secs_f64(received as f64 / LEAST_BYTES_PER_SECOND);
        // What was sent fast buys at most one more grace period, not hours.
        let latest = Instant::now() + RECEIPT_DEADLINE;
        let deadline = (self.deadline.deadline() + earned).min(latest);
        self.deadline.as_mut().reset(deadline);
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.extend(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.deadline.as_mut().poll(cx).map(|()| Some(Err(UploadError::TooSlow))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
