//! `qron artifacts`: what a task has kept or was given, listed and fetched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::client::{Client, Download};
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
            artifact.name.clone(),
            artifact.size.to_string(),
            output::cell(&artifact.media_type, 40),
            output::relative_time(&artifact.created_at),
            output::cell(&artifact.step, 64),
            artifact.reference.clone(),
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
        let mut content = client.download(&["tasks", &id, "artifacts", &self.name]).await?;
        match file {
            Some(file) => {
                let bytes = save(&file, content, self.force).await?;
                output::note(&format!("wrote {} to {}", counted(bytes, "byte"), file.display()));
            }
            None if output::is_terminal() => show(&self.name, &content.whole().await?)?,
            None => {
                while let Some(piece) = content.next().await? {
                    output::bytes(&piece)?;
                }
            }
        }
        Ok(())
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

/// Writes the content as it comes, and gives back how many bytes it has. A new file that does not get all of it is removed.
async fn save(file: &Path, content: Download<'_>, replace: bool) -> Result<usize, CliError> {
    let mut options = OpenOptions::new();
    options.write(true);
    if replace {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let open = options.open(file).map_err(|error| unwritten(file, &error))?;
    let written = fill(open, file, content).await;
    if written.is_err() && !replace {
        // What failed before is told.
        drop(fs::remove_file(file));
    }
    written
}

async fn fill(mut open: File, file: &Path, mut content: Download<'_>) -> Result<usize, CliError> {
    let mut bytes = 0;
    while let Some(piece) = content.next().await? {
        open.write_all(&piece).map_err(|error| unwritten(file, &error))?;
        bytes += piece.len();
    }
    open.sync_all().map_err(|error| unwritten(file, &error))?;
    Ok(bytes)
}

fn unwritten(file: &Path, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(file),
        _ => CliError::Failed(format!("the file {} cannot be written: {error}", file.display())),
    }
}

fn is_there(file: &Path) -> CliError {
    CliError::Usage(format!(
        "the file {} exists already: choose another name, or replace it with --force",
        file.display()
    ))
}
