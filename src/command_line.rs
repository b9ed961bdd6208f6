//! The command line before it is parsed: `serve` may be left out, and the
//! server may be started as `tritonserver`, with that program's flags.

mod environment;
mod table;

use std::ffi::{OsStr, OsString};
use std::path::Path;

pub use environment::unknown;
use table::SERIES;
pub use table::{FLAGS, Fate, Flag, Level};

use crate::telemetry::LogLevels;

/// The program that Cresset can stand in for.
const TRITON: &str = "tritonserver";

/// A command line, translated for the parser.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments, as [`crate::cli::Cli`] takes them.
    pub arguments: Vec<OsString>,
    /// A line for the log for each flag that has no effect, with why.
    pub notes: Vec<String>,
}

/// Reads a process's arguments, of which the first is the program;
/// `environment` looks up a variable.
///
/// # Errors
/// If a flag of Triton's asks for a feature that isn't offered, or a value can't
/// be read.
pub fn read(
    given: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<CommandLine, String> {
    let mut given = given.into_iter();
    let program = given.next().unwrap_or_else(|| "cresset".into());
    let mut rest: Vec<OsString> = given.collect();
    let mut triton = names_triton(&program);
    // Compose files for Triton and KServe's runtimes pass the program's name to
    // the image's entry point as its first argument.
    if rest.first().is_some_and(|first| names_triton(first)) {
        rest.remove(0);
        triton = true;
    }
    if lacks_command(&rest, triton) {
        rest.insert(0, "serve".into());
    }
    if rest.first().is_none_or(|command| command != "serve") {
        return Ok(CommandLine { arguments: [vec![program], rest].concat(), notes: Vec::new() });
    }
    let mut reader = Reader::default();
    let mut arguments = vec![program, rest.remove(0)];
    arguments.extend(reader.read_all(rest)?);
    arguments.extend(reader.logged.map(|levels| OsString::from(format!("--log={}", levels.filter()))));
    reader.check_addresses()?;
    // Triton's clients check the server's name.
    if triton && environment("CRESSET_ID").is_none() && !arguments.iter().any(is_id) {
        arguments.push("--id=triton".into());
    }
    arguments.extend(port(&arguments, environment)?);
    Ok(CommandLine { arguments, notes: reader.notes })
}

fn is_id(argument: &OsString) -> bool {
    let argument = argument.to_string_lossy();
    argument == "--id" || argument.starts_with("--id=")
}

fn names_triton(argument: &OsStr) -> bool {
    Path::new(argument).file_name().is_some_and(|name| name == TRITON)
}

/// Whether the subcommand is left out, as in `docker run IMAGE --flag`.
fn lacks_command(rest: &[OsString], triton: bool) -> bool {
    match rest.first().and_then(|first| first.to_str()) {
        Some("-h" | "--help") => triton,
        Some("-V" | "--version") => false,
        Some(first) => first.starts_with("--"),
        None => triton && rest.is_empty(),
    }
}

/// The flag for `PORT`, as Cloud Run and Heroku set it, if neither a flag nor
/// `CRESSET_HTTP_PORT` sets the port.
fn port(
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<OsString>, String> {
    let is_set = |name| environment(name).filter(|value| !value.is_empty());
    let is_flag = |argument: &OsString| argument.to_string_lossy().starts_with("--http-port");
    let Some(port) = is_set("PORT") else { return Ok(None) };
    if is_set("CRESSET_HTTP_PORT").is_some() || arguments.iter().any(is_flag) {
        return Ok(None);
    }
    let port = port.to_string_lossy().into_owned();
    match port.parse::<u16>() {
        Ok(number) => Ok(Some(format!("--http-port={number}").into())),
        Err(_) => Err(format!(
            "the environment's PORT is '{port}', and a port is a number up to 65535: correct it, or say \
             --http-port, which goes before it"
        )),
    }
}

/// Translates the arguments of `serve`.
#[derive(Debug, Default)]
struct Reader {
    notes: Vec<String>,
    /// The log's levels, if a flag sets them.
    logged: Option<LogLevels>,
    /// Addresses to listen on, with their flags.
    addresses: Vec<(&'static str, String)>,
}

impl Reader {
    fn read_all(&mut self, given: Vec<OsString>) -> Result<Vec<OsString>, String> {
        let mut read = Vec::with_capacity(given.len());
        let mut given = given.into_iter();
        while let Some(argument) = given.next() {
            let flag = argument.to_str().and_then(find);
            let Some((flag, value)) = flag else {
                read.push(argument);
                continue;
            };
            let value = match value {
                Some(value) => value.to_owned(),
                None if flag.takes_value => {
                    let next = given.next().ok_or_else(|| format!("--{} lacks its value", flag.name))?;
                    next.into_string().map_err(|next| format!("--{} {next:?} isn't UTF-8", flag.name))?
                }
                None => String::new(),
            };
            read.extend(self.read(flag, value)?.map(OsString::from));
        }
        Ok(read)
    }

    /// Translates one flag.
    fn read(&mut self, flag: &'static Flag, value: String) -> Result<Option<String>, String> {
        let Flag { name, .. } = *flag;
        let shown = if flag.takes_value { format!("--{name}={value}") } else { format!("--{name}") };
        match flag.fate {
            Fate::As(own) => Ok(Some(format!("--{own}={value}"))),
            Fate::Switch(own) => match switch(&value) {
                Some(on) => Ok(Some(format!("--{own}={on}"))),
                None => Err(format!("{shown}: expected true or false")),
            },
            Fate::Form => {
                // Cresset's log writes ISO 8601 times anyway.
                let triton = ["default", "iso8601"].contains(&value.to_lowercase().as_str());
                Ok(Some(format!("--log-format={}", if triton { "human" } else { &value })))
            }
            Fate::Metrics => match value.split_once('=') {
                Some(("summary_latencies", on)) => match switch(on) {
                    Some(on) => Ok(Some(format!("--metrics-summaries={on}"))),
                    None => Err(format!("{shown}: expected true or false")),
                },
                Some(_) => {
                    self.notes.push(format!("{shown} has no effect: {SERIES}"));
                    Ok(None)
                }
                None => Err(format!("{shown}: expected a setting and its value, as summary_latencies=true")),
            },
            Fate::Logs(level) => {
                let on = match (level, value.parse::<u32>()) {
                    (Level::Verbose, Ok(verbosity)) => Some(verbosity > 0),
                    _ => switch(&value),
                };
                let on = on.ok_or_else(|| format!("{shown}: expected true or false"))?;
                let logged = self.logged.get_or_insert_default();
                match level {
                    Level::Verbose => logged.verbose = u32::from(on),
                    Level::Info => logged.info = on,
                    Level::Warning => logged.warning = on,
                    Level::Error => logged.error = on,
                }
                Ok(None)
            }
            Fate::Address(_) => {
                self.addresses.push((name, value.clone()));
                Ok((name == "http-address").then(|| format!("--host={value}")))
            }
            Fate::Only(wanted, why) => {
                let same = wanted.eq_ignore_ascii_case(&value)
                    || switch(&value).is_some_and(|on| on.to_string() == wanted);
                if same { Ok(None) } else { Err(format!("{shown}: {why}")) }
            }
            Fate::Refused(why) => Err(format!("{shown}: {why}")),
            Fate::NoEffect(why) => {
                self.notes.push(format!("{shown} has no effect: {why}"));
                Ok(None)
            }
        }
    }

    /// Refuses different addresses: all three ports listen on one.
    fn check_addresses(&self) -> Result<(), String> {
        let http = self.addresses.iter().rfind(|(flag, _)| *flag == "http-address");
        let other = self.addresses.iter().find(|(_, address)| http.is_none_or(|(_, http)| http != address));
        let Some((flag, address)) = other else { return Ok(()) };
        Err(format!(
            "--{flag}={address}: HTTP, gRPC and metrics listen on one address: say --http-address={address} \
             too, or leave the flag out"
        ))
    }
}

/// Triton's flag for an argument, and the value behind its `=`.
fn find(argument: &str) -> Option<(&'static Flag, Option<&str>)> {
    let argument = argument.strip_prefix("--")?;
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    let flag = FLAGS.iter().find(|flag| flag.name == name)?;
    Some((flag, value))
}

/// Reads a truth value as Triton does.
fn switch(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
