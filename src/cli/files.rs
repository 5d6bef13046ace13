//! The files of `qron add --file`: read here, and uploaded for the id of the task.

use std::path::Path;

use super::CliError;
use super::client::Client;
use crate::domain::counted::counted;
use crate::domain::files::{MAX_FILES, name_fault};

/// A file to upload.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) name: String,
    content: Vec<u8>,
}

/// Reads the files that `given` names, each as `NAME=PATH` or `PATH`.
///
/// # Errors
/// A usage error for a file that cannot be read, a name that is not allowed, and one that is there twice.
pub(super) fn read(given: &[String]) -> Result<Vec<Upload>, CliError> {
    if given.len() > MAX_FILES {
        return Err(CliError::Usage(format!(
            "--file is given {}; the most is {MAX_FILES}",
            counted(given.len(), "time")
        )));
    }
    let mut files: Vec<Upload> = Vec::with_capacity(given.len());
    for text in given {
        let (name, path) = split(text)?;
        if let Some(fault) = name_fault(&name) {
            return Err(CliError::Usage(format!("--file {text:?}: {fault}; give it another name with NAME=PATH")));
        }
        if files.iter().any(|file| file.name == name) {
            return Err(CliError::Usage(format!(
                "two files are called {name:?}: give one of them another name with --file NAME=PATH"
            )));
        }
        let content = std::fs::read(path)
            .map_err(|error| CliError::Usage(format!("the file {path:?} of --file cannot be read: {error}")))?;
        files.push(Upload { name, content });
    }
    Ok(files)
}

/// The name and the path. A path that is there may have a `=` in it.
fn split(text: &str) -> Result<(String, &str), CliError> {
    let path = Path::new(text);
    if let Some((name, path)) = text.split_once('=').filter(|_| !path.exists()) {
        return Ok((name.to_owned(), path));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.map(|name| (name, text))
        .ok_or_else(|| CliError::Usage(format!("--file {text:?} names no file: use PATH or NAME=PATH")))
}

/// Uploads `files` for the task `id`, which is not submitted yet.
pub(super) async fn upload(client: &Client, id: &str, files: Vec<Upload>) -> Result<(), CliError> {
    for Upload { name, content } in files {
        let media_type = media_type(&name, &content);
        client.upload(&["tasks", id, "files", &name], content, media_type).await?;
    }
    Ok(())
}

/// The media type by the ending of the name, else by whether it is text.
fn media_type(name: &str, content: &[u8]) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "zip" => "application/zip",
        _ if std::str::from_utf8(content).is_ok_and(|text| !text.contains('\0')) => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_own_name_or_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("a=b.csv"), "x").expect("written");
        for (given, name) in [
            (path("a=b.csv"), "a=b.csv"),
            (format!("sales.csv={}", path("a=b.csv")), "sales.csv"),
            ("x=y".to_owned(), "x"),
        ] {
            assert_eq!(split(&given).map_err(|_| "a fault").expect("a name").0, name);
        }
        let twice = [path("a=b.csv"), path("a=b.csv")];
        for wrong in [&twice[..], &["/nowhere".to_owned()], &[format!(".x={}", path("a=b.csv"))], &["/".to_owned()]] {
            assert!(matches!(read(wrong), Err(CliError::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_media_type_follows_the_ending_or_the_content() {
        for (name, content, expected) in [
            ("a.CSV", &b"x"[..], "text/csv"),
            ("a.log", b"x", "text/plain"),
            ("a", b"\xff", "application/octet-stream"),
            ("a.bin", b"a\0b", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name, content), expected);
        }
    }
}
