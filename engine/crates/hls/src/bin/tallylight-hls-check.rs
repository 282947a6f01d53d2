//! `tallylight-hls-check FILE...`: checks recorded media playlists of one stream, given in the order of
//! their receipt. Prints one line per violation; ends with 1 if there are any, with 2 if it cannot read.

use std::process::ExitCode;
use tallylight_hls::invariants::Checker;

fn main() -> ExitCode {
    let mut checker = Checker::new();
    let mut violations = 0;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::from(2);
            }
        };
        for violation in checker.playlist(&text) {
            println!("{path}: {violation}");
            violations += 1;
        }
    }
    println!("{} playlists, {violations} violations", checker.playlists());
    if checker.playlists() == 0 {
        return ExitCode::from(2);
    }
    if violations > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
