//! What is in a table of scenarios, and choosing from it.

use super::{Class, User};

/// Something that a user does, and what has to come of it.
#[derive(Debug)]
pub struct Scenario {
    /// What `--scenario` calls it. The names of its VMs begin with it.
    pub name: &'static str,
    /// What it shares with others.
    pub class: Class,
    /// What it shows, in a line.
    pub shows: &'static str,
    /// Does it. Panics when something is not as it has to be.
    pub play: fn(&User),
}

/// A name that no scenario has.
#[derive(Debug, thiserror::Error)]
#[error("no scenario is called {unknown:?}; there are: {}", names.join(", "))]
pub struct Unknown {
    unknown: String,
    names: Vec<&'static str>,
}

/// The one of that name.
///
/// # Errors
/// When there is none.
pub fn find(table: &'static [Scenario], name: &str) -> Result<&'static Scenario, Unknown> {
    table.iter().find(|scenario| scenario.name == name).ok_or_else(|| Unknown {
        unknown: name.to_owned(),
        names: table.iter().map(|scenario| scenario.name).collect(),
    })
}

/// Those of these names, in the order of the table; all when no name is given.
///
/// # Errors
/// When a name is no scenario's.
pub fn choose(table: &'static [Scenario], names: &[String]) -> Result<Vec<&'static Scenario>, Unknown> {
    for name in names {
        find(table, name)?;
    }
    let wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(table.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Scenario; 3] = [scenario("one"), scenario("two"), scenario("three")];

    const fn scenario(name: &'static str) -> Scenario {
        Scenario { name, class: Class::Independent, shows: "nothing", play: |_| () }
    }

    fn chosen(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&TABLE, &names).unwrap().iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn all_or_those_that_are_named_each_once() {
        assert_eq!(chosen(&[]), ["one", "two", "three"]);
        assert_eq!(chosen(&["three", "one", "three"]), ["one", "three"]);
    }

    #[test]
    fn a_name_that_is_none_is_told_with_those_that_are() {
        let error = choose(&TABLE, &["one".into(), "four".into()]).unwrap_err();
        assert_eq!(error.to_string(), r#"no scenario is called "four"; there are: one, two, three"#);
    }
}
