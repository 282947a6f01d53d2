//! The built pages, read into memory once at start: requests never touch the file system (matrix H4).

use super::body::{Body, empty, full};
use super::path::PlainPath;
use aws_lc_rs::digest;
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The pages have some dozens of files and less than 2 MiB; beyond this somebody named the wrong directory.
const MAX_FILES: usize = 2000;
const MAX_TOTAL_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 8;

/// Built files below `/assets/` carry a hash in their names, so their content never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Everything else is asked for again each time and answered with 304.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Own scripts only. Styles inline, because web components carry theirs in the markup; `blob:` for
/// Media Source and hls.js's worker; `ws:` because Safari does not count it to 'self'.
macro_rules! content_security_policy {
    ($frame_ancestors:literal) => {
        HeaderValue::from_static(concat!(
            "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; ",
            "media-src 'self' blob: data:; worker-src 'self' blob:; connect-src 'self' ws: wss:; font-src 'self' data:; ",
            "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors ",
            $frame_ancestors
        ))
    };
}
/// The watch page may be framed by any site, as a player is meant to be.
const WATCH_POLICY: HeaderValue = content_security_policy!("*");
const PAGE_POLICY: HeaderValue = content_security_policy!("'none'");

/// Shown at `/` when there are no built pages.
const NO_PAGES: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tallylight</title>\
<p>Tallylight is running, but its pages have not been built: run <code>make build</code>.</p></html>";

struct File {
    bytes: Bytes,
    content_type: &'static str,
    etag: HeaderValue,
    immutable: bool,
}

/// All files by their path on the web, such as `/assets/app.js`.
#[derive(Default)]
pub struct Pages {
    files: HashMap<String, File>,
}

#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "there are more than {MAX_FILES} files, more than {MAX_TOTAL_BYTES} bytes or more than {MAX_DEPTH} directories deep"
    )]
    TooMuch,
}

impl Pages {
    /// Reads a directory. Symbolic links, dot files and names that are not UTF-8 are passed over.
    pub fn load(directory: &Path) -> Result<Pages, PagesError> {
        let mut loader = Loader { pages: Pages::default(), total_bytes: 0 };
        loader.directory(directory, "", 0)?;
        Ok(loader.pages)
    }

    /// The answer to GET or HEAD on a path of ours; None when the path is not one.
    pub fn answer(&self, method: &Method, path: &PlainPath, headers: &HeaderMap) -> Option<Response<Body>> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let segments: Vec<&str> = path.segments().collect();
        let built = |name: &str| self.files.get(name);
        match segments[..] {
            [""] => Some(built("/index.html").map_or_else(no_pages, |page| page.answer(PAGE_POLICY, headers))),
            ["watch", name] if !name.is_empty() => {
                Some(built("/watch.html").map_or_else(no_pages, |page| page.answer(WATCH_POLICY, headers)))
            }
            _ => {
                // `/studio` is `studio.html`. The other two have their addresses above.
                let page = match segments[..] {
                    [name] if !matches!(name, "index" | "watch") => built(&format!("/{name}.html")),
                    _ => None,
                };
                page.or_else(|| built(path.as_str())).map(|file| file.answer(PAGE_POLICY, headers))
            }
        }
    }
}

impl File {
    /// `policy` is for pages only.
    fn answer(&self, policy: HeaderValue, request: &HeaderMap) -> Response<Body> {
        let fresh = request.get_all(header::IF_NONE_MATCH).iter().any(|value| names_etag(value, &self.etag));
        let mut response = Response::new(if fresh { empty() } else { full(self.bytes.clone()) });
        if fresh {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, if self.immutable { IMMUTABLE } else { REVALIDATE });
        if self.content_type.starts_with("text/html") {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        } else {
            // The player is a module that other sites import.
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
        }
        response
    }
}

fn no_pages() -> Response<Body> {
    let mut response = Response::new(full(NO_PAGES));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}

/// Weak comparison, as If-None-Match wants it (RFC 9110 section 13.1.2).
fn names_etag(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let Ok(list) = list.to_str() else { return false };
    list.split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one.as_bytes() == etag.as_bytes())
}

struct Loader {
    pages: Pages,
    total_bytes: u64,
}

impl Loader {
    fn directory(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), PagesError> {
        if depth > MAX_DEPTH {
            return Err(PagesError::TooMuch);
        }
        let unreadable = |source| PagesError::Unreadable { path: directory.into(), source };
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let kind = entry.file_type().map_err(unreadable)?;
            let path = format!("{prefix}/{name}");
            if kind.is_dir() {
                self.directory(&entry.path(), &path, depth + 1)?;
            } else if kind.is_file() {
                self.file(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &Path, path: String) -> Result<(), PagesError> {
        let unreadable = |source| PagesError::Unreadable { path: file.into(), source };
        self.total_bytes += fs::metadata(file).map_err(unreadable)?.len();
        if self.total_bytes > MAX_TOTAL_BYTES || self.pages.files.len() >= MAX_FILES {
            return Err(PagesError::TooMuch);
        }
        let bytes = Bytes::from(fs::read(file).map_err(unreadable)?);
        let file = File {
            content_type: content_type(&path),
            etag: etag_of(&bytes),
            immutable: path.starts_with("/assets/"),
            bytes,
        };
        self.pages.files.insert(path, file);
        Ok(())
    }
}

fn etag_of(bytes: &[u8]) -> HeaderValue {
    let hash = digest::digest(&digest::SHA256, bytes);
    let text: String = hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}
