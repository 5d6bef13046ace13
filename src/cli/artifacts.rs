//! `qron artifacts`: what a task has kept or was given, listed and fetched.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::client::Client;
use super::{CliError, ids, output};
use crate::api::views::Listing;
use crate::api::views::artifacts::ArtifactView;
use crate::domain::counted::counted;

/// The name of standard output where an option takes a file.
const STDOUT: &str = "-";

#[derive(Debug, Subcommand)]
pub(super) enum Artifacts {
    /// List the artifacts of a task
    List {
        /// Id of the task, or its beginning as far as it is unique
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the content of an artifact, as it is, to a file or to standard output
    Get(Get),
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// Id of the task, or its beginning as far as it is unique
    id: String,
    /// Name of the artifact: see "qron artifacts list"
    name: String,
    /// File to write, which must not be there yet; "-", and no option, mean standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With --output: replace a file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

impl Artifacts {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        match self {
            Self::List { id, json } => list(client, &id, json).await,
            Self::Get(get) => get.run(client).await,
        }
    }
}

async fn list(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let id = ids::task(client, id).await?;
    let listing: Listing<ArtifactView> = client.get(&["tasks", &id, "artifacts"], &[]).await?;
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note(&format!("task {id} has no artifacts"));
        return Ok(());
    }
    let mut table = output::rows(&["NAME", "BYTES", "TYPE", "WRITTEN"], &["STEP", "REFERENCE"]);
    for artifact in &listing.items {
        let cells = [
            output::escape(&artifact.name),
            artifact.size.to_string(),
            output::cell(&artifact.media_type, 40),
            output::relative_time(&artifact.created_at),
            output::cell(&artifact.step, 64),
            output::escape(&artifact.reference),
        ];
        output::add(&mut table, cells);
    }
    output::show(&table)
}

impl Get {
    async fn run(self, client: &Client) -> Result<(), CliError> {
        let file = self.output.filter(|path| path != Path::new(STDOUT));
        if let Some(file) = file.as_deref().filter(|file| !self.force && file.symlink_metadata().is_ok()) {
            return Err(is_there(file));
        }
        let id = ids::task(client, &self.id).await?;
        let content = client.bytes(&["tasks", &id, "artifacts", &self.name]).await?;
        match file {
            Some(file) => {
                save(&file, &content, self.force)?;
                output::note(&format!("wrote {} to {}", counted(content.len(), "byte"), file.display()));
                Ok(())
            }
            None if output::is_terminal() => show(&self.name, &content),
            None => output::bytes(&content),
        }
    }
}

/// Writes text to the terminal, without control sequences.
fn show(name: &str, content: &[u8]) -> Result<(), CliError> {
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => output::text(text),
        _ => Err(CliError::Usage(format!(
            "artifact {name:?} is no text, and a terminal shows text alone: write it to a file with --output FILE, or send it \
             to another program with |"
        ))),
    }
}

fn save(file: &Path, content: &[u8], replace: bool) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true);
    if replace {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(file).and_then(|mut open| open.write_all(content).and_then(|()| open.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(file),
        _ => CliError::Failed(format!("the file {} cannot be written: {error}", file.display())),
    })
}

fn is_there(file: &Path) -> CliError {
    CliError::Usage(format!(
        "the file {} exists already: choose another name, or replace it with --force",
        file.display()
    ))
}
