//! The commands: one file each.
//!
//! Commands about a running line ask it through the panel's socket; the others open what they need. What a command
//! prints is built as text first and written once, so that a reader that goes away (`sortd status | head -1`) is
//! never an error. Exit codes: 0 done, 1 a finding, 2 wrong usage, 3 could not run.

pub mod check;
pub mod chute;
pub mod evidence;
pub mod explain;
pub mod identify;
pub mod line;
pub mod parcel;
pub mod plan;
pub mod recorded;
pub mod replay;
pub mod schema;
pub mod status;
pub mod verify;
pub mod verify_bundle;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::line::event::{Ask, Asked};
use crate::panel::client::{Client, ClientError};
use crate::panel::routes::{AskFault, Refusal, check_ask, check_code};

/// How a command ended; the number is the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A finding: bad configuration, an unknown parcel, a refused request.
    Finding = 1,
    /// Wrong usage.
    Usage = 2,
    /// Could not run.
    Failed = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Controller of one parcel sorting line.
#[derive(Debug, Parser)]
#[command(name = "sortd", version, about, disable_help_subcommand = true)]
struct Cli {
    /// Directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "/etc/sortd", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon; logs to the system journal under systemd, readable lines on a terminal.
    Run,
    /// Checks the whole configuration and shows all errors at once.
    Check(Format),
    /// Health, alarms, line state, sums, chutes, devices, backlog.
    Status(Format),
    /// Why this parcel went where it went.
    Explain {
        /// Any code of the parcel: waybill, SSCC, EPC, order's code; as read, or as the cloud has it (EPC URI, Digital
        /// Link, `(00)…`, the object of an event).
        code: String,
        #[command(flatten)]
        format: Format,
    },
    /// Claim bundle of a parcel: what happened, photos, proof, in one file.
    Evidence {
        /// Any code of the parcel: waybill, SSCC, EPC, order number; as read, or as the cloud has it (EPC URI, Digital
        /// Link, `(00)…`, the object of an event).
        code: String,
        /// File to write, whole or not at all; a file of that name is replaced, anything else of that name (a device, a
        /// pipe, a directory) is left as it is and refused, and so is `-`.
        #[arg(long, value_name = "FILE.zip")]
        out: PathBuf,
        /// A copy of a store, instead of the running line.
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Whether the record is what was written: intact, altered, truncated, unchained tail, anchor mismatch.
    Verify {
        #[command(flatten)]
        options: verify::Options,
        #[command(flatten)]
        format: Format,
    },
    /// Recorded events through the same core; every difference in its facts is printed, none is expected.
    ///
    /// Begins at the last snapshot before --from and compares every fact with the recorded one, and the whole
    /// state at each stored snapshot. The configuration is that of the time, out of the store's archive; --config
    /// counts only for runs of old versions that archived none. Exit code 0: none differs, 1: some differ, 3: it
    /// could not run, or a part could not be read.
    Replay {
        #[command(flatten)]
        which: recorded::Which,
        #[command(flatten)]
        format: Format,
    },
    /// What another sort plan would change.
    Plan {
        #[command(subcommand)]
        action: plan::Action,
    },
    /// JSON Schema of a configuration file, of a message, or of `evidence.json`.
    Schema {
        /// Name; without it the names are listed.
        name: Option<String>,
    },
    /// What a barcode or EPC is taken for; one result a line.
    Identify {
        /// Codes; `-` reads them from standard input, one a line.
        #[arg(required = true)]
        codes: Vec<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Asks the line to start, stop or purge; the PLC grants it under its own conditions.
    Line {
        /// What is asked.
        action: line::Action,
        #[command(flatten)]
        operator: Operator,
        #[command(flatten)]
        format: Format,
    },
    /// Locks, unlocks or closes a chute, or says that its bag or cage was changed.
    Chute {
        /// Number of the chute at the PLC.
        number: u16,
        /// What is asked.
        action: chute::Action,
        #[command(flatten)]
        operator: Operator,
        #[command(flatten)]
        format: Format,
    },
    /// Reports a parcel found, removed from the belt by hand, or damaged.
    Parcel {
        /// Any code of the parcel.
        code: String,
        /// What happened.
        action: parcel::Action,
        #[command(flatten)]
        operator: Operator,
        #[command(flatten)]
        format: Format,
    },
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Who asks.
#[derive(Debug, Clone, Args)]
pub struct Operator {
    /// Operator; the login name (before sudo) unless given.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Operator {
    /// The name to put into the journal: `--by`, or the login name. `root` alone names nobody.
    fn name(&self) -> Option<String> {
        let from = |variable| std::env::var(variable).ok();
        let given = self.by.clone();
        given
            .or_else(|| {
                ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|v| from(v).filter(|n| n != "root"))
            })
            .filter(|name| !name.trim().is_empty())
    }
}

/// Runs what the command line says.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                complain(&text);
                return Exit::Usage;
            }
            return print(&text);
        }
    };
    let config = cli.config;
    match cli.command {
        Command::Run => run(&config),
        Command::Check(format) => check(&config, format),
        Command::Identify { codes, format } => identify(&config, &codes, format),
        Command::Status(format) => status::command(&client(&config), format),
        Command::Explain { code, format } => match check_code(&code) {
            Ok(()) => explain::command(&client(&config), &code, format),
            Err(fault) => refused(&fault, Exit::Usage, format),
        },
        Command::Verify { options, format } => verify::command(&client(&config), &options, format),
        Command::Replay { which, format } => replay::command(&config, &which, format),
        Command::Plan { action } => plan::command(&config, &action),
        Command::Evidence { code, out, store, format } => {
            evidence::command(&config, &code, &out, store.as_deref(), format)
        }
        Command::Schema { name } => schema::command(name.as_deref()),
        Command::Line { action, operator, format } => ask(&config, &operator, action.asked(), format),
        Command::Chute { number, action, operator, format } => {
            ask(&config, &operator, action.asked(number), format)
        }
        Command::Parcel { code, action, operator, format } => {
            ask(&config, &operator, action.asked(code), format)
        }
    }
}

fn run(config: &Path) -> Exit {
    match crate::daemon::run(config) {
        Ok(()) => Exit::Done,
        Err(crate::daemon::RunError::Configuration(findings)) => {
            let mut text = Vec::new();
            // Writing to memory does not fail.
            let _ = check::print(&findings, check::Form::Plain, &mut text);
            complain(&String::from_utf8_lossy(&text));
            Exit::Finding
        }
        Err(error) => {
            complain(&format!("sortd: {error}\n"));
            Exit::Failed
        }
    }
}

fn check(config: &Path, format: Format) -> Exit {
    match check::run(config, format.json) {
        Ok(false) => Exit::Done,
        Ok(true) => Exit::Finding,
        Err(error) => unwritten(&error),
    }
}

/// Numbers of carriers are known by the configuration; without one, the standards' own codes are.
fn identify(config: &Path, codes: &[String], format: Format) -> Exit {
    let carriers = match crate::site::load(config) {
        Ok((site, _)) => site.carriers,
        Err(findings) => {
            let why = findings.first().map_or_else(String::new, ToString::to_string);
            complain(&format!("sortd: carriers are not known, the configuration is not usable: {why}\n"));
            crate::identify::CarrierRules::default()
        }
    };
    let mut given = Vec::new();
    for code in codes {
        if code == "-" {
            given.extend(io::stdin().lines().map_while(Result::ok).filter(|line| !line.is_empty()));
        } else {
            given.push(code.clone());
        }
    }
    match identify::run(&given, &carriers, format.json, &mut io::stdout().lock()) {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Finding,
        Err(error) => unwritten(&error),
    }
}

fn unwritten(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Done;
    }
    complain(&format!("sortd: cannot write the answer: {error}\n"));
    Exit::Failed
}

/// Sends an operator's question and prints what the line says.
fn ask(config: &Path, operator: &Operator, what: Asked, format: Format) -> Exit {
    let ask = Ask { by: operator.name().unwrap_or_default(), what };
    if let Err(fault) = check_ask(&ask) {
        complain(&format!("sortd: {fault}\n"));
        if fault == AskFault::Nobody {
            complain("  every request is journalled with the name of who asked\n");
        }
        return Exit::Usage;
    }
    match client(config).ask(&ask) {
        Ok(receipt) if format.json => print_json(&receipt),
        Ok(receipt) => print(&format!("{}\n", receipt.said)),
        Err(error) => failed(&error),
    }
}

fn client(config: &Path) -> Client {
    Client::new(&socket_of(config))
}

/// The socket of the line that runs with this configuration. Only this one key is read, so that a line can be asked
/// while its configuration is being edited and does not pass `check`.
fn socket_of(config: &Path) -> PathBuf {
    let configured = std::fs::read_to_string(config.join("sortd.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .and_then(|table| Some(table.get("panel")?.get("socket")?.as_str()?.to_owned()));
    configured.map_or_else(crate::panel::default_socket, |socket| config.join(socket))
}

/// Says why there is no answer; for a program on standard output, too, as one document.
fn refused(why: &dyn std::fmt::Display, exit: Exit, format: Format) -> Exit {
    complain(&format!("sortd: {why}\n"));
    told_as_json(why, format);
    exit
}

fn told_as_json(why: &dyn std::fmt::Display, format: Format) {
    if format.json {
        // The exit code says that it is no answer, whether or not it could be written.
        let _ = print_json(&Refusal { error: why.to_string() });
    }
}

/// As [`failed`]; for a program on standard output, too.
fn failed_as(error: &ClientError, format: Format) -> Exit {
    told_as_json(error, format);
    failed(error)
}

/// Says why the daemon did not answer, and chooses the exit code.
fn failed(error: &ClientError) -> Exit {
    complain(&format!("{error}\n"));
    match error {
        // 404: no such parcel; 409: not possible as asked.
        ClientError::Refused { status: 404 | 409, .. } => Exit::Finding,
        ClientError::Refused { status: 400, .. } => Exit::Usage,
        ClientError::Refused { .. }
        | ClientError::NoSocket(_)
        | ClientError::NobodyAnswers(_)
        | ClientError::Permission(_)
        | ClientError::Slow
        | ClientError::Answer { .. }
        | ClientError::System { .. } => Exit::Failed,
    }
}

/// Writes to standard output; a reader that has gone away has read all it wanted.
pub fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            complain(&format!("sortd: cannot write the answer: {error}\n"));
            Exit::Failed
        }
    }
}

/// Writes one JSON document.
pub fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => {
            complain(&format!("sortd: cannot write the answer as JSON: {error}\n"));
            Exit::Failed
        }
    }
}

/// Writes to standard error; if that is closed too, the exit code still says it.
pub fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_as_promised() {
        for line in [
            "sortd run",
            "sortd --config /tmp/x run",
            "sortd check --json",
            "sortd status --json",
            "sortd explain ABC123 --json --config /tmp/x",
            "sortd evidence ABC123 --out x.zip",
            "sortd evidence ABC123 --out x.zip --store /copy --json",
            "sortd verify --bundle x.zip --key key.pem --json",
            "sortd schema evidence",
            "sortd identify A B C --json",
            "sortd verify",
            "sortd verify --store /tmp/copy --key a.pub --key b.pub --json",
            "sortd line start --by li",
            "sortd line stop",
            "sortd line purge",
            "sortd chute 12 lock --by li",
            "sortd chute 12 unlock",
            "sortd chute 12 close",
            "sortd chute 12 changed",
            "sortd replay",
            "sortd replay --store s --from 2026-11-22T08:00 --to 2026-11-22T09:00:00+08:00 --json",
            "sortd plan diff a b --json",
            "sortd plan try new.csv --store s --from 2026-11-22",
            "sortd parcel ABC found",
            "sortd parcel ABC removed",
            "sortd parcel ABC damaged --by li --json",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
        for line in [
            "sortd",
            "sortd replay --from yesterday",
            "sortd plan try",
            "sortd chute twelve lock",
            "sortd chute 12",
            "sortd line reset",
            "sortd identify",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let cli = parse("sortd status").unwrap();
        assert_eq!(cli.config, Path::new("/etc/sortd"));
    }

    #[test]
    fn what_cannot_be_asked_is_wrong_usage_before_anything_is_looked_up() {
        let run = |arguments: &[&str]| main(arguments.iter().map(OsString::from));
        // One that does not even fit into a request, too.
        for length in [257, 70_000] {
            let code = "A".repeat(length);
            assert_eq!(
                run(&["sortd", "evidence", &code, "--out", "/nowhere/x.zip"]),
                Exit::Usage,
                "{length}"
            );
            assert_eq!(run(&["sortd", "explain", &code, "--json"]), Exit::Usage, "{length}");
        }
        assert_eq!(run(&["sortd", "evidence", "A", "--out", "-", "--json"]), Exit::Usage);
        assert_eq!(run(&["sortd", "evidence", "A", "--out", "/nowhere/x.zip"]), Exit::Failed);
    }

    #[test]
    fn the_socket_is_found_in_a_configuration_that_does_not_pass() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(socket_of(directory.path()), Path::new("/run/sortd/sortd.sock"));
        let text = "mistake = 1\n[panel]\nsocket = \"/tmp/s.sock\"\n";
        std::fs::write(directory.path().join("sortd.toml"), text).unwrap();
        assert_eq!(socket_of(directory.path()), Path::new("/tmp/s.sock"));
    }
}
