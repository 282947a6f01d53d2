//! The bounded queue between a stream and one subscriber.
//!
//! Its answer to "what if it is full?": drop everything queued and everything that comes until the next
//! video keyframe (audio-only streams: until there is room), count it, and tell the reader with
//! [`Item::Gap`]. The publisher never waits.

use crate::{AccessUnit, Item, TrackId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Called after something was queued; must not block (a `Notify`, an eventfd write).
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Bounds of one queue: 2,048 units is 26 s of 30 fps video with AAC; 16 MiB is ten seconds at 13 Mb/s.
pub const MAX_UNITS: usize = 2048;
pub const MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    pub queued_units: usize,
    pub queued_bytes: usize,
    pub dropped_units: u64,
    pub overflows: u64,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    units: usize,
    bytes: usize,
    /// Dropping until the next keyframe; the count since the overflow began.
    gap: Option<u64>,
    dropped: u64,
    overflows: u64,
    closed: bool,
    has_video: bool,
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    waker: Waker,
}

impl Queue {
    pub(crate) fn new(waker: Waker) -> Arc<Queue> {
        Arc::new(Queue { inner: Mutex::default(), waker })
    }

    /// False once the reader is gone.
    pub(crate) fn push(&self, item: Item) -> bool {
        {
            let mut q = self.lock();
            if q.closed {
                return false;
            }
            match item {
                Item::Unit(unit) => q.push_unit(unit),
                Item::Tracks(ref set) => {
                    q.has_video = set.video().is_some();
                    q.items.push_back(item);
                }
                other => q.items.push_back(other),
            }
        }
        (self.waker)();
        true
    }

    /// The reader is still there.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    fn push_unit(&mut self, unit: AccessUnit) {
        if let Some(dropped) = self.gap {
            let starts = if self.has_video { unit.track == TrackId::VIDEO && unit.keyframe } else { self.units == 0 };
            if !starts {
                self.gap = Some(dropped + 1);
                self.dropped += 1;
                return;
            }
            self.items.push_back(Item::Gap { dropped });
            self.gap = None;
        }
        if self.units >= MAX_UNITS || self.bytes + unit.data.len() > MAX_BYTES {
            let lost = self.units as u64 + 1;
            self.items.retain(|item| !matches!(item, Item::Unit(_) | Item::Gap { .. }));
            (self.units, self.bytes) = (0, 0);
            self.dropped += lost;
            self.overflows += 1;
            self.gap = Some(lost);
            return;
        }
        self.units += 1;
        self.bytes += unit.data.len();
        self.items.push_back(Item::Unit(unit));
    }
}

/// The reading end. Dropping it ends the subscription.
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    pub(crate) fn new(queue: Arc<Queue>) -> Subscription {
        Subscription { queue }
    }

    /// The next item, or None when nothing is queued now (the waker tells when to look again).
    pub fn try_next(&self) -> Option<Item> {
        let mut q = self.queue.lock();
        let item = q.items.pop_front()?;
        if let Item::Unit(unit) = &item {
            q.units -= 1;
            q.bytes -= unit.data.len();
        }
        Some(item)
    }

    pub fn statistics(&self) -> QueueStatistics {
        let q = self.queue.lock();
        QueueStatistics {
            queued_units: q.units,
            queued_bytes: q.bytes,
            dropped_units: q.dropped,
            overflows: q.overflows,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut q = self.queue.lock();
        q.closed = true;
        q.items.clear();
    }
}
