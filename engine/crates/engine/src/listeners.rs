//! Binds every socket of the engine before it says that it has started, and explains what failed.

use crate::config::{Config, Fatal, FatalCode};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// The TCP and Unix sockets; WebRTC binds its own by [`crate::peers`].
pub struct Listeners {
    pub http: TcpListener,
    pub rtmp: TcpListener,
    pub api: UnixListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Listeners, Fatal> {
        Ok(Listeners {
            http: tcp("TALLYLIGHT_HTTP_PORT", config.http_bind).await?,
            rtmp: tcp("TALLYLIGHT_RTMP_PORT", config.rtmp_bind).await?,
            api: unix(&config.engine_socket)?,
        })
    }
}

async fn tcp(variable: &str, address: SocketAddr) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address).await.map_err(|error| bind_failed("tcp", variable, address, &error))
}

/// What a failed bind means; `variable` is the setting that holds the port.
pub fn bind_failed(transport: &str, variable: &str, address: SocketAddr, error: &io::Error) -> Fatal {
    let port = address.port();
    let (code, message, fix) = match error.kind() {
        ErrorKind::AddrInUse => (
            FatalCode::PortInUse,
            format!("Port {port}/{transport} is already in use on {}.", address.ip()),
            format!(
                "Stop the program that uses it (`ss -lnp | grep :{port}` shows it), or set {variable} to a free port."
            ),
        ),
        ErrorKind::PermissionDenied => (
            FatalCode::AddressNotAvailable,
            format!("This user may not listen on port {port}/{transport}."),
            format!("Set {variable} to a port from 1024 on, or allow lower ports to this user."),
        ),
        _ => (
            FatalCode::AddressNotAvailable,
            format!("Cannot listen on {address}/{transport}: {error}."),
            "Set TALLYLIGHT_BIND to an address of this host, or to 0.0.0.0 for all of them.".into(),
        ),
    };
    Fatal { code, message, fix }
}

/// A socket file that only its owner can connect to. One left by a dead engine is replaced.
pub fn unix(path: &Path) -> Result<UnixListener, Fatal> {
    let in_use =
        fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && UnixStream::connect(path).is_ok();
    if in_use {
        return Err(Fatal {
            code: FatalCode::PortInUse,
            message: format!("Another engine answers on {}.", path.display()),
            fix: "Stop the other `tallylight serve`, or use another data directory (TALLYLIGHT_DATA_DIR).".into(),
        });
    }
    bind_privately(path).map_err(|error| Fatal {
        code: FatalCode::SocketDirNotWritable,
        message: format!("The socket {} cannot be made: {error}.", path.display()),
        fix: "Make its directory writable for this user, or choose another data directory (TALLYLIGHT_DATA_DIR)."
            .into(),
    })
}

/// Binds under another name and renames, so that nobody can connect before the permissions are right.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    let staging = path.with_extension("new");
    match fs::remove_file(&staging) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&staging)?;
    fs::set_permissions(&staging, Permissions::from_mode(0o600))?;
    fs::rename(&staging, path)?;
    Ok(listener)
}

/// Addresses to tell browsers: the configured ones, else this host's, those of the network before loopback.
pub fn advertised_addresses(config: &Config) -> Vec<IpAddr> {
    if !config.public_ips.is_empty() {
        return config.public_ips.clone();
    }
    let bound = config.webrtc_bind.ip();
    if !bound.is_unspecified() {
        return vec![bound];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(usable).collect();
    addresses.retain(|address| bound.is_ipv6() || address.is_ipv4());
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses.dedup();
    // Each becomes a candidate line; a host with more interfaces is a container host, and names its address.
    addresses.truncate(MAX_ADVERTISED);
    addresses
}

const MAX_ADVERTISED: usize = 16;

/// Link-local IPv6 needs a zone, which candidates cannot carry.
fn usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new() -> Directory {
            let path = std::env::temp_dir().join(format!("tallylight-{}", crate::context::random_id()));
            fs::create_dir(&path).expect("a temporary directory");
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn the_socket_is_private_and_a_dead_one_is_replaced() {
        let directory = Directory::new();
        let path = directory.0.join("engine.sock");
        let first = unix(&path).expect("the first");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(unix(&path).expect_err("in use").code, FatalCode::PortInUse);
        drop(first);
        unix(&path).expect("the first is dead");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_named() {
        let fatal = unix(Path::new("/nonexistent/engine.sock")).expect_err("no directory");
        assert_eq!(fatal.code, FatalCode::SocketDirNotWritable);
        assert!(fatal.message.contains("/nonexistent/engine.sock"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address");
        let fatal = tcp("TALLYLIGHT_HTTP_PORT", address).await.expect_err("taken");
        assert_eq!(fatal.code, FatalCode::PortInUse);
        assert!(fatal.message.contains(&address.port().to_string()) && fatal.fix.contains("TALLYLIGHT_HTTP_PORT"));
        let elsewhere = tcp("TALLYLIGHT_HTTP_PORT", ([192, 0, 2, 1], 0).into()).await.expect_err("not ours");
        assert_eq!(elsewhere.code, FatalCode::AddressNotAvailable);
    }
}
