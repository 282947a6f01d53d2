//! The configuration file of `docs/engine-api.md`, written by the supervisor and checked here.

use crate::http::client::TrustedProxies;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// A configuration is a few hundred bytes; anything beyond this is not one.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The kernel's limit for a Unix socket path, with its closing zero (`sun_path` of unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Browsers warn from five ICE servers on; sixteen is far beyond sense and keeps the Link headers short.
const MAX_ICE_SERVERS: usize = 16;

/// Where the engine listens and whom it asks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http_bind: SocketAddr,
    pub webrtc_bind: SocketAddr,
    pub rtmp_bind: SocketAddr,
    /// Addresses told to browsers; empty: every address of this host.
    #[serde(default)]
    pub public_ips: Vec<IpAddr>,
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
    pub engine_socket: PathBuf,
    pub control_socket: PathBuf,
    /// Built pages; when missing, `/` answers with a sentence.
    #[serde(default)]
    pub web_dir: Option<PathBuf>,
    /// The playback policy is kept here between two runs; without it, every start begins with everything public.
    #[serde(default)]
    pub policy_file: Option<PathBuf>,
    /// Networks of reverse proxies whose `X-Forwarded-*` headers count.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    #[serde(default)]
    pub exit_when_stdin_closes: bool,
    /// Remember every SRTP nonce and stop on the first one used twice (for tests; costs memory).
    #[serde(default)]
    pub audit_nonces: bool,
}

/// One entry of `RTCConfiguration.iceServers`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub credential: Option<String>,
    /// Shared with the TURN server; each browser then gets credentials of its own that expire.
    #[serde(default)]
    pub secret: Option<String>,
}

/// Why the engine cannot start, for people: what is wrong and what to do about it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq, thiserror::Error)]
#[error("{message} {fix}")]
pub struct Fatal {
    pub code: FatalCode,
    pub message: String,
    pub fix: String,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FatalCode {
    PortInUse,
    AddressNotAvailable,
    ConfigInvalid,
    SocketDirNotWritable,
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, Fatal> {
        let unreadable = |error: std::io::Error| {
            invalid(
                format!("The configuration file {} cannot be read: {error}.", path.display()),
                "Start the engine by `tallylight serve`, or pass --config with a readable JSON file.",
            )
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE_BYTES {
            return Err(invalid(
                format!("The configuration file {} has {size} bytes.", path.display()),
                "Pass the JSON file described in docs/engine-api.md.",
            ));
        }
        Config::parse(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    pub fn parse(text: &str) -> Result<Config, Fatal> {
        let config: Config = serde_json::from_str(text).map_err(|error| {
            invalid(
                format!("The configuration is not valid: {error}."),
                "Correct that field; docs/engine-api.md lists them all.",
            )
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Fatal> {
        for (field, path) in [("engine_socket", &self.engine_socket), ("control_socket", &self.control_socket)] {
            if !path.is_absolute() {
                return Err(invalid(
                    format!("{field} is not an absolute path: {}.", path.display()),
                    "Give the whole path, starting with a slash.",
                ));
            }
            if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
                return Err(invalid(
                    format!(
                        "{field} is longer than {MAX_SOCKET_PATH_BYTES} bytes, the system's limit for a socket path."
                    ),
                    "Use a data directory with a shorter path (TALLYLIGHT_DATA_DIR).",
                ));
            }
        }
        if self.ice_servers.len() > MAX_ICE_SERVERS {
            return Err(invalid(
                format!("There are {} ice_servers; at most {MAX_ICE_SERVERS} are allowed.", self.ice_servers.len()),
                "List one STUN and one or two TURN servers.",
            ));
        }
        self.ice_servers.iter().try_for_each(IceServer::check)
    }
}

impl IceServer {
    /// The values travel in `Link` headers inside quotes, so only characters that need no escaping there pass.
    fn check(&self) -> Result<(), Fatal> {
        let plain =
            |text: &str| text.bytes().all(|b| (0x21..0x7f).contains(&b) && !matches!(b, b'"' | b'\\' | b'<' | b'>'));
        for url in &self.urls {
            let scheme = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
            if !scheme || !plain(url) {
                return Err(invalid(
                    format!("{url:?} is not the address of an ICE server."),
                    "Write it like stun:stun.example.org:3478 or turn:turn.example.org:3478?transport=udp.",
                ));
            }
        }
        if [&self.username, &self.credential].into_iter().flatten().any(|text| !plain(text)) {
            return Err(invalid(
                "A username or credential in ice_servers has a space, a quote or another unusual character.".into(),
                "Use visible ASCII characters without quotes, backslashes and angle brackets.",
            ));
        }
        if self.secret.is_some() && (self.username.is_some() || self.credential.is_some()) {
            return Err(invalid(
                "An entry of ice_servers has a secret beside a username or a credential.".into(),
                "Give the secret alone; usernames and credentials are made of it.",
            ));
        }
        Ok(())
    }
}

fn invalid(message: String, fix: &str) -> Fatal {
    Fatal { code: FatalCode::ConfigInvalid, message, fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(change: &str) -> String {
        format!(
            r#"{{"http_bind": "127.0.0.1:0", "webrtc_bind": "127.0.0.1:0", "rtmp_bind": "127.0.0.1:0",
                "engine_socket": "/run/e.sock", "control_socket": "/run/c.sock"{change}}}"#
        )
    }

    #[test]
    fn the_documented_file_is_accepted() {
        let config = Config::parse(&example(
            r#", "public_ips": ["192.0.2.1"], "web_dir": "/web", "exit_when_stdin_closes": true, "audit_nonces": false,
               "policy_file": "/data/policy.json", "trusted_proxies": ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"],
               "ice_servers": [{"urls": ["stun:stun.example.org:3478"], "username": null, "credential": null}]"#,
        ))
        .expect("documented example");
        assert_eq!(config.ice_servers[0].urls, ["stun:stun.example.org:3478"]);
    }

    #[test]
    fn each_mistake_is_config_invalid_with_a_fix() {
        for change in [
            r#", "unknown_field": 1"#,
            r#", "public_ips": ["nowhere"]"#,
            r#", "trusted_proxies": ["10.0.0.0/99"]"#,
            r#", "ice_servers": [{"urls": ["http://example.org"]}]"#,
            r#", "ice_servers": [{"urls": ["stun:a\"; rel=\"x"]}]"#,
            r#", "ice_servers": [{"urls": ["turn:a"], "username": "a b"}]"#,
            r#", "ice_servers": [{"urls": ["turn:a"], "username": "a", "secret": "s"}]"#,
        ] {
            let fatal = Config::parse(&example(change)).expect_err(change);
            assert_eq!(fatal.code, FatalCode::ConfigInvalid, "{change}");
            assert!(!fatal.fix.is_empty());
        }
        let relative = example("").replace("/run/e.sock", "e.sock");
        assert!(Config::parse(&relative).expect_err("relative path").message.contains("engine_socket"));
        let long = example("").replace("/run/e.sock", &format!("/{}", "x".repeat(120)));
        assert!(Config::parse(&long).expect_err("long path").message.contains("107"));
    }
}
