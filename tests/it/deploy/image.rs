//! The image is built from the files that its Dockerfile copies, and from no other. No daemon is needed: the test makes
//! the same folder and begins the image's own cargo command in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};

use super::{read, root};

/// Ends the build when cargo starts the first compiler: by then it has read the manifest, found every target and
/// resolved the lock file. Questions about the compiler itself are answered.
const FIRST_COMPILER: &str = r#"#!/bin/sh
case "$*" in
*-vV* | *"--crate-name ___"*) exec "$@" ;;
esac
echo "qron-test: the first compiler starts" >&2
exit 1
"#;

/// The instructions of a Dockerfile, each on one line, without comments.
fn instructions(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Source and destination of everything that the image copies from the repository.
fn copies(dockerfile: &str) -> Vec<(String, String)> {
    let instructions = instructions(dockerfile);
    let words = instructions.iter().filter_map(|line| line.strip_prefix("COPY "));
    words
        .filter(|line| !line.contains("--from="))
        .flat_map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            assert!(!line.contains(['*', '?', '[']) && !line.starts_with("--"), "this test cannot read COPY {line}");
            let destination = words.pop().unwrap_or_default().to_owned();
            words.into_iter().map(|source| (source.to_owned(), destination.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// The cargo commands that the image runs.
fn cargo_commands(dockerfile: &str) -> Vec<Vec<String>> {
    let instructions = instructions(dockerfile);
    let runs = instructions.iter().filter_map(|line| line.strip_prefix("RUN "));
    runs.flat_map(|run| run.split("&&"))
        .map(|command| command.split_whitespace().filter(|word| !word.starts_with("--mount=")).map(str::to_owned))
        .map(Iterator::collect::<Vec<_>>)
        .filter(|command| command.first().is_some_and(|word| word == "cargo"))
        .collect()
}

/// Paths that the build never sees, whatever the Dockerfile copies.
fn ignored() -> BTreeSet<PathBuf> {
    let text = read(".dockerignore");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            assert!(!line.contains(['*', '?', '[', '!']), "this test cannot read {line:?} of .dockerignore");
            PathBuf::from(line.trim_matches('/'))
        })
        .collect()
}

/// The files below `source` that the build sees, by their path in the repository.
fn seen(source: &Path, ignored: &BTreeSet<PathBuf>, into: &mut BTreeSet<PathBuf>) {
    if ignored.contains(source) {
        return;
    }
    let path = root().join(source);
    if path.is_file() {
        into.insert(source.to_owned());
        return;
    }
    for entry in fs::read_dir(&path).unwrap_or_else(|error| panic!("the image copies {}: {error}", path.display())) {
        seen(&source.join(entry.expect("an entry").file_name()), ignored, into);
    }
}

/// Where in the image each file of the repository lies that `dockerfile` copies, below its working folder.
fn copied(dockerfile: &str) -> Vec<(PathBuf, PathBuf)> {
    let ignored = ignored();
    let mut all = Vec::new();
    for (source, destination) in copies(dockerfile) {
        let mut files = BTreeSet::new();
        seen(Path::new(&source), &ignored, &mut files);
        assert!(!files.is_empty(), "the image copies {source}, of which .dockerignore leaves nothing");
        let is_file = root().join(&source).is_file();
        for file in files {
            let inner = if is_file && destination.ends_with('/') {
                file.file_name().map(PathBuf::from).unwrap_or_default()
            } else {
                file.strip_prefix(&source).expect("below its source").to_owned()
            };
            let within = Path::new(&destination).join(inner);
            all.push((file, within.strip_prefix("./").map_or_else(|_| within.clone(), Path::to_owned)));
        }
    }
    all
}

/// Runs the image's own cargo command over exactly the files that `dockerfile` copies, until the first compiler starts.
fn begin_build(dockerfile: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let context = folder.path().join("src");
    for (source, destination) in copied(dockerfile) {
        let destination = context.join(destination);
        fs::create_dir_all(destination.parent().expect("a folder")).expect("made");
        fs::copy(root().join(source), destination).expect("copied");
    }
    let wrapper = folder.path().join("first-compiler");
    fs::write(&wrapper, FIRST_COMPILER).expect("written");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700)).expect("made executable");
    let [command] = &cargo_commands(dockerfile)[..] else { panic!("the image runs not one cargo command") };
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(&command[1..])
        .current_dir(&context)
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("RUSTC_WRAPPER", &wrapper)
        .output()
        .expect("cargo runs")
}

fn begins_to_compile(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("qron-test: the first compiler starts")
}

#[test]
fn the_images_own_cargo_command_begins_over_exactly_the_files_it_copies() {
    let dockerfile = read("deploy/Dockerfile");
    let output = begin_build(&dockerfile);
    assert!(begins_to_compile(&output), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_that_the_image_does_not_copy_is_noticed() {
    let dockerfile = read("deploy/Dockerfile");
    for (copy, without) in [
        ("COPY benches benches\n", ""),
        ("COPY src src\n", ""),
        ("COPY crates crates\n", ""),
        ("COPY Cargo.toml Cargo.lock ./\n", "COPY Cargo.toml ./\n"),
        ("COPY Cargo.toml Cargo.lock ./\n", "COPY Cargo.lock ./\n"),
        ("COPY src src\n", "COPY src source\n"),
    ] {
        assert!(dockerfile.contains(copy), "the image copies something else now");
        let output = begin_build(&dockerfile.replace(copy, without));
        assert!(!begins_to_compile(&output) && !output.status.success(), "nothing is missing without {copy:?}");
    }
}

/// What the compiler read for the library, as it wrote it down beside its newest output: sources, and the texts and bytes
/// that they include. Paths begin at the root of the repository.
fn sources() -> BTreeSet<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_qron")).with_file_name("deps");
    let libraries = fs::read_dir(&folder).expect("the outputs of this build").filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name()?.to_str()?.strip_prefix("libqron-")?.strip_suffix(".rlib")?.to_owned();
        Some((path.metadata().and_then(|file| file.modified()).expect("a time"), name))
    });
    let (_, newest) = libraries.max().expect("the library of this build");
    let list = fs::read_to_string(folder.join(format!("qron-{newest}.d"))).expect("what it was made of");
    let (_, files) = list.lines().next().and_then(|line| line.split_once(": ")).expect("an output and its sources");
    // A space in a path is written as `\ `.
    let files = files.replace("\\ ", "\u{0}");
    files.split_whitespace().map(|file| within_root(Path::new(&file.replace('\u{0}', " ")))).collect()
}

/// `path` below the root, each `..` taken together with the folder before it.
fn within_root(path: &Path) -> PathBuf {
    path.strip_prefix(root()).unwrap_or(path).components().fold(PathBuf::new(), |mut plain, part| {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
        plain
    })
}

#[test]
fn every_file_that_the_compiler_reads_is_copied() {
    let sources = sources();
    assert!(sources.contains(Path::new("config/default.toml")) && sources.len() > 100, "it is not whole: {sources:?}");
    let copied: BTreeSet<PathBuf> = copied(&read("deploy/Dockerfile"))
        .into_iter()
        .map(|(source, destination)| {
            assert_eq!(source, destination, "the image moves a file, so paths relative to it change");
            source
        })
        .collect();
    for file in sources.iter().filter(|file| file.is_relative()) {
        assert!(copied.contains(file), "the compiler reads {}, which the image does not copy", file.display());
    }
}
