//! The `qron` command.

fn main() {}
