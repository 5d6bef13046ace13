//! No cycle of modules, and none of files: what imports each other cannot be read, tested or moved apart.
//!
//! A file stands for its module. Its arrows lead to the files of the modules that its paths name. Arrows between a module
//! and those around or within it do not count: a folder and its files are one thing.

use std::collections::{BTreeMap, BTreeSet};

use super::{RULES, files_below, path_of, paths};

/// Who imports whom.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Who imports whom below `folder`, file by file.
fn arrows(folder: &str) -> Arrows {
    let files = files_below(folder);
    let names: BTreeSet<Vec<String>> = files.iter().map(|(file, _)| path_of(file)).collect();
    let is_family = |one: &[String], other: &[String]| one.starts_with(other) || other.starts_with(one);
    let mut arrows = Arrows::new();
    for (file, source) in &files {
        let here = path_of(file);
        if here.iter().any(|part| part == "tests") {
            continue;
        }
        let targets = paths(&here, source).into_iter().filter_map(|path| {
            let file =
                (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| names.contains(path))?;
            (!is_family(&file, &here)).then(|| file.join("::"))
        });
        arrows.entry(here.join("::")).or_default().extend(targets);
    }
    arrows
}

/// The groups whose members all lead to each other.
fn cycles(arrows: &Arrows) -> BTreeSet<Vec<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|from| (from.as_str(), reachable(arrows, from))).collect();
    let is_reached = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    reached
        .keys()
        .filter(|name| is_reached(name, name))
        .map(|name| {
            reached.keys().copied().filter(|other| is_reached(name, other) && is_reached(other, name)).collect()
        })
        .collect()
}

fn reachable<'a>(arrows: &'a Arrows, from: &str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(name) = open.pop() {
        for target in arrows.get(name).into_iter().flatten() {
            if reached.insert(target.as_str()) {
                open.push(target);
            }
        }
    }
    reached
}

#[test]
fn modules_do_not_import_each_other_in_cycles() {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let arrows: Arrows = RULES.iter().map(|(module, allowed)| ((*module).to_owned(), owned(allowed))).collect();
    assert_eq!(cycles(&arrows), BTreeSet::new(), "break these cycles");
}

#[test]
fn files_do_not_import_each_other_in_cycles() {
    for folder in ["src", "crates/qdrant-embedded/src"] {
        assert_eq!(cycles(&arrows(folder)), BTreeSet::new(), "break these cycles of {folder}");
    }
}

#[test]
fn a_cycle_is_found_and_what_only_meets_is_none() {
    let arrows: Arrows = [("a", "b c"), ("b", "c"), ("c", "d"), ("d", "b"), ("e", "e"), ("f", "a")]
        .into_iter()
        .map(|(from, to)| (from.to_owned(), to.split(' ').map(str::to_owned).collect()))
        .collect();
    assert_eq!(cycles(&arrows), BTreeSet::from([vec!["b", "c", "d"], vec!["e"]]));
}
