//! The `qron` command.

fn main() -> std::process::ExitCode {
    qron::cli::main()
}
