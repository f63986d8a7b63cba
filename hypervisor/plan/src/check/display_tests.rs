//! Displays.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Base, Plan};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A guest whose functions have these keys.
fn planned(memory: &str, functions: &[&str]) -> Plan {
    let mut text = format!("[guest.a]\ncpus = [1]\nmemory = \"{memory}\"\nkernel = \"k\"\n");
    for (index, keys) in functions.iter().enumerate() {
        text += &format!("[[guest.a.pci]]\nslot = \"{:02x}.0\"\n{keys}\n", index + 1);
    }
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35())
}

fn problems(functions: &[&str]) -> Vec<String> {
    planned("64 MiB", functions).all_problems().map(ToString::to_string).collect()
}

const DISPLAY: &str = "emulate = \"bochs-display\"";

#[test]
fn a_display_has_video_memory() {
    for (keys, mib) in [(DISPLAY.to_string(), 16), (format!("{DISPLAY}\nvideo_memory = \"64 MiB\""), 64)] {
        let plan = planned("64 MiB", &[&keys]);
        assert_eq!(plan.all_problems().count(), 0);
        assert_eq!(plan.guests[0].emulated[0].base, Base::Display { video_memory_bytes: mib << 20 });
    }
}

#[test]
fn what_no_display_can_have_is_said() {
    let with = |keys: &str| problems(&[&format!("{DISPLAY}\n{keys}")]);
    for (memory, right) in [("2 MiB", "4 MiB"), ("24 MiB", "32 MiB"), ("512 MiB", "256 MiB")] {
        let expected = format!(
            "guest.a.pci[0].video_memory: {memory} is no power of two from 4 MiB to 256 MiB; use \"{right}\""
        );
        assert_eq!(with(&format!("video_memory = \"{memory}\"")), [expected]);
    }
    assert_eq!(
        with("network = \"lan\""),
        ["guest.a.pci[0].network: the emulated function has no network; remove the key"]
    );
    assert_eq!(
        problems(&[DISPLAY, DISPLAY]),
        [
            "guest.a.pci[1].emulate: the guest has a display already, and there is one place for its ports; remove \
             one of the two"
        ]
    );
    assert_eq!(
        problems(&["emulate = \"virtio-rng\"\nvideo_memory = \"16 MiB\""]),
        ["guest.a.pci[0].video_memory: the function has no video memory of the hypervisor's; remove the key"]
    );
}

/// It is the machine's memory, beside the guest's own, and its place is below 4 GiB.
#[test]
fn video_memory_counts() {
    let without = planned("1 GiB", &[]).all_problems().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(without, [""; 0]);
    let text = "[guest.a]\ncpus = [1]\nmemory = \"120 GiB\"\nkernel = \"k\"\n";
    let left = |text: &str| {
        let (config, _) = parse(text).unwrap();
        let problem = plan(&config, &q35()).all_problems().next().unwrap().to_string();
        let (_, rest) = problem.split_once("there are ").unwrap();
        rest.split_once(" MiB").unwrap().0.parse::<u64>().unwrap()
    };
    let display = format!("{text}[[guest.a.pci]]\nslot = \"01.0\"\n{DISPLAY}\nvideo_memory = \"256 MiB\"\n");
    assert_eq!(left(text) - left(&display), 256);
    let many = "emulate = \"nvme\"\nbacking = { image = \"i\" }";
    assert_eq!(problems(&[DISPLAY, many]), [""; 0]);
}
