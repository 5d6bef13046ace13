//! Asks the person at the terminal before a command changes all tasks or all dead letters.

use std::io::{BufRead, IsTerminal as _, stdin};

use super::{CliError, output};

/// Asks the person at the terminal whether to do `what`, such as "cancel 5 tasks". A script must say `--yes`.
///
/// # Errors
/// A usage error where there is no terminal, and a failure when the answer is not yes.
pub(super) fn confirm(what: &str) -> Result<(), CliError> {
    let stdin = stdin();
    if !stdin.is_terminal() {
        return Err(CliError::Usage(format!(
            "this command would {what} and needs a confirmation, but its input is no terminal: add --yes to confirm"
        )));
    }
    output::note(&format!("This will {what}. Type yes to go on:"));
    if is_yes(&mut stdin.lock())? {
        Ok(())
    } else {
        Err(CliError::Failed("the answer is not yes, so nothing was changed".to_owned()))
    }
}

/// Whether the next line of `input` agrees; its end does not.
fn is_yes(input: &mut impl BufRead) -> Result<bool, CliError> {
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(|error| CliError::Failed(format!("the answer cannot be read: {error}")))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_yes_agrees() {
        for (answer, expected) in [
            ("yes\n", true),
            (" YES \n", true),
            ("yes", true),
            ("y\n", false),
            ("no\n", false),
            ("\n", false),
            ("", false),
        ] {
            let agreed = is_yes(&mut answer.as_bytes()).map_err(|_| "unreadable").expect("an answer");
            assert_eq!(agreed, expected, "{answer:?}");
        }
    }
}
