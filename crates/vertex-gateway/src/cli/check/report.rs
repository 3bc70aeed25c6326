//! The results of the checks, as lines for people or as one JSON document.

use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::{
    colours::{self, GREEN, RED, YELLOW, painted},
    error::Error,
    output::{print_json, print_lines},
};

/// The width of `credentials`.
const NAME_WIDTH: usize = 11;
const INDENT: &str = "    ";

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    name: &'static str,
    /// `None` if the check was not run.
    ok: Option<bool>,
    detail: String,
    /// The remedy, in one or more lines. A check that passed may have advice instead.
    remedy: Option<String>,
}

impl Check {
    pub(super) fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: Some(true), detail: detail.into(), remedy: None }
    }

    pub(super) fn failed(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, ok: Some(false), detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn not_tried(name: &'static str, because: &str) -> Self {
        Self { name, ok: None, detail: format!("not tried: {because}"), remedy: None }
    }

    /// Adds advice to a check that passed.
    pub(super) fn advised(mut self, advice: &[String]) -> Self {
        if !advice.is_empty() {
            self.remedy = Some(advice.join("\n"));
        }
        self
    }

    /// Names the subject of a check.
    pub(super) fn about(mut self, subject: &str) -> Self {
        self.detail = format!("{subject}: {}", self.detail);
        self
    }

    pub(super) fn is_passed(&self) -> bool {
        self.ok == Some(true)
    }

    fn lines(&self, colours: bool) -> Vec<String> {
        let (mark, style) = match self.ok {
            Some(true) => ('✓', GREEN),
            Some(false) => ('✗', RED),
            None => ('-', YELLOW),
        };
        let mark = painted(colours, style, mark);
        let first = format!("{mark} {:NAME_WIDTH$}  {}", self.name, self.detail);
        let remedy = self.remedy.iter().flat_map(|remedy| remedy.lines());
        std::iter::once(first).chain(remedy.map(|line| format!("{INDENT}{line}"))).collect()
    }
}

/// All results. They are printed as they come, unless they make one document.
pub(super) struct Report {
    output: Output,
    colours: bool,
    checks: Vec<Check>,
}

/// The destination of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Printed as lines.
    Lines,
    /// Printed as one document at the end.
    Json,
    /// Not printed.
    None,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Check],
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self { output, colours: colours::are_shown(&io::stdout()), checks: Vec::new() }
    }

    pub(super) fn add(&mut self, check: Check) {
        if self.output == Output::Lines {
            print_lines(&check.lines(self.colours));
        }
        self.checks.push(check);
    }

    /// All results as one document.
    pub(super) fn document(&self) -> Value {
        // The document has only keys that are text.
        serde_json::to_value(self.to_serialize()).unwrap_or_default()
    }

    fn to_serialize(&self) -> Document<'_> {
        let ok = self.checks.iter().all(|check| check.ok == Some(true));
        Document { ok, checks: &self.checks }
    }

    pub(super) fn end(self) -> Result<(), Error> {
        let failed = self.checks.iter().filter(|check| check.ok == Some(false)).count();
        let document = self.to_serialize();
        if self.output == Output::Json {
            print_json(&document);
        }
        if document.ok {
            return Ok(());
        }
        Err(Error::negative(format!("{failed} of {} checks failed", self.checks.len())))
    }
}
