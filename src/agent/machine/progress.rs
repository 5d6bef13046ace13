//! Progress and outline of a run, for people and for memory.

use super::Machine;
use super::state::{Phase, Status, Step};
use crate::domain::attempt::RunProgress;

impl Machine {
    /// Progress of the run.
    #[must_use]
    pub fn progress(&self) -> RunProgress {
        let count = |steps: usize| u32::try_from(steps).unwrap_or(u32::MAX);
        let abandoned = self.state.abandoned.len();
        let ended = self.state.steps.iter().filter(|step| step.has_ended()).count();
        RunProgress {
            done: count(abandoned + ended),
            total: count(abandoned + self.state.steps.len()),
            note: self.doing(),
        }
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
