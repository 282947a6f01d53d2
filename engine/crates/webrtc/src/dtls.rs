//! DTLS for str0m by dimpl, with three things stock str0m does not give: one validated `Config` for the
//! whole process (its self test costs a millisecond per join otherwise), a tap on the SRTP keys (our own
//! egress encrypts with them), and certificates on P-224, which FFmpeg's `whip` muxer makes by default.

use aws_lc_rs::digest;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion, SrtpProfile,
};

/// The SRTP keying material of one session (RFC 5764 section 4.2), set once when its handshake completes.
#[derive(Default)]
pub struct KeySlot(OnceLock<(Vec<u8>, SrtpProfile)>);

impl KeySlot {
    pub fn get(&self) -> Option<(&[u8], SrtpProfile)> {
        self.0.get().map(|(material, profile)| (material.as_slice(), *profile))
    }
}

impl fmt::Debug for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "KeySlot(set)" } else { "KeySlot(empty)" })
    }
}

thread_local! {
    /// str0m builds the DTLS instance inside `RtcConfig::build` and offers no way to pass context in.
    static NEXT_SLOT: RefCell<Option<Arc<KeySlot>>> = const { RefCell::new(None) };
}

/// Arms the key tap: the next `Rtc` built on this thread reports its keys to the returned slot.
pub fn arm_key_tap() -> Arc<KeySlot> {
    let slot = Arc::new(KeySlot::default());
    NEXT_SLOT.with(|next| *next.borrow_mut() = Some(slot.clone()));
    slot
}

#[derive(Debug, thiserror::Error)]
#[error("the DTLS library refused its own configuration: {0}")]
pub struct DtlsSetupError(String);

/// str0m's crypto with our DTLS provider in it. Built once; lives as long as the process.
pub fn crypto_provider() -> Result<CryptoProvider, DtlsSetupError> {
    let base = str0m::crypto::from_feature_flags();
    let mut dimpl_crypto = dimpl::crypto::aws_lc_rs::default_provider();
    dimpl_crypto.signature_verification =
        Box::leak(Box::new(PatientVerifier { inner: dimpl_crypto.signature_verification }));
    let config = dimpl::Config::builder()
        // The cookie exchange guards against spoofed sources; ours are ICE-validated before DTLS sees a byte.
        .use_server_cookie(false)
        .with_crypto_provider(dimpl_crypto)
        .build()
        .map_err(|error| DtlsSetupError(error.to_string()))?;
    let provider: &'static TapProvider =
        Box::leak(Box::new(TapProvider { inner: base.dtls_provider, config: Arc::new(config) }));
    Ok(CryptoProvider { dtls_provider: provider, ..base })
}

#[derive(Debug)]
struct TapProvider {
    inner: &'static dyn DtlsProvider,
    config: Arc<dimpl::Config>,
}

impl DtlsProvider for TapProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.inner.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // DTLS 1.2 always: with 1.3 Chromium negotiates AES-CM instead of AES-GCM, at twice the cost.
        Ok(Box::new(TapInstance {
            inner: dimpl::Dtls::new_12(self.config.clone(), cert.clone(), now),
            slot: NEXT_SLOT.with(|next| next.borrow_mut().take()),
        }))
    }
}

struct TapInstance {
    inner: dimpl::Dtls,
    slot: Option<Arc<KeySlot>>,
}

impl fmt::Debug for TapInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapInstance").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl DtlsInstance for TapInstance {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buf);
        if let (DtlsOutput::KeyingMaterial(material, profile), Some(slot)) = (&output, &self.slot) {
            // Set once: a renegotiation does not exist in DTLS 1.2 as we speak it.
            let _ = slot.0.set((material.as_ref().to_vec(), *profile));
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

/// Verifies what dimpl verifies (P-256, P-384) and P-224 besides.
#[derive(Debug)]
struct PatientVerifier {
    inner: &'static dyn dimpl::crypto::SignatureVerifier,
}

/// DER of the object identifier secp224r1 (1.3.132.0.33).
const OID_SECP224R1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21];
/// DER of the BIT STRING that holds an uncompressed P-224 point: tag, length 58, no unused bits, then 0x04.
const POINT_P224: [u8; 4] = [0x03, 0x3a, 0x00, 0x04];
/// 0x04 and two coordinates of 28 bytes.
const POINT_P224_LENGTH: usize = 57;

impl dimpl::crypto::SignatureVerifier for PatientVerifier {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: dimpl::crypto::HashAlgorithm,
        algorithm: dimpl::crypto::SignatureAlgorithm,
    ) -> Result<(), dimpl::CryptoError> {
        match p224_point(certificate) {
            Some(point) => verify_p224(point, data, signature, hash),
            None => self.inner.verify_signature(certificate, data, signature, hash, algorithm),
        }
    }
}

/// The uncompressed public point of a certificate whose key is on P-224.
fn p224_point(certificate: &[u8]) -> Option<&[u8]> {
    let oid = certificate.windows(OID_SECP224R1.len()).position(|window| window == OID_SECP224R1)?;
    let rest = &certificate[oid..];
    let bits = rest.windows(POINT_P224.len()).position(|window| window == POINT_P224)?;
    rest.get(bits + 3..bits + 3 + POINT_P224_LENGTH)
}

fn verify_p224(
    point: &[u8],
    data: &[u8],
    signature: &[u8],
    hash: dimpl::crypto::HashAlgorithm,
) -> Result<(), dimpl::CryptoError> {
    use p224::ecdsa::signature::hazmat::PrehashVerifier;
    let refused = |_| dimpl::CryptoError::UnsupportedEcCurve;
    let algorithm = match hash {
        dimpl::crypto::HashAlgorithm::SHA256 => &digest::SHA256,
        dimpl::crypto::HashAlgorithm::SHA384 => &digest::SHA384,
        _ => return Err(dimpl::CryptoError::UnsupportedEcCurve),
    };
    let key = p224::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(refused)?;
    let signature = p224::ecdsa::Signature::from_der(signature).map_err(refused)?;
    key.verify_prehash(digest::digest(algorithm, data).as_ref(), &signature).map_err(refused)
}
