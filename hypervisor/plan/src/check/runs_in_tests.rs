//! Where emulated functions run.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Model, Plan, RunsIn};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const DRIVE: &str = "emulate = \"nvme\"\nbacking = { image = \"root.img\" }";
const DISPLAY: &str = "emulate = \"bochs-display\"";
const RING3: &str = "runs_in = \"ring3\"";
const HYPERVISOR: &str = "runs_in = \"hypervisor\"";

/// A guest whose functions have these keys, beside what the table of the hypervisor says.
fn text(hypervisor: &str, functions: &[&str]) -> String {
    let mut text =
        format!("[hypervisor]\n{hypervisor}\n[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n");
    for (index, keys) in functions.iter().enumerate() {
        text += &format!("[[guest.a.pci]]\nslot = \"{:02x}.0\"\n{keys}\n", index + 1);
    }
    text
}

fn planned(hypervisor: &str, functions: &[&str]) -> Plan {
    let text = text(hypervisor, functions);
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35())
}

fn places(hypervisor: &str, functions: &[&str]) -> Vec<RunsIn> {
    let plan = planned(hypervisor, functions);
    assert_eq!(plan.all_problems().count(), 0);
    plan.guests[0].emulated.iter().map(|function| function.runs_in).collect()
}

fn problems(function: &str) -> Vec<String> {
    planned("", &[function]).all_problems().map(ToString::to_string).collect()
}

#[test]
fn a_function_says_it_or_the_hypervisors_table() {
    let with = |place: &str| format!("{DRIVE}\n{place}");
    let functions = [DRIVE, &with(RING3), &with(HYPERVISOR)];
    for (hypervisor, usual) in [("", RunsIn::USUAL), (RING3, RunsIn::Ring3), (HYPERVISOR, RunsIn::Hypervisor)]
    {
        assert_eq!(
            places(hypervisor, &functions),
            [usual, RunsIn::Ring3, RunsIn::Hypervisor],
            "{hypervisor}"
        );
        // Whoever does the work for it does so in either place.
        for io in ["housekeeping", "guest"] {
            let hypervisor = format!("{hypervisor}\nio = \"{io}\"");
            assert_eq!(places(&hypervisor, &functions), [usual, RunsIn::Ring3, RunsIn::Hypervisor]);
        }
    }
}

/// What cannot run in ring 3 does not where only the hypervisor's table says so.
#[test]
fn a_function_runs_where_it_can() {
    assert_eq!(places(RING3, &[DISPLAY, DRIVE]), [RunsIn::Hypervisor, RunsIn::Ring3]);
    assert_eq!(places(RING3, &[&format!("{DISPLAY}\n{HYPERVISOR}")]), [RunsIn::Hypervisor]);
    for (model, word) in Model::ALL {
        assert!(model.can_run_in(RunsIn::Hypervisor), "{word}");
        assert_eq!(model.can_run_in(RunsIn::Ring3), *model != Model::BochsDisplay, "{word}");
    }
}

#[test]
fn a_place_that_cannot_be_is_told_with_what_to_write() {
    assert_eq!(
        problems(&format!("{DISPLAY}\n{RING3}")),
        [
            "guest.a.pci[0].runs_in: no \"bochs-display\" can run in \"ring3\" yet; write runs_in = \"hypervisor\", or \
             remove the key"
        ]
    );
    let passed = "passthrough = { path = \"00:03.0\", id = \"1b36:0010\" }";
    for place in [RING3, HYPERVISOR] {
        assert_eq!(
            problems(&format!("{passed}\n{place}")),
            [
                "guest.a.pci[0].runs_in: the function is passed through, so that no model of it runs; remove the \
                 key"
            ]
        );
    }
}

#[test]
fn words_that_are_no_place() {
    let of = |text: String| {
        let told = parse(&text).expect_err("no diagnostic");
        told.into_iter().map(|it| format!("{}: {}; {}", it.path, it.message, it.help)).collect::<Vec<_>>()
    };
    let said = of(text("runs_in = \"ring0\"", &[]));
    assert!(said[0].starts_with("hypervisor.runs_in: ") && said[0].contains("\"ring3\""), "{said:?}");
    let said = of(text("", &[&format!("{DRIVE}\nruns_in = 3")]));
    assert!(
        said[0].starts_with("guest.a.pci[0].runs_in: ") && said[0].contains("\"hypervisor\""),
        "{said:?}"
    );
}

#[test]
fn a_compartment_is_called_as_its_function() {
    let text = text(RING3, &[DRIVE, DISPLAY, DRIVE]);
    let (config, _) = parse(&text).unwrap();
    let plan = plan(&config, &q35());
    let guest = &plan.guests[0];
    let names: Vec<_> = guest.compartments().map(|(number, name)| (number, name.to_string())).collect();
    assert_eq!(names, [(0, "a:01.0".to_string()), (2, "a:03.0".to_string())]);
    assert_eq!(guest.function_name(1).map(|name| name.to_string()).as_deref(), Some("a:02.0"));
    assert_eq!(guest.function_name(3), None);
}
