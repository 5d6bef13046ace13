//! Who gives the commands of this terminal.

/// Name of the user of this terminal, from the variable `USER`.
pub(super) fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty())
}
