//! The form of times, sizes and numbers on the command line, in the environment and in the
//! configuration file, and their limits.
//!
//! A message never repeats a value: a user who mixes up two settings may have put a secret there.

use std::{ffi::OsStr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{
    Arg, Args, Error,
    builder::TypedValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use tower_vertex::redact::{self, Shown};

/// The longest time. A point in time this far from now is safe everywhere: Tokio's timers end after
/// two years, and a sum of two `Instant`s panics much later.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest size: 1 TiB, or 1 GiB on machines with 32-bit addresses.
const LARGEST: u64 = if usize::BITS < 64 { 1 << 30 } else { 1 << 40 };

/// The largest count.
pub(crate) const MOST: u64 = 1_000_000;

/// The largest size of a file that users write, in bytes.
pub(crate) const LONGEST_FILE: u64 = 4 << 20;

const TIMES: [(&str, Duration); 5] = [
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
    ("d", Duration::from_secs(24 * 3600)),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A whole number and the unit after it.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let one = match unit {
        "" => Duration::from_secs(1),
        _ => TIMES.iter().find(|(name, _)| *name == unit)?.1,
    };
    // All units are whole milliseconds, and u64 can hold the milliseconds of each.
    let millis = u64::try_from(one.as_millis()).ok()?.checked_mul(number)?;
    Some(Duration::from_millis(millis))
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let one = match unit {
        "" => 1,
        _ => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.checked_mul(one)
}

/// A time in the largest unit in which it is a whole number, in a form that can be parsed again.
pub(crate) fn shown(time: Duration) -> String {
    let millis = time.as_millis();
    let fits = |(_, one): &&(&str, Duration)| {
        millis >= one.as_millis() && millis.is_multiple_of(one.as_millis())
    };
    match TIMES.iter().rev().find(fits) {
        Some((unit, one)) => format!("{}{unit}", millis / one.as_millis()),
        None => "0s".to_owned(),
    }
}

/// The values that an option takes, and a sentence that says so.
#[derive(Clone, Debug)]
pub(crate) struct Values<T> {
    parse: fn(&str) -> Option<T>,
    range: RangeInclusive<T>,
    /// Whether 0 is accepted too.
    or_zero: bool,
    form: &'static str,
    show: fn(T) -> String,
}

/// A time of at least `least`.
pub(crate) fn time(least: Duration) -> Values<Duration> {
    within(least..=LONGEST)
}

/// A time in a range.
pub(crate) fn within(range: RangeInclusive<Duration>) -> Values<Duration> {
    let form = "a time with its unit, such as 500ms, 30s, 5m or 12h (a bare number is seconds)";
    Values { parse: parse_time, range, or_zero: false, form, show: shown }
}

/// A time, or 0 for none.
pub(crate) fn time_or_zero(least: Duration) -> Values<Duration> {
    Values { or_zero: true, ..time(least) }
}

/// A size in bytes.
pub(crate) fn size() -> impl TypedValueParser<Value = usize> {
    size_within(0..=LARGEST)
}

/// A size in a range of bytes.
pub(crate) fn size_within(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    let form = "a size with its unit, such as 20MB or 64KiB (a bare number is bytes)";
    let show = |bytes: u64| match SIZES[5..].iter().rev().find(|(_, one)| bytes >= *one) {
        Some((unit, one)) => format!("{}{unit}", bytes / one),
        None => bytes.to_string(),
    };
    let values = Values { parse: parse_size, range, or_zero: false, form, show };
    // `LARGEST` fits.
    values.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// A count, in a type that holds all of the range.
pub(crate) fn number<T>(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64, Error: std::error::Error + Send + Sync + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let parse =
        |text: &str| split(text).filter(|(_, unit)| unit.is_empty()).map(|(number, _)| number);
    let show = |number: u64| number.to_string();
    Values { parse, range, or_zero: false, form: "a whole number", show }.try_map(T::try_from)
}

impl<T: PartialOrd + Default + Copy> Values<T> {
    fn take(&self, text: &str) -> Option<T> {
        (self.parse)(text)
            .filter(|value| self.range.contains(value) || self.or_zero && *value == T::default())
    }

    /// The values to give, as the end of a sentence.
    fn advice(&self) -> String {
        let Self { range, form, show, .. } = self;
        let zero = if self.or_zero { ", or 0" } else { "" };
        format!("give {form}, from {} to {}{zero}", show(*range.start()), show(*range.end()))
    }
}

impl<T> TypedValueParser for Values<T>
where
    T: PartialOrd + Default + Copy + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, _: &clap::Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let taken = value.to_str().and_then(|text| self.take(text));
        taken.ok_or_else(|| refused(arg, value, &self.advice()))
    }
}

/// Text that a function parses. Its error says which text to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed<T>(fn(&str) -> Result<T, String>);

pub(crate) fn parsed<T>(parse: fn(&str) -> Result<T, String>) -> Parsed<T> {
    Parsed(parse)
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Parsed<T> {
    type Value = T;

    fn parse_ref(&self, _: &clap::Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let read = value.to_str().ok_or_else(|| "give text".to_owned()).and_then(self.0);
        read.map_err(|advice| refused(arg, value, &advice))
    }
}

/// Whether a variable has this value, alone or in a list.
fn has(arg: Option<&Arg>, set: &OsStr, value: &OsStr) -> bool {
    let delimiter = arg.and_then(Arg::get_value_delimiter);
    let (text, part) = (set.to_string_lossy(), value.to_string_lossy());
    set == value || delimiter.is_some_and(|delimiter| text.split(delimiter).any(|of| of == part))
}

/// The error of an option with an invalid value.
fn refused(arg: Option<&Arg>, value: &OsStr, advice: &str) -> Error {
    let option = arg.and_then(Arg::get_long).unwrap_or_default();
    // clap does not report the source of a value, so the value is compared with the variable.
    let variable = arg
        .and_then(Arg::get_env)
        .filter(|name| std::env::var_os(name).is_some_and(|set| has(arg, &set, value)))
        .map_or_else(String::new, |name| format!(" (from {})", name.display()));
    let mut error =
        Error::raw(ErrorKind::ValueValidation, format!("invalid --{option}{variable}: {advice}\n"));
    error.insert(ContextKind::Custom, ContextValue::String(advice.to_owned()));
    error
}

/// The advice in an error of a value parser, if the parser is from this module.
pub(crate) fn advice(error: &Error) -> Option<&str> {
    match error.get(ContextKind::Custom)? {
        ContextValue::String(advice) => Some(advice),
        _ => None,
    }
}

/// The value of an option; `None` if it is empty, which is how a variable is unset.
pub(crate) fn non_empty(option: &Option<String>) -> Option<&str> {
    option.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// A time limit; `None` for 0, which means no limit.
pub(crate) fn timeout(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// The source of an option's value, for an error: the option of `O` or its variable.
pub(crate) fn option_source<O: Args>(option: &str) -> String {
    given_in::<O>(option).unwrap_or_else(|| option.to_owned())
}

/// The same; `None` if neither the command line nor the variable sets the option.
pub(crate) fn given_in<O: Args>(option: &str) -> Option<String> {
    let long = option.trim_start_matches("--");
    let is_given = std::env::args_os().any(|arg| {
        let arg = arg.to_string_lossy();
        arg.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    if is_given {
        return Some(option.to_owned());
    }
    let command = O::augment_args(clap::Command::new("vertex-gateway"));
    let all = std::iter::once(&command).chain(command.get_subcommands());
    let variables = all
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_env().filter(|_| arg.get_long() == Some(long)));
    let is_set = |name: &&OsStr| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let mut variables = variables.filter(is_set);
    variables.next().map(|variable| variable.to_string_lossy().into_owned())
}

/// `Debug` of options whose values may be secrets in the wrong place: each is shown as in an error.
/// The fields after the semicolon have a safe `Debug` of their own.
macro_rules! shown_debug {
    ($options:ident: $($field:ident),+ $(; $($other:ident),+)?) => {
        impl std::fmt::Debug for $options {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($options))
                    $(.field(
                        stringify!($field),
                        &$crate::values::Show::show(&self.$field),
                    ))+
                    $($(.field(stringify!($other), &self.$other))+)?
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use shown_debug;

/// The value of an option in a form that is safe to show.
pub(crate) trait Show {
    fn show(&self) -> Option<Shown<'_>>;
}

impl Show for String {
    fn show(&self) -> Option<Shown<'_>> {
        Some(redact::value(self))
    }
}

impl Show for Option<String> {
    fn show(&self) -> Option<Shown<'_>> {
        self.as_deref().map(redact::value)
    }
}

impl Show for PathBuf {
    fn show(&self) -> Option<Shown<'_>> {
        Some(redact::path(self))
    }
}

impl Show for Option<PathBuf> {
    fn show(&self) -> Option<Shown<'_>> {
        self.as_deref().map(redact::path)
    }
}

#[cfg(test)]
mod tests {
    use std::{any::TypeId, num::NonZeroUsize};

    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::Command;

    #[test]
    fn a_time_is_a_whole_number_with_a_unit_or_of_seconds() {
        for (text, millis) in [
            ("30", Some(30_000)),
            ("0", Some(0)),
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            (" 30 s ", Some(30_000)),
            ("90m", Some(5_400_000)),
            ("12h", Some(43_200_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("h", None),
            ("-1", None),
            ("+1", None),
            ("1.5h", None),
            ("1e3", None),
            ("1h30m", None),
            ("1M", None),
            ("12é", None),
            ("NaN", None),
            ("18446744073709551615h", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_time(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_with_a_unit_or_of_bytes() {
        for (text, bytes) in [
            ("20", Some(20)),
            ("20B", Some(20)),
            ("20MB", Some(20_000_000)),
            ("20mb", Some(20_000_000)),
            ("20MiB", Some(20 << 20)),
            ("64 KiB", Some(64 << 10)),
            ("1TiB", Some(1 << 40)),
            ("", None),
            ("MB", None),
            ("20M", None),
            ("1.5GB", None),
            ("-1", None),
            ("18446744073709551615kB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_as_it_can_be_written() {
        for text in ["0s", "1ms", "1500ms", "90s", "5m", "12h", "365d"] {
            assert_eq!(shown(parse_time(text).unwrap()), text);
        }
    }

    /// The options of a command that are numbers, with the longest range first.
    fn numeric(command: &clap::Command) -> Vec<String> {
        let types = [
            TypeId::of::<Duration>(),
            TypeId::of::<usize>(),
            TypeId::of::<NonZeroUsize>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<i64>(),
            TypeId::of::<f64>(),
        ];
        let is_number = |arg: &&Arg| types.iter().any(|id| arg.get_value_parser().type_id() == *id);
        let options = command.get_arguments().filter(is_number).filter_map(Arg::get_long);
        options.map(str::to_owned).collect()
    }

    #[test]
    fn each_number_out_of_its_range_is_one_sentence_without_the_number() {
        let root = Command::command();
        let mut tried = 0;
        // `run` and `init` have the numbers of `serve`.
        let of_serve = |command: &&clap::Command| ["run", "init"].contains(&command.get_name());
        for command in root.get_subcommands().filter(|command| !of_serve(command)) {
            for option in numeric(command) {
                let parse = |value: &str| {
                    let option = format!("--{option}={value}");
                    Command::try_parse_from(["vertex-gateway", command.get_name(), &option])
                };
                for value in [
                    "",
                    " ",
                    "-1",
                    "+1",
                    "1.5",
                    "0x10",
                    "NaN",
                    "inf",
                    "1e400",
                    "9223372036854775808",
                    "18446744073709551615",
                    "18446744073709551616",
                    "340282366920938463463374607431768211456",
                    "18446744073709551615h",
                    "18446744073709551615TiB",
                    "7 sk-secret",
                ] {
                    let error = parse(value).expect_err(&format!("--{option} takes {value:?}"));
                    let text = error.to_string();
                    assert_eq!(error.exit_code(), 2, "{text}");
                    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
                    assert!(text.contains(&format!("invalid --{option}: give a ")), "{text}");
                    assert!(!text.contains("secret") && !text.contains("99999"), "{text}");
                    assert!(advice(&error).is_some_and(|advice| text.contains(advice)), "{text}");
                }
                // The range in the sentence is exact.
                let text = parse("-1").unwrap_err().to_string();
                let (_, range) = text.split_once(", from ").unwrap();
                let (least, most) = range.trim_end().split_once(" to ").unwrap();
                let most = most.trim_end_matches(", or 0");
                assert!(parse(least).is_ok() && parse(most).is_ok(), "{text}");
                let end = most.find(|c: char| !c.is_ascii_digit()).unwrap_or(most.len());
                let next = most[..end].parse::<u64>().unwrap() + 1;
                assert!(parse(&format!("{next}{}", &most[end..])).is_err(), "{text}");
                tried += 1;
            }
        }
        assert!(tried >= 20, "{tried}");
    }
}
