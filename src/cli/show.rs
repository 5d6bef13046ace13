//! `qron show`: prints a task.

use clap::Args;

use super::client::Client;
use super::hold::{self, Wait};
use super::reasons::Reasons;
use super::{CliError, follow, ids, output, print_task, steps};
use crate::api::views::Listing;
use crate::api::views::schedules::ScheduleView;
use crate::api::views::steps::StepView;
use crate::api::views::tasks::{TaskDetail, TaskView};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Id of the task, or its beginning as far as it is unique
    id: String,
    /// Watch it until it ends; exit code 1 when it does not complete, and 3 when qron stops answering before
    #[arg(long)]
    follow: bool,
    /// Show each step of its newest run whole: arguments, tool calls, times, tokens, output
    #[arg(long, conflicts_with = "follow")]
    steps: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let id = ids::task(client, &self.id).await?;
        if self.follow {
            return follow::follow(client, &id, self.json).await;
        }
        if self.steps {
            return show_steps(client, &id, self.json).await;
        }
        let task: TaskDetail = client.get(&["tasks", &id], &[]).await?;
        if self.json {
            return output::json(&task);
        }
        let mut waits = hold::waits(client, &task.task).await?;
        waits.extend(paused_schedule(client, &task.task).await?);
        print_task::print(&task, &waits)?;
        let mut reasons = Reasons::default();
        if let Some(error) = &task.task.error {
            reasons.once(&error.to_string());
        }
        task.history.iter().try_for_each(|event| print_task::print_event(event, &mut reasons))
    }
}

/// That the schedule of a task is paused, which holds back its next firings and not this task.
async fn paused_schedule(client: &Client, task: &TaskView) -> Result<Option<Wait>, CliError> {
    let Some(id) = task.schedule_id.as_deref().filter(|_| !task.status.is_terminal()) else { return Ok(None) };
    let schedule: Option<ScheduleView> = client.find(&["schedules", id]).await?;
    Ok(schedule.filter(|schedule| schedule.paused).map(|_| {
        Wait::new(format!("goes on, although its schedule is paused; end that pause with: qron schedules resume {id}"))
    }))
}

async fn show_steps(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let steps: Listing<StepView> = client.get(&["tasks", id, "steps"], &[]).await?;
    if json {
        return output::json(&steps);
    }
    if steps.items.is_empty() {
        output::note(&format!("no run of task {id} has recorded a step yet"));
    }
    steps::print_whole(&steps.items)
}
