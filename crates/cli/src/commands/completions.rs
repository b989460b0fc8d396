//! `completions`.

use crate::{args::Cli, error::CliError, output::Ui};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a script that lets your shell complete banger's words
///
/// For example, for bash: banger completions bash > ~/.local/share/bash-completion/completions/banger
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Of which shell
    shell: Shell,
}

pub(super) fn run(ui: &Ui, args: &CompletionsArgs) -> Result<(), CliError> {
    let script = script(args.shell);
    if ui.json {
        let script = String::from_utf8_lossy(&script);
        return Ok(ui.print_json(&serde_json::json!({ "shell": args.shell.to_string(), "script": script }))?);
    }
    Ok(ui.print_bytes(&script)?)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "banger", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_verb() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["restart", "completions", "import", "disk-size"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
