//! Progress and outline of a run, for people and for memory.

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
        progress
    }

    fn doing(&self) -> String {
        match &self.state.phase {
            _ if self.state.ended.is_some() => "ended".to_owned(),
            Phase::Planning(_) => "planning".to_owned(),
            Phase::Replanning(_) => "planning anew".to_owned(),
            Phase::Answering(_) => "answering".to_owned(),
            Phase::Steps => {
                let running = |step: &&Step| matches!(step.status, Status::Calling { .. } | Status::Acting(_));
                let names: Vec<&str> =
                    self.state.steps.iter().filter(running).map(|step| step.plan.id.as_str()).collect();
                if names.is_empty() { "between steps".to_owned() } else { format!("running {}", names.join(", ")) }
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
