//! What the checks found, in lines for people or as one JSON document.

use serde::Serialize;

use crate::{
    error::Error,
    output::{print_json, print_lines},
};

/// As wide as `credentials`.
const NAME_WIDTH: usize = 11;
const INDENT: &str = "    ";

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    name: &'static str,
    /// `None` if it was not tried.
    ok: Option<bool>,
    detail: String,
    /// What to do, in one or several lines; for what holds, what should be different.
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

    /// With what is not wrong, and should be different.
    pub(super) fn advised(mut self, advice: &[String]) -> Self {
        if !advice.is_empty() {
            self.remedy = Some(advice.join("\n"));
        }
        self
    }

    pub(super) fn is_passed(&self) -> bool {
        self.ok == Some(true)
    }

    fn lines(&self) -> Vec<String> {
        let mark = match self.ok {
            Some(true) => '✓',
            Some(false) => '✗',
            None => '-',
        };
        let first = format!("{mark} {:NAME_WIDTH$}  {}", self.name, self.detail);
        let remedy = self.remedy.iter().flat_map(|remedy| remedy.lines());
        std::iter::once(first).chain(remedy.map(|line| format!("{INDENT}{line}"))).collect()
    }
}

/// All lines, said as they come unless they are to be one document.
pub(super) struct Report {
    json: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Check],
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, checks: Vec::new() }
    }

    pub(super) fn add(&mut self, check: Check) {
        if !self.json {
            print_lines(&check.lines());
        }
        self.checks.push(check);
    }

    pub(super) fn end(self) -> Result<(), Error> {
        let failed = self.checks.iter().filter(|check| check.ok == Some(false)).count();
        let ok = self.checks.iter().all(|check| check.ok == Some(true));
        if self.json {
            print_json(&Document { ok, checks: &self.checks });
        }
        if ok {
            return Ok(());
        }
        Err(Error::negative(format!("{failed} of {} checks failed", self.checks.len())))
    }
}
