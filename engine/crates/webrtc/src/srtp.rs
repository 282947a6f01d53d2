//! SRTP and SRTCP sealing for our own egress (RFC 3711 and RFC 7714), from the keys the DTLS tap gives.
//!
//! The nonce rules (see `docs/decisions/0001-own-egress.md`): each (key, SSRC, index) seals one plaintext
//! only. str0m shares the key, so it never sends on an SSRC that we send on, and our SRTCP index starts
//! at 2^30 where its own never gets.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use std::collections::HashMap;
use str0m::config::CryptoProvider;
use str0m::crypto::dtls::SrtpProfile;

const GCM_TAG: usize = 16;
const HMAC_SHA1_80_TAG: usize = 10;
/// E bit and index behind an SRTCP packet.
const SRTCP_INDEX: usize = 4;
/// Ours; str0m counts from 0 under the same key.
const FIRST_SRTCP_INDEX: u32 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SrtpError {
    #[error("the peer negotiated an SRTP profile this server does not send: {0}")]
    Profile(String),
    #[error("SRTP keying material is too short")]
    KeyingMaterial,
    #[error("the crypto library refused a key")]
    Key,
}

enum Cipher {
    Gcm { rtp: LessSafeKey, rtp_salt: [u8; 12], rtcp: LessSafeKey, rtcp_salt: [u8; 12] },
    Counter(Box<CounterMode>),
}

struct CounterMode {
    rtp: EncryptingKey,
    rtp_salt: [u8; 14],
    rtp_auth: hmac::Key,
    rtcp: EncryptingKey,
    rtcp_salt: [u8; 14],
    rtcp_auth: hmac::Key,
}

/// Seals one session's outgoing packets.
pub struct Sealer {
    cipher: Cipher,
    srtcp_index: u32,
    audit: Option<NonceAudit>,
}

/// Remembers what was sealed under each nonce and panics on a second plaintext: a broken nonce rule
/// breaks AES-GCM, and must never pass a test. Costs memory; on only when asked for.
#[derive(Default)]
struct NonceAudit {
    rtp: HashMap<(u32, u64), u64>,
    rtcp: HashMap<(u32, u32), u64>,
}

impl NonceAudit {
    fn check<K: std::hash::Hash + Eq + std::fmt::Debug>(seen: &mut HashMap<K, u64>, key: K, plaintext: &[u8]) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        plaintext.hash(&mut hasher);
        let hash = hasher.finish();
        let message = format!("SRTP nonce used twice for different plaintexts: {key:?}");
        let first = *seen.entry(key).or_insert(hash);
        assert!(first == hash, "{message}");
    }
}

impl Sealer {
    /// Keys for the server's direction when the server was the DTLS server (answer `setup:passive`).
    pub fn new(
        crypto: &CryptoProvider,
        material: &[u8],
        profile: SrtpProfile,
        audit_nonces: bool,
    ) -> Result<Sealer, SrtpError> {
        let (key_length, salt_length) = match profile {
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            other => return Err(SrtpError::Profile(format!("{other:?}"))),
        };
        if material.len() < 2 * (key_length + salt_length) {
            return Err(SrtpError::KeyingMaterial);
        }
        // RFC 5764 section 4.2: client key, server key, client salt, server salt.
        let key = &material[key_length..2 * key_length];
        let salt = &material[2 * key_length + salt_length..2 * (key_length + salt_length)];
        let derive = |label: u8, length: usize| derive(crypto, key, salt, label, length);
        let cipher = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => Cipher::Counter(Box::new(CounterMode {
                rtp: counter_key(&derive(0, 16))?,
                rtp_auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derive(1, 20)),
                rtp_salt: fixed(&derive(2, 14)),
                rtcp: counter_key(&derive(3, 16))?,
                rtcp_auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derive(4, 20)),
                rtcp_salt: fixed(&derive(5, 14)),
            })),
            _ => {
                let algorithm = if key_length == 16 { &AES_128_GCM } else { &AES_256_GCM };
                let gcm = |label| UnboundKey::new(algorithm, &derive(label, key_length)).map(LessSafeKey::new);
                Cipher::Gcm {
                    rtp: gcm(0).map_err(|_| SrtpError::Key)?,
                    rtp_salt: fixed(&derive(2, 12)),
                    rtcp: gcm(3).map_err(|_| SrtpError::Key)?,
                    rtcp_salt: fixed(&derive(5, 12)),
                }
            }
        };
        let audit = audit_nonces.then(NonceAudit::default);
        Ok(Sealer { cipher, srtcp_index: FIRST_SRTCP_INDEX, audit })
    }

    /// Bytes that sealing adds behind an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        match self.cipher {
            Cipher::Gcm { .. } => GCM_TAG,
            Cipher::Counter(_) => HMAC_SHA1_80_TAG,
        }
    }

    /// Encrypts a packet in place. `packet` is header, payload and [`Sealer::rtp_overhead`] spare bytes.
    ///
    /// `extended_sequence` is ROC and sequence number as one 48-bit count; its low 16 bits must be those
    /// in the header. Sealing the same packet again (a retransmission) gives the same bytes.
    pub fn seal_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, extended_sequence: u64) {
        if let Some(audit) = &mut self.audit {
            let plain = &packet[..packet.len()
                - match self.cipher {
                    Cipher::Gcm { .. } => GCM_TAG,
                    _ => HMAC_SHA1_80_TAG,
                }];
            NonceAudit::check(&mut audit.rtp, (ssrc, extended_sequence), plain);
        }
        let index = extended_sequence.to_be_bytes();
        match &self.cipher {
            Cipher::Gcm { rtp, rtp_salt, .. } => {
                // RFC 7714 section 8.1: 00 00, SSRC, ROC, SEQ, xor salt.
                let mut nonce = *rtp_salt;
                xor(&mut nonce[2..6], &ssrc.to_be_bytes());
                xor(&mut nonce[6..12], &index[2..8]);
                seal_gcm(rtp, nonce, packet, header);
            }
            Cipher::Counter(keys) => {
                // RFC 3711 section 4.1.1.
                let mut iv = [0u8; 16];
                iv[..14].copy_from_slice(&keys.rtp_salt);
                xor(&mut iv[4..8], &ssrc.to_be_bytes());
                xor(&mut iv[8..14], &index[2..8]);
                let (body, tag) = packet.split_at_mut(packet.len() - HMAC_SHA1_80_TAG);
                encrypt_counter(&keys.rtp, iv, &mut body[header..]);
                let mut mac = hmac::Context::with_key(&keys.rtp_auth);
                mac.update(body);
                mac.update(&index[2..6]);
                tag.copy_from_slice(&mac.sign().as_ref()[..HMAC_SHA1_80_TAG]);
            }
        }
    }

    /// Encrypts a compound RTCP packet (its first SSRC is the sender's) into a datagram.
    pub fn seal_rtcp(&mut self, plain: &[u8]) -> Vec<u8> {
        let index = self.srtcp_index;
        self.srtcp_index += 1;
        let ssrc: [u8; 4] = fixed(&plain[4..8]);
        if let Some(audit) = &mut self.audit {
            NonceAudit::check(&mut audit.rtcp, (u32::from_be_bytes(ssrc), index), plain);
        }
        let trailer = (index | 0x8000_0000).to_be_bytes();
        let mut out = plain.to_vec();
        match &self.cipher {
            Cipher::Gcm { rtcp, rtcp_salt, .. } => {
                // RFC 7714 section 9.1; the associated data is the header and the E bit with the index.
                let mut nonce = *rtcp_salt;
                xor(&mut nonce[2..6], &ssrc);
                xor(&mut nonce[8..12], &index.to_be_bytes());
                let mut aad = [0u8; 12];
                aad[..8].copy_from_slice(&plain[..8]);
                aad[8..].copy_from_slice(&trailer);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = rtcp.seal_in_place_separate_tag(nonce, Aad::from(&aad), &mut out[8..]);
                out.extend_from_slice(tag.expect("GCM seals any packet shorter than 64 GiB").as_ref());
                out.extend_from_slice(&trailer);
            }
            Cipher::Counter(keys) => {
                let mut iv = [0u8; 16];
                iv[..14].copy_from_slice(&keys.rtcp_salt);
                xor(&mut iv[4..8], &ssrc);
                xor(&mut iv[10..14], &index.to_be_bytes());
                encrypt_counter(&keys.rtcp, iv, &mut out[8..]);
                out.extend_from_slice(&trailer);
                let tag = hmac::sign(&keys.rtcp_auth, &out);
                out.extend_from_slice(&tag.as_ref()[..HMAC_SHA1_80_TAG]);
            }
        }
        debug_assert!(out.len() >= plain.len() + SRTCP_INDEX);
        out
    }
}

fn seal_gcm(key: &LessSafeKey, nonce: [u8; 12], packet: &mut [u8], header: usize) {
    let (body, tag) = packet.split_at_mut(packet.len() - GCM_TAG);
    let (header, payload) = body.split_at_mut(header);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
    tag.copy_from_slice(sealed.expect("GCM seals any packet shorter than 64 GiB").as_ref());
}

fn counter_key(bytes: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let key = UnboundCipherKey::new(&AES_128, bytes).map_err(|_| SrtpError::Key)?;
    EncryptingKey::ctr(key).map_err(|_| SrtpError::Key)
}

fn encrypt_counter(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(data, context).expect("AES counter mode encrypts any length");
}

/// RFC 3711 section 4.3.1 with a key derivation rate of 0: AES-CM of the salt with the label, as a key stream.
fn derive(crypto: &CryptoProvider, key: &[u8], salt: &[u8], label: u8, length: usize) -> Vec<u8> {
    let mut input = [0u8; 16];
    input[..salt.len()].copy_from_slice(salt);
    input[7] ^= label;
    let mut out = vec![0u8; length];
    // The AES back ends want room for a second block.
    let mut block = [0u8; 32];
    for (counter, part) in out.chunks_mut(16).enumerate() {
        input[14..].copy_from_slice(&(counter as u16).to_be_bytes());
        if key.len() == 16 {
            crypto.srtp_provider.srtp_aes_128_ecb_round(key, &input, &mut block);
        } else {
            crypto.srtp_provider.srtp_aes_256_ecb_round(key, &input, &mut block);
        }
        part.copy_from_slice(&block[..part.len()]);
    }
    out
}

fn xor(target: &mut [u8], with: &[u8]) {
    for (byte, other) in target.iter_mut().zip(with) {
        *byte ^= other;
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(profile: SrtpProfile, audit: bool) -> Sealer {
        let material: Vec<u8> = (0..88).collect();
        Sealer::new(&str0m::crypto::from_feature_flags(), &material, profile, audit).unwrap()
    }

    fn packet(overhead: usize, fill: u8) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9];
        packet.extend_from_slice(&[fill; 100]);
        packet.extend(std::iter::repeat_n(0, overhead));
        packet
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn key_derivation_matches_the_test_vectors_of_the_rfc() {
        let crypto = str0m::crypto::from_feature_flags();
        let key = [0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39];
        let salt = [0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6];
        let expected = [0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87];
        assert_eq!(derive(&crypto, &key, &salt, 0, 16), expected);
        let salt_key = [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1];
        assert_eq!(derive(&crypto, &key, &salt, 2, 14), salt_key);
    }

    #[test]
    fn a_retransmission_is_byte_for_byte_the_same() {
        for profile in [SrtpProfile::AEAD_AES_256_GCM, SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AES128_CM_SHA1_80] {
            let mut sealer = sealer(profile, true);
            let (mut first, mut again) = (packet(sealer.rtp_overhead(), 5), packet(sealer.rtp_overhead(), 5));
            sealer.seal_rtp(&mut first, 12, 9, 7);
            sealer.seal_rtp(&mut again, 12, 9, 7);
            assert_eq!(first, again);
            assert_ne!(&first[12..112], &[5; 100]);
        }
    }

    #[test]
    #[should_panic(expected = "nonce used twice")]
    fn the_audit_catches_a_reused_nonce() {
        let mut sealer = sealer(SrtpProfile::AEAD_AES_256_GCM, true);
        let overhead = sealer.rtp_overhead();
        sealer.seal_rtp(&mut packet(overhead, 5), 12, 9, 7);
        sealer.seal_rtp(&mut packet(overhead, 6), 12, 9, 7);
    }

    #[test]
    fn short_keying_material_is_refused() {
        let crypto = str0m::crypto::from_feature_flags();
        assert!(Sealer::new(&crypto, &[0; 60], SrtpProfile::AEAD_AES_256_GCM, false).is_err());
    }
}
