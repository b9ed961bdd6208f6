//! Environment variables that look like settings and aren't, such as misspelt
//! ones.

use clap::CommandFactory as _;

use crate::cli::Cli;

/// What every setting's variable begins with.
const PREFIX: &str = "CRESSET_";

/// Variables that the project's other programs read.
const ELSEWHERE: [&str; 1] = ["CRESSET_CACHE"];

/// From this likeness on (0 to 1), a name counts as a misspelling of another.
const ALIKE: f64 = 0.8;

/// A line for each name that is no setting, with the setting that it may
/// misspell.
#[must_use]
pub fn unknown(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<String> = arguments
        .filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    let mut lines: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !ELSEWHERE.contains(&name.as_str()))
        .filter(|name| !known.contains(name))
        .map(|name| {
            let alike = known.iter().map(|known| (strsim::jaro_winkler(known, &name), known));
            match alike
                .max_by(|(one, _), (other, _)| one.total_cmp(other))
                .filter(|(alike, _)| *alike >= ALIKE)
            {
                Some((_, meant)) => format!("{name} is no setting and has no effect: {meant} is one"),
                None => format!("{name} is no setting and has no effect: cresset serve --help lists them"),
            }
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_told_with_the_one_that_is_meant() {
        let told = |names: &[&str]| unknown(names.iter().copied().map(str::to_owned));
        assert_eq!(told(&["CRESSET_HTTP_PORT", "PATH", "CRESSET_CACHE"]), [""; 0]);
        assert_eq!(
            told(&["CRESSET_HTTPPORT"]),
            ["CRESSET_HTTPPORT is no setting and has no effect: CRESSET_HTTP_PORT is one"]
        );
    }
}
