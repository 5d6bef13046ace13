//! `qron schedules plan`: shows, pins and forgets the plan that the runs of a schedule begin with.

use clap::Args;
use serde_json::Value;

use crate::api::views::schedule_plan::SchedulePlanView;
use crate::cli::client::Client;
use crate::cli::{CliError, output};
use crate::domain::adoption::AdoptionState;
use crate::domain::counted::counted;

/// Most characters of the arguments or the instruction of a step in its line.
const SHOWN: usize = 120;

#[derive(Debug, Args)]
pub(in crate::cli) struct SchedulePlan {
    /// Id of the schedule
    id: String,
    /// Pin the adopted plan: firings begin with it until it is forgotten
    #[arg(long, conflicts_with = "forget")]
    pin: bool,
    /// Forget the plan: the next firings make a new one
    #[arg(long)]
    forget: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl SchedulePlan {
    pub(in crate::cli) async fn run(self, client: &Client) -> Result<(), CliError> {
        let path = ["schedules", self.id.as_str(), "plan"];
        let action = match (self.pin, self.forget) {
            (true, _) => Some("pin"),
            (_, true) => Some("forget"),
            _ => None,
        };
        let before: SchedulePlanView = client.get(&path, &[]).await?;
        let plan: SchedulePlanView = match action {
            Some(action) => client.post(&[path[0], path[1], path[2], action], None::<&Value>).await?,
            None => before.clone(),
        };
        if self.json {
            return output::json(&plan);
        }
        if let Some(done) = action.and_then(|action| unchanged(&before, action)) {
            output::line(&format!("schedule {} {done}; nothing was changed", plan.schedule))?;
        }
        print(&plan)
    }
}

/// Why `action` changed nothing of the plan that stood as `before`; `None` when it did.
fn unchanged(before: &SchedulePlanView, action: &str) -> Option<&'static str> {
    let has_none = before.runs == 0 && before.plan.is_none();
    match (action, before.state) {
        ("forget", _) if before.own.is_some() => Some(
            "has a plan of its own and adopts none, so there was none to forget: change it with qron schedules edit",
        ),
        ("forget", AdoptionState::Learning | AdoptionState::SetAside) if has_none => Some("had no plan to forget"),
        ("pin", AdoptionState::Pinned) => Some("had its plan pinned already"),
        _ => None,
    }
}

/// How a schedule stands with a plan, in a line.
pub(super) fn summary(view: &SchedulePlanView) -> String {
    if view.own.is_some() {
        return "the schedule has a plan of its own: firings run it, and ask no model for a plan".to_owned();
    }
    match view.state {
        AdoptionState::Learning => "none yet: two successful runs with the same plan make one",
        AdoptionState::Adopted => "adopted: firings begin with it, and ask no model for a plan",
        AdoptionState::Pinned => "pinned: firings begin with it until it is forgotten",
        AdoptionState::SetAside => {
            "set aside, because a run with it needed a new plan: two more successful runs make one"
        }
    }
    .to_owned()
}

/// The steps of a plan with placeholders, a line each.
fn own_steps(plan: &Value) -> Vec<String> {
    // A plan may be the list of its steps alone.
    let steps = plan.get("steps").unwrap_or(plan).as_array();
    let line = |step: &Value| {
        let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
        let what = match step["tool"].as_str() {
            Some(tool) => format!("{tool} {}", step.get("arguments").unwrap_or(&Value::Null)),
            None => text("instruction"),
        };
        format!("{}: {what}", text("id"))
    };
    steps.into_iter().flatten().map(line).collect()
}

fn print(view: &SchedulePlanView) -> Result<(), CliError> {
    let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
    let id = &view.schedule;
    field("schedule", id)?;
    field("plan", &summary(view))?;
    if view.own.is_some() {
        return view
            .own
            .iter()
            .flat_map(own_steps)
            .enumerate()
            .try_for_each(|(place, step)| field(if place == 0 { "steps" } else { "" }, &output::cell(&step, SHOWN)));
    }
    if view.runs > 0 {
        let verb = if view.runs == 1 { "has" } else { "have" };
        let runs = counted(view.runs, "run");
        field("runs", &format!("{runs} {verb} made it, {} began with it since", view.reuses))?;
    }
    for (name, time) in [("pinned", &view.pinned_at), ("forgotten", &view.forgotten_at)] {
        if let Some(time) = time {
            field(name, &output::time(time))?;
        }
    }
    for (place, step) in view.plan.iter().flat_map(|plan| &plan.steps).enumerate() {
        let what = match (&step.tool, &step.instruction) {
            (Some(tool), _) => format!("{tool} {}", step.arguments),
            (None, Some(instruction)) => instruction.clone(),
            (None, None) => String::new(),
        };
        field(if place == 0 { "steps" } else { "" }, &format!("{}: {}", step.id, output::cell(&what, SHOWN)))?;
    }
    match view.state {
        AdoptionState::Adopted => output::note(&format!("keep it with: qron schedules plan {id} --pin")),
        AdoptionState::Pinned => output::note(&format!("let it go with: qron schedules plan {id} --forget")),
        AdoptionState::Learning | AdoptionState::SetAside => {}
    }
    Ok(())
}
