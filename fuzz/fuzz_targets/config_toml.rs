//! A configuration: any text is a whole configuration or has diagnostics that point
//! into it, and a configuration is planned or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plan::{Config, FileRef, Killed, RunsIn, build, check_without_machine};
use platform::Platform;
use std::sync::LazyLock;

static BOARD: LazyLock<Platform> = LazyLock::new(|| {
    let board = include_str!("../../hypervisor/plan/tests/boards/bridges.json");
    serde_json::from_str(board).expect("the board file of the tests")
});

fuzz_target!(|text: &str| {
    let (config, map) = match plan::text::parse(text) {
        Ok(read) => read,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a reason");
            return diagnostics.iter().for_each(|found| check(text, found));
        }
    };
    let has_file = |file: FileRef<'_>| !file.name.starts_with('!');
    let plan = build(&config, &BOARD, &has_file);
    for problem in plan.all_problems().chain(&check_without_machine(&config, &has_file)) {
        check(text, &map.locate(problem));
    }
    assert_eq!(plan.guests.len() + plan.refused.len(), config.guest.len());
    assert!(plan.refused.iter().all(|refusal| !refusal.problems.is_empty()));
    // Each function runs where it can, and who is ended is a compartment.
    let functions = || plan.guests.iter().flat_map(|guest| &guest.emulated);
    assert!(functions().all(|function| function.model.can_run_in(function.runs_in)));
    let is_apart =
        |guest: usize, function: usize| plan.guests[guest].emulated[function].runs_in == RunsIn::Ring3;
    assert!(plan.kills.iter().all(|kill| match kill.whose {
        Killed::Function { guest, function } => is_apart(guest, function),
        Killed::Machine { guest, .. } => plan.guests[guest].runs_in == RunsIn::Ring3,
        Killed::Driver(place) => plan.owned[place].runs_in == RunsIn::Ring3,
    }));
    // As the bundle carries it.
    let carried = postcard::to_allocvec(&config).expect("a configuration is carried");
    assert_eq!(postcard::from_bytes::<Config>(&carried).expect("its own bytes"), config);
});

fn check(text: &str, found: &plan::text::Diagnostic) {
    assert!(text.get(found.span.clone()).is_some(), "{:?} is no range of the text", found.span);
    assert!(!found.message.is_empty() && found.line >= 1 && found.column >= 1);
}
