//! Progress and outline of a run, for people and for memory.

use std::collections::{HashMap, HashSet};

use super::Machine;
use super::state::{Phase, Status, Step};
use crate::domain::attempt::RunProgress;

impl Machine {
    /// Progress of the run.
    #[must_use]
    pub fn progress(&self) -> RunProgress {
        let mut progress = RunProgress { note: self.doing(), ..RunProgress::default() };
        let (abandoned, steps) = (&self.state.abandoned, &self.state.steps);
        for (step, is_abandoned) in
            abandoned.iter().map(|step| (step, true)).chain(steps.iter().map(|step| (step, false)))
        {
            progress.total = progress.total.saturating_add(1);
            let counted = match step.status {
                Status::Done { .. } => &mut progress.done,
                Status::Failed { .. } => &mut progress.failed,
                Status::Blocked { .. } => &mut progress.blocked,
                // A new plan took its place.
                _ if is_abandoned => &mut progress.blocked,
                _ => continue,
            };
            *counted = counted.saturating_add(1);
        }
        progress.left_s = self.seconds_left();
        progress
    }

    /// How long the run will still take by the estimates of its plan, in seconds: the longest way through the open steps. A step
    /// without an estimate counts as the mean of those that have one; without any, nothing is known.
    fn seconds_left(&self) -> Option<u32> {
        if self.state.ended.is_some() || !matches!(self.state.phase, Phase::Steps) {
            return None;
        }
        let steps = &self.state.steps;
        let estimates: Vec<u64> = steps.iter().filter_map(|step| step.plan.estimated_s).map(u64::from).collect();
        let mean = estimates.iter().sum::<u64>().checked_div(estimates.len() as u64)?;
        let own = |step: &Step| -> u64 {
            // The elements of a list and the parts of a text are within the estimate of their step.
            if step.element_of.is_some() {
                return 0;
            }
            let is_under_way = step.status != Status::Pending || step.elements.is_some();
            let began = step.account.started_at.filter(|_| is_under_way);
            let passed = began.zip(self.now).map_or(0, |(began, now)| now.millis_since(began) / 1_000);
            step.plan.estimated_s.map_or(mean, u64::from).saturating_sub(passed)
        };
        let open: HashSet<&str> =
            steps.iter().filter(|step| !step.has_ended()).map(|step| step.plan.id.as_str()).collect();
        let mut left: Vec<(&str, u64, Vec<&str>)> = Vec::new();
        for step in steps.iter().filter(|step| !step.has_ended()) {
            let needed = step.plan.dependencies().into_iter().filter(|name| open.contains(name));
            left.push((&step.plan.id, own(step), needed.collect()));
        }
        let mut ends: HashMap<&str, u64> = HashMap::new();
        // A valid plan has no cycle, so each round settles a step.
        loop {
            let before = left.len();
            left.retain(|(id, own, needed)| {
                let ways: Option<Vec<u64>> = needed.iter().map(|name| ends.get(name).copied()).collect();
                let Some(ways) = ways else { return true };
                ends.insert(id, ways.into_iter().max().unwrap_or_default().saturating_add(*own));
                false
            });
            if left.len() == before {
                break;
            }
        }
        u32::try_from(ends.into_values().max()?).ok()
    }

    fn doing(&self) -> String {
        match &self.state.phase {
            _ if self.state.ended.is_some() => "ended".to_owned(),
            Phase::Planning(_) => "planning".to_owned(),
            Phase::Replanning(_) => "planning anew".to_owned(),
            Phase::Answering(_) => "answering".to_owned(),
            Phase::Steps => {
                let named = |is_meant: fn(&Status) -> bool, verb: &str| {
                    let steps = self.state.steps.iter().filter(|step| is_meant(&step.status));
                    let names: Vec<&str> = steps.map(|step| step.plan.id.as_str()).collect();
                    (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
                };
                let parts = [
                    named(|status| matches!(status, Status::Calling { .. } | Status::Acting(_)), "running"),
                    named(|status| matches!(status, Status::Ordered(_)), "waiting for the tasks of"),
                ];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                if parts.is_empty() { "between steps".to_owned() } else { parts.join(", ") }
            }
        }
    }

    /// The steps in order, a line each, with what failed marked as such.
    #[must_use]
    pub fn outline(&self) -> String {
        let lines: Vec<String> = self.state.abandoned.iter().chain(&self.state.steps).map(Step::outline).collect();
        lines.join("\n")
    }
}
