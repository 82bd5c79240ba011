//! `sim`: the simulators from the command line.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use simulators::bench::{self, BenchOptions};
use simulators::day::{self, DayOptions};
use simulators::demo::{self, DemoError, DemoOptions, DemoResult};
use simulators::devices::{self, DevicesOptions};
use simulators::watcher::{self, CloudOptions};

/// Simulators of a sorting line.
#[derive(Debug, Parser)]
#[command(version)]
struct Sim {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole line for a minute, over real protocols, with the real sortd.
    Demo(DemoOptions),
    /// Hours of the line in seconds: virtual time, in-process, same seed, same output.
    Day(DayOptions),
    /// The upstream that checks every event, for a line that runs already.
    Cloud(CloudOptions),
    /// The hardware of a line only, behind real protocols, for a `sortd` started by hand.
    Devices(DevicesOptions),
    /// Measures a thing and its floor in the same run.
    Bench(BenchOptions),
}

fn main() -> ExitCode {
    match Sim::parse().command {
        Command::Demo(options) => run_demo(options),
        Command::Day(options) => run_day(&options),
        Command::Cloud(options) => run_cloud(options),
        Command::Devices(options) => run_devices(&options),
        Command::Bench(options) => run_bench(options),
    }
}

#[expect(clippy::disallowed_methods, reason = "measures how long the run took; nothing is decided by it")]
fn run_day(options: &DayOptions) -> ExitCode {
    let begun = Instant::now();
    match day::run(options, || begun.elapsed()) {
        Ok(result) => {
            print!("{}", result.table());
            eprintln!("took {:.2} s", begun.elapsed().as_secs_f64());
            if result.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error @ day::DayError::Disagreement(_)) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

fn run_demo(options: DemoOptions) -> ExitCode {
    // The embedded broker logs every client that leaves; here they leave on purpose.
    let quiet = tracing_subscriber::EnvFilter::new("error,rumqttd=off");
    let _ = tracing_subscriber::fmt().with_env_filter(quiet).with_writer(std::io::stderr).try_init();
    match with_runtime(demo::run(options)) {
        Some(Ok(result)) => show_demo(&result),
        Some(Err(error @ (DemoError::Process(_) | DemoError::NoStart { .. }))) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
        None => ExitCode::from(3),
    }
}

fn show_demo(result: &DemoResult) -> ExitCode {
    println!("\n{}", result.table());
    if result.is_good() {
        println!("  every sum agrees");
        return ExitCode::SUCCESS;
    }
    for fault in &result.faults {
        println!("  FAULT: {fault}");
    }
    ExitCode::from(1)
}

fn with_runtime<T>(work: impl Future<Output = T>) -> Option<T> {
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => Some(runtime.block_on(work)),
        Err(error) => {
            eprintln!("no runtime: {error}");
            None
        }
    }
}

fn run_cloud(options: CloudOptions) -> ExitCode {
    match with_runtime(watcher::run(options)) {
        Some(Ok(report)) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&report).expect("text keys and plain values make JSON")
            );
            if watcher::is_sound(&report) { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        None => ExitCode::from(3),
    }
}

fn run_bench(options: BenchOptions) -> ExitCode {
    match with_runtime(bench::run(options)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
        None => ExitCode::from(3),
    }
}

fn run_devices(options: &DevicesOptions) -> ExitCode {
    match with_runtime(devices::run(options)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
        None => ExitCode::from(3),
    }
}
