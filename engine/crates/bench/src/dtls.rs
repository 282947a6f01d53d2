//! DTLS 1.2 for the viewers: one dimpl configuration for all of them, and a note of the SRTP profile each negotiated.
//!
//! str0m's own provider validates a new configuration per session, 1 ms of CPU that a browser does not spend: the generator would
//! measure itself at the joins.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion, SrtpProfile,
};

#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    #[error("dimpl refuses its configuration: {0}")]
    Configuration(dimpl::Error),
    #[error("no certificate could be made")]
    Certificate,
}

/// The profile a session negotiated, once its handshake is done.
pub type ProfileSlot = Arc<OnceLock<SrtpProfile>>;

thread_local! {
    /// str0m builds the DTLS instance inside `RtcConfig::build` and has no way to hand it context.
    static NEXT: RefCell<Option<ProfileSlot>> = const { RefCell::new(None) };
}

/// The next session built on this thread writes its profile into the slot returned.
pub fn watch_next_session() -> ProfileSlot {
    let slot = ProfileSlot::default();
    NEXT.with(|next| *next.borrow_mut() = Some(slot.clone()));
    slot
}

/// str0m's cryptography with this module's DTLS, and one certificate for all viewers.
pub fn prepare() -> Result<(Arc<CryptoProvider>, DtlsCert), DtlsError> {
    let base = str0m::crypto::from_feature_flags();
    let certificate = base.dtls_provider.generate_certificate().ok_or(DtlsError::Certificate)?;
    let configuration = dimpl::Config::builder()
        .use_server_cookie(false)
        .with_crypto_provider(dimpl::crypto::aws_lc_rs::default_provider())
        .build()
        .map_err(DtlsError::Configuration)?;
    // str0m holds providers by 'static reference; the process makes exactly one.
    let provider: &'static Provider = Box::leak(Box::new(Provider { configuration: Arc::new(configuration) }));
    Ok((Arc::new(CryptoProvider { dtls_provider: provider, ..base }), certificate))
}

#[derive(Debug)]
struct Provider {
    configuration: Arc<dimpl::Config>,
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = dimpl::Dtls::new_12(self.configuration.clone(), certificate.clone(), now);
        Ok(Box::new(Session { inner, profile: NEXT.with(|next| next.borrow_mut().take()) }))
    }
}

struct Session {
    inner: dimpl::Dtls,
    profile: Option<ProfileSlot>,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl DtlsInstance for Session {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buffer);
        if let (DtlsOutput::KeyingMaterial(_, profile), Some(slot)) = (&output, &self.profile) {
            // Only the first handshake counts; there is no second one.
            let _ = slot.set(*profile);
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
