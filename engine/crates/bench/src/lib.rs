//! Measures what one delivered packet costs the server, and what it would cost a loop that does nothing else.
//!
//! `tallylight-whepload` opens N WHEP sessions ([`load`]), each a [`viewer::Viewer`] with real ICE, DTLS and SRTP by str0m. Most
//! viewers only count raw RTP packets ([`tally`]); a few decrypt all they get. It records the packet pattern of one viewer
//! ([`pattern`]), which `tallylight-floor` ([`floor`]) then copies, encrypts and sends to N plain sockets. `bench/run.py` runs both
//! with the server on one core and prints the factor between them.

pub mod arguments;
pub mod dtls;
pub mod floor;
pub mod http;
pub mod load;
pub mod pattern;
pub mod percentile;
pub mod sdp;
pub mod server;
pub mod signalling;
pub mod tally;
pub mod viewer;

use serde::Serialize;
use std::fmt::Display;
use std::process::ExitCode;

/// Prints a report as one JSON line, or the error in words.
pub fn finish(program: &str, result: Result<impl Serialize, impl Display>) -> ExitCode {
    let line = match result {
        Ok(report) => serde_json::to_string(&report).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match line {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
