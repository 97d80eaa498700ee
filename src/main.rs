//! The `hongbao` binary: command line, and the one place that ties concrete adapters together.

mod assemble;
mod audit;
mod bench;
mod cli;
mod client;
mod commands;
mod exit;
mod output;

fn main() -> std::process::ExitCode {
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; everything else is a usage error.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            drop(error.print());
            return code.into();
        }
    };
    match commands::run(cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("error: {:#}", failure.error);
            failure.code.into()
        }
    }
}
