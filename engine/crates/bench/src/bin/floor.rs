//! The bare floor of a bench run. One JSON line on stdout; see `docs/bench.md`.

use std::process::ExitCode;
use tallylight_bench::arguments::Arguments;
use tallylight_bench::floor::{self, FloorError, Options, Report};

fn measure() -> Result<Report, FloorError> {
    floor::run(&Options::parse(Arguments::parse(std::env::args().skip(1))?)?)
}

fn main() -> ExitCode {
    tallylight_bench::finish("tallylight-floor", measure())
}
