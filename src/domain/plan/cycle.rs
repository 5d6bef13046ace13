//! Steps that wait for each other.

use std::collections::{HashMap, HashSet};

use super::Plan;
use crate::domain::files::FILES;

impl Plan {
    /// A cycle, named from a step back to itself, if there is one.
    pub(super) fn find_cycle(&self) -> Option<Vec<String>> {
        let waits_for: HashMap<&str, Vec<&str>> =
            self.steps.iter().map(|step| (step.id.as_str(), step.dependencies())).collect();
        // A reference to a file waits for nothing, where no step has its name.
        let mut settled: HashSet<&str> = [FILES].into_iter().filter(|name| !waits_for.contains_key(name)).collect();
        // Settles the steps whose dependencies are settled, until nothing changes. The remaining steps are on a cycle
        // or behind one.
        loop {
            let ready: Vec<&str> = waits_for
                .iter()
                .filter(|(id, dependencies)| !settled.contains(*id) && dependencies.iter().all(|d| settled.contains(d)))
                .map(|(id, _)| *id)
                .collect();
            if ready.is_empty() {
                break;
            }
            settled.extend(ready);
        }
        let mut here = self.steps.iter().map(|step| step.id.as_str()).find(|id| !settled.contains(id))?;
        let mut trail: Vec<&str> = Vec::new();
        while !trail.contains(&here) {
            trail.push(here);
            here = waits_for[here].iter().copied().find(|dependency| !settled.contains(dependency))?;
        }
        let start = trail.iter().position(|id| *id == here)?;
        Some(trail[start..].iter().chain([&here]).map(ToString::to_string).collect())
    }
}
