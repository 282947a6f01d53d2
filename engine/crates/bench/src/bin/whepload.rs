//! WHEP load generator. One JSON line on stdout; see `docs/bench.md`.

use std::process::ExitCode;
use tallylight_bench::arguments::Arguments;
use tallylight_bench::load::{Load, LoadError, Options, Report};

fn measure() -> Result<Report, LoadError> {
    let options = Options::parse(Arguments::parse(std::env::args().skip(1))?)?;
    Load::new(options)?.run()
}

fn main() -> ExitCode {
    tallylight_bench::finish("tallylight-whepload", measure())
}
