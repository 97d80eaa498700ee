//! `hongbao token`: a new bearer token, and the line that makes a server accept it.

use anyhow::anyhow;

use crate::cli::TokenRole;
use crate::exit::{FAILED, Failure, OK, Outcome};
use crate::output::print_lines;

/// Prints the token on stdout, and the line for the tokens file on stderr.
pub fn run(role: TokenRole, name: &str) -> Outcome {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(FAILED, anyhow!("no randomness: {error}")))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = format!("hb_{hex}");
    let role = match role {
        TokenRole::Producer => "producer",
        TokenRole::Viewer => "viewer",
        TokenRole::Operator => "operator",
    };
    eprintln!("add this line to the server's tokens file (`http.tokens_file`) and start it again:");
    eprintln!("{role} {} {name}", blake3::hash(token.as_bytes()).to_hex());
    print_lines(&[token])?;
    Ok(OK)
}
