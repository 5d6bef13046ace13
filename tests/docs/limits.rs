//! The page about the API says which limits the program enforces.

use std::ops::RangeInclusive;

use qron::domain::task::SpecLimits;

use crate::read;

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn range<T: Copy + TryInto<u64>>(range: &RangeInclusive<T>) -> String {
    let text = |end: &T| grouped((*end).try_into().unwrap_or(u64::MAX));
    format!("{} to {}", text(range.start()), text(range.end()))
}

fn most(limit: usize) -> String {
    grouped(limit as u64)
}

#[test]
fn the_table_of_limits_is_that_of_the_program() {
    let page = read("docs/api.md");
    let doors = [SpecLimits::API, SpecLimits::TOOL, SpecLimits::FOREIGN];
    let row = |name: &str, cell: &dyn Fn(&SpecLimits) -> String| {
        let cells: Vec<String> = doors.iter().map(cell).collect();
        let row = format!("| {name} | {} |\n", cells.join(" | "));
        assert!(page.contains(&row), "docs/api.md lacks the row\n{row}");
    };
    let SpecLimits {
        goal_chars: _,
        name_chars: _,
        unique_key_chars: _,
        priority: _,
        max_attempts: _,
        timeout_s: _,
        max_tags: _,
        max_capabilities: _,
        max_dependencies: _,
        max_context_levels: _,
        max_context_bytes: _,
        max_context_memory: _,
    } = SpecLimits::API;
    row("`goal`, characters", &|limits| range(&limits.goal_chars));
    let names = "`agent`, `user`, `concurrency_key`, each tag and capability, characters";
    row(names, &|limits| range(&limits.name_chars));
    row("`unique_key`, characters", &|limits| range(&limits.unique_key_chars));
    row("`priority`", &|limits| range(&limits.priority));
    row("`max_attempts`", &|limits| range(&limits.max_attempts));
    row("`timeout_s`", &|limits| range(&limits.timeout_s));
    row("`tags`, entries", &|limits| most(limits.max_tags));
    row("`capabilities`, entries", &|limits| most(limits.max_capabilities));
    row("`depends_on`, entries", &|limits| most(limits.max_dependencies));
    row("`context`, levels of nesting", &|limits| most(limits.max_context_levels));
    row("`context`, bytes as JSON", &|limits| most(limits.max_context_bytes));
    row("`context`, bytes of memory", &|limits| most(limits.max_context_memory));
}
