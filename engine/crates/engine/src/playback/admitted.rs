//! WHEP sessions and what each was let in with, so that a new policy finds those that must go.

use super::policy::{Grant, Policy};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// HLS sessions keep their grants themselves.
#[derive(Default)]
pub struct Admitted(Mutex<HashMap<String, Viewer>>);

struct Viewer {
    stream: String,
    grant: Grant,
}

impl Admitted {
    /// Also forgets the sessions that `exists` no longer knows. The caller looks at the policy once more after this: a
    /// change in between has not seen the session.
    pub fn remember(&self, session: &str, stream: &str, grant: Grant, exists: impl Fn(&str) -> bool) {
        let mut viewers = self.lock();
        viewers.retain(|session, _| exists(session));
        viewers.insert(session.to_owned(), Viewer { stream: stream.to_owned(), grant });
    }

    /// The sessions that the policy does not allow, as far as they are still there. They stay here until they are gone.
    pub fn refused(&self, policy: &Policy) -> Vec<String> {
        let viewers = self.lock();
        let refused = viewers.iter().filter(|(_, viewer)| !policy.allows(&viewer.stream, &viewer.grant));
        refused.map(|(session, _)| session.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Viewer>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_policy_finds_who_must_go() {
        let admitted = Admitted::default();
        admitted.remember("gone", "main", Grant::PUBLIC, |_| true);
        admitted.remember("a", "main", Grant::PUBLIC, |session| session != "gone");
        admitted.remember("b", "other", Grant::PUBLIC, |_| true);
        assert!(admitted.refused(&Policy::everything_public()).is_empty());
        let private = r#"{"streams":{"main":{"visibility":"private","playback_key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}}}"#;
        let private = Policy::parse(private.as_bytes()).expect("a policy");
        assert_eq!(admitted.refused(&private), ["a"]);
        assert_eq!(admitted.refused(&private), ["a"], "until it is gone");
        admitted.remember("c", "other", Grant::PUBLIC, |session| session != "a");
        assert!(admitted.refused(&private).is_empty());
    }
}
