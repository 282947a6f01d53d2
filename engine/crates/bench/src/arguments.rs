//! `--name value` arguments, each read once; what is left over is an error.

use std::collections::BTreeMap;
use std::str::FromStr;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    #[error("`{0}` is not an option: options start with `--`")]
    NotAnOption(String),
    #[error("`--{0}` needs a value")]
    ValueMissing(String),
    #[error("`--{name}` cannot be `{value}`")]
    ValueInvalid { name: &'static str, value: String },
    #[error("`--{0}` is required")]
    Required(&'static str),
    #[error("`--{0}` is not known here")]
    Unknown(String),
}

/// The arguments of the process that nobody asked for yet.
#[derive(Debug)]
pub struct Arguments {
    values: BTreeMap<String, String>,
}

impl Arguments {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, ArgumentError> {
        let mut values = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").ok_or_else(|| ArgumentError::NotAnOption(argument.clone()))?;
            let value = arguments.next().ok_or_else(|| ArgumentError::ValueMissing(name.to_owned()))?;
            values.insert(name.to_owned(), value);
        }
        Ok(Self { values })
    }

    /// The value of `--name`, None when it was not given.
    pub fn take<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, ArgumentError> {
        let Some(value) = self.values.remove(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| ArgumentError::ValueInvalid { name, value })
    }

    /// The value of `--name`, which must be given.
    pub fn require<T: FromStr>(&mut self, name: &'static str) -> Result<T, ArgumentError> {
        self.take(name)?.ok_or(ArgumentError::Required(name))
    }

    /// Everything must have been asked for by now: a misspelt option would change a measurement unseen.
    pub fn finish(self) -> Result<(), ArgumentError> {
        self.values.into_keys().next().map_or(Ok(()), |name| Err(ArgumentError::Unknown(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Result<Arguments, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_taken_by_name() {
        let mut given = arguments("--viewers 50 --url http://[::1]:1/whep/main").expect("arguments");
        assert_eq!(given.require::<usize>("viewers"), Ok(50));
        assert_eq!(given.take::<f64>("ramp"), Ok(None));
        assert_eq!(given.require::<String>("url"), Ok("http://[::1]:1/whep/main".to_owned()));
        assert_eq!(given.finish(), Ok(()));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(arguments("viewers").expect_err("no dashes"), ArgumentError::NotAnOption("viewers".into()));
        assert_eq!(arguments("--viewers").expect_err("no value"), ArgumentError::ValueMissing("viewers".into()));
        let mut given = arguments("--viewers many --vievers 3").expect("arguments");
        assert!(matches!(given.take::<usize>("viewers"), Err(ArgumentError::ValueInvalid { name: "viewers", .. })));
        assert_eq!(given.require::<usize>("seconds"), Err(ArgumentError::Required("seconds")));
        assert_eq!(given.finish(), Err(ArgumentError::Unknown("vievers".into())));
    }
}
