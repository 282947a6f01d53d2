//! The policy in force, and its copy on disk for the engine's next start.

use super::policy::{MAX_POLICY_BYTES, Policy, PolicyError};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

pub struct Gate {
    policy: watch::Sender<Arc<Policy>>,
    file: Option<PathBuf>,
    /// What is surely on disk. Held for one replacement at a time, so that it is what is in force.
    kept: Mutex<Option<Bytes>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    #[error(transparent)]
    Invalid(#[from] PolicyError),
    /// It is in force all the same.
    #[error("the policy cannot be written to disk: {0}")]
    NotKept(#[from] io::Error),
}

impl Gate {
    /// With what an earlier engine was told last. A file that is there and cannot be read closes the gate: a private stream must not
    /// open because a disk is broken. The control plane sends its policy as soon as it sees this engine.
    pub fn open(file: Option<PathBuf>) -> Gate {
        let policy = file.as_deref().map_or_else(Policy::everything_public, |file| {
            load(file).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "playback_policy_not_read");
                Policy::Unknown
            })
        });
        Gate { policy: watch::Sender::new(Arc::new(policy)), file, kept: Mutex::default() }
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.borrow().clone()
    }

    /// Rings at every replacement.
    pub fn changes(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.subscribe()
    }

    /// Puts a policy in force, lets `enforce` end what it no longer allows, and only then waits for the disk. To be run to its
    /// end, also when whoever asked for it does not wait.
    pub async fn replace(&self, document: Bytes, enforce: impl Future<Output = ()>) -> Result<(), ReplaceError> {
        let mut kept = self.kept.lock().await;
        self.policy.send_replace(Arc::new(Policy::parse(&document)?));
        enforce.await;
        let Some(file) = self.file.clone().filter(|_| kept.as_ref() != Some(&document)) else { return Ok(()) };
        *kept = None;
        let writing = document.clone();
        let written = tokio::task::spawn_blocking(move || {
            keep(&file, &writing).inspect_err(|_| {
                // An old policy may open what is private now. Nothing at all closes the gate at the next start; that needs no space.
                let _ = OpenOptions::new().write(true).truncate(true).open(&file);
            })
        });
        written.await.map_err(io::Error::other)??;
        *kept = Some(document);
        Ok(())
    }
}

/// The kept policy; everything is public when there has never been one.
fn load(file: &Path) -> Result<Policy, ReplaceError> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Policy::everything_public()),
        opened => opened?,
    };
    let mut document = Vec::new();
    // One byte more than allowed is enough to fail as JSON that was cut off.
    opened.take(MAX_POLICY_BYTES as u64 + 1).read_to_end(&mut document)?;
    Ok(Policy::parse(&document)?)
}

/// Readers see the old or the new file, never half of one, also after a power cut.
fn keep(file: &Path, document: &[u8]) -> io::Result<()> {
    let staging = file.with_extension("new");
    match fs::remove_file(&staging) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writing = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staging)?;
    writing.write_all(document)?;
    writing.sync_all()?;
    fs::rename(&staging, file)?;
    // The rename itself is on disk when its directory is.
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::random_id;
    use crate::playback::{Grant, Refusal};
    use std::os::unix::fs::PermissionsExt;

    const PRIVATE: &str =
        r#"{"streams":{"main":{"visibility":"private","playback_key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}}}"#;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            let path = std::env::temp_dir().join(format!("tallylight-{}", random_id()));
            fs::create_dir(&path).expect("a temporary directory");
            Directory(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("policy.json")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn without_token(gate: &Gate) -> Result<Grant, Refusal> {
        gate.policy().admit("main", None, 0)
    }

    #[tokio::test]
    async fn a_policy_outlives_the_engine() {
        let directory = Directory::new();
        let gate = Gate::open(Some(directory.file()));
        assert_eq!(without_token(&gate), Ok(Grant::PUBLIC), "none was ever set");
        let mut changes = gate.changes();
        gate.replace(PRIVATE.into(), async {}).await.expect("kept");
        assert!(changes.has_changed().expect("a gate"));
        assert_eq!(without_token(&gate), Err(Refusal::TokenMissing));
        let mode = fs::metadata(directory.file()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(without_token(&Gate::open(Some(directory.file()))), Err(Refusal::TokenMissing));
        gate.replace(r#"{"streams":{}}"#.into(), async {}).await.expect("kept");
        assert_eq!(without_token(&Gate::open(Some(directory.file()))), Ok(Grant::PUBLIC));
        assert_eq!(fs::read_dir(&directory.0).expect("a directory").count(), 1, "nothing is left beside it");
        changes.mark_unchanged();
        assert!(
            gate.replace("{}".into(), async {}).await.is_err_and(|error| matches!(error, ReplaceError::Invalid(_)))
        );
        assert!(!changes.has_changed().expect("a gate"), "a broken policy changes nothing");
    }

    #[tokio::test]
    async fn a_kept_policy_that_cannot_be_read_closes_the_gate_until_the_next() {
        let directory = Directory::new();
        for broken in [&PRIVATE.as_bytes()[..40], b"", &[b' '; MAX_POLICY_BYTES + 2]] {
            fs::write(directory.file(), broken).expect("a file");
            assert_eq!(without_token(&Gate::open(Some(directory.file()))), Err(Refusal::PolicyUnknown));
        }
        let gate = Gate::open(Some(directory.file()));
        gate.replace(r#"{"streams":{}}"#.into(), async {}).await.expect("kept");
        assert_eq!(without_token(&gate), Ok(Grant::PUBLIC));
    }

    #[tokio::test]
    async fn what_is_kept_already_is_not_written_again() {
        let directory = Directory::new();
        let gate = Gate::open(Some(directory.file()));
        gate.replace(PRIVATE.into(), async {}).await.expect("kept");
        fs::remove_file(directory.file()).expect("a file");
        gate.replace(PRIVATE.into(), async {}).await.expect("kept");
        assert!(!directory.file().exists());
        gate.replace(r#"{"streams":{}}"#.into(), async {}).await.expect("kept");
        gate.replace(PRIVATE.into(), async {}).await.expect("kept");
        assert_eq!(without_token(&Gate::open(Some(directory.file()))), Err(Refusal::TokenMissing));
    }

    #[tokio::test]
    async fn an_older_policy_does_not_come_back_when_the_newer_one_cannot_be_written() {
        let directory = Directory::new();
        let gate = Gate::open(Some(directory.file()));
        gate.replace(r#"{"streams":{}}"#.into(), async {}).await.expect("kept");
        fs::create_dir(directory.file().with_extension("new")).expect("something in the way");
        let mut enforced = false;
        let replaced = gate.replace(PRIVATE.into(), async { enforced = true }).await;
        assert!(replaced.is_err_and(|error| matches!(error, ReplaceError::NotKept(_))));
        assert!(enforced);
        assert_eq!(without_token(&Gate::open(Some(directory.file()))), Err(Refusal::PolicyUnknown));
    }

    #[tokio::test]
    async fn a_policy_that_cannot_be_kept_is_in_force_all_the_same() {
        let directory = Directory::new();
        let gate = Gate::open(Some(directory.0.join("missing/policy.json")));
        assert!(
            gate.replace(PRIVATE.into(), async {}).await.is_err_and(|error| matches!(error, ReplaceError::NotKept(_)))
        );
        assert_eq!(without_token(&gate), Err(Refusal::TokenMissing));
    }
}
