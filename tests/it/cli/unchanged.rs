//! Commands that find nothing to change say so, and say it alone.

use super::program::{Server, plan_file, run};

const PLAN: &str = r#"{"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]}"#;

#[test]
fn a_schedule_that_was_so_before_is_told_from_one_that_was_changed() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    let define = ["schedules", "add", "daily", "six times seven", "--every", "1d", "--plan", plan];
    server.run(&define).ok();
    for (arguments, first, again) in [
        (&["pause", "daily"][..], "schedule daily is paused", "schedule daily was paused already; nothing was changed"),
        (&["resume", "daily"], "schedule daily was resumed", "schedule daily was not paused; nothing was changed"),
        (
            &["edit", "daily", "--goal", "seven times six"],
            "schedule daily was changed",
            "schedule daily had these settings already; nothing was changed",
        ),
    ] {
        let arguments = [&["schedules"], arguments].concat();
        let said = server.run(&arguments).ok();
        assert!(said.out.contains(first) && !said.out.contains("nothing was changed"), "{said:?}");
        let said = server.run(&arguments).ok();
        assert!(said.out.contains(again), "{said:?}");
    }
    let replace = [&define[..], &["--replace"]].concat();
    assert!(server.run(&replace).ok().out.contains("now has these settings"));
    assert!(server.run(&replace).ok().out.contains("had these settings already; nothing was changed"));
    let said = server.run(&["schedules", "plan", "daily", "--forget"]).ok();
    assert!(said.out.contains("has a plan of its own") && said.out.contains("nothing was changed"), "{said:?}");
    server.run(&["schedules", "add", "new", "six times seven", "--every", "1d"]).ok();
    for _ in 0..2 {
        let said = server.run(&["schedules", "plan", "new", "--forget"]).ok();
        assert!(said.out.contains("had no plan to forget; nothing was changed"), "{said:?}");
        assert!(!said.out.contains("forgotten"), "{said:?}");
    }
}

#[test]
fn a_length_of_time_without_a_unit_is_refused_with_the_forms_there_are() {
    let time = ["--cron", "0 7 * * *"];
    for arguments in [
        &["add", "six times seven", "--in", "5"][..],
        &["snooze", "7", "--for", "5"],
        &["list", "--older-than", "5"],
        &["add", "six times seven", "--unique-key", "k", "--unique-for", "5"],
        &["schedules", "add", "x", "six times seven", "--every", "5"],
        &["schedules", "edit", "x", "--every", "5"],
        &["schedules", "preview", "--every", "5"],
        &[&["schedules", "add", "x", "six times seven", "--jitter", "5"], &time[..]].concat(),
        &[&["schedules", "add", "x", "six times seven", "--catch-up-window", "5"], &time[..]].concat(),
    ] {
        let said = run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        for part in ["\"5\" has no unit", "5s", "5m"] {
            assert!(said.err.contains(part), "{arguments:?}: {part:?} is missing in {said:?}");
        }
    }
    let server = Server::start();
    let added = server.run(&["add", "six times seven", "--timeout", "10m", "--in", "5m", "--json"]).ok().json();
    assert_eq!(added["timeout_s"], 600);
}
