//! [`Layered`]: one setting, and the places that it may come from.

/// The sources of one setting. The first of them that has a value takes precedence: an option (or
/// the variable of that option), variables that other programs read too, the configuration file,
/// and a fallback.
pub(crate) struct Layered<'a> {
    /// The value of the option, and what gave it: the option or its variable.
    pub(crate) option: Option<(&'a str, String)>,
    /// Names of variables, in the order of precedence.
    pub(crate) variables: &'a [&'a str],
    pub(crate) file: Option<&'a str>,
    /// A value and its source.
    pub(crate) fallback: Option<(&'a str, &'a str)>,
}

/// The value of a setting and its source, for errors and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) from: String,
}

impl Given {
    pub(crate) fn new(value: impl Into<String>, from: impl Into<String>) -> Self {
        Self { value: value.into(), from: from.into() }
    }
}

impl Layered<'_> {
    /// The value that takes precedence. An empty variable counts as not set.
    pub(crate) fn first(self) -> Option<Given> {
        self.first_of(|name| std::env::var(name).ok())
    }

    fn first_of(self, environment: impl Fn(&str) -> Option<String>) -> Option<Given> {
        if let Some((value, from)) = self.option {
            return Some(Given::new(value, from));
        }
        let set = |name: &&str| {
            let value = environment(name)?.trim().to_owned();
            (!value.is_empty()).then(|| Given::new(value, *name))
        };
        self.variables
            .iter()
            .find_map(set)
            .or_else(|| Some(Given::new(self.file?, "the configuration file")))
            .or_else(|| self.fallback.map(|(value, from)| Given::new(value, from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_has_a_value_takes_precedence() {
        let environment = |name: &str| match name {
            "EMPTY" => Some(" ".to_owned()),
            "SET" => Some(" variable ".to_owned()),
            _ => None,
        };
        let all = || Layered {
            option: Some(("option", "--option".to_owned())),
            variables: &["UNSET", "EMPTY", "SET"],
            file: Some("file"),
            fallback: Some(("fallback", "the emulator")),
        };
        for (layered, value, from) in [
            (all(), "option", "--option"),
            (Layered { option: None, ..all() }, "variable", "SET"),
            (
                Layered { option: None, variables: &["EMPTY"], ..all() },
                "file",
                "the configuration file",
            ),
            (
                Layered { option: None, variables: &[], file: None, ..all() },
                "fallback",
                "the emulator",
            ),
        ] {
            assert_eq!(layered.first_of(environment), Some(Given::new(value, from)));
        }
        let none = Layered { option: None, variables: &[], file: None, fallback: None };
        assert_eq!(none.first_of(environment), None);
    }
}
