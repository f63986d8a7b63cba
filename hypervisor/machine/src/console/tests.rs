use super::*;
use std::string::String;
use std::vec::Vec;

fn shown() -> String {
    let shown = SHOWN.lock();
    let back = shown.history.start_of_last(1000);
    let bytes: Vec<u8> = (1..=back).rev().filter_map(|back| shown.history.back(back)).collect();
    String::from_utf8(bytes).expect("text")
}

/// One test, for there is one console.
#[test]
fn lines_are_shown_in_their_owners_names() {
    write_log("warning: ", format_args!("one\ntwo {}\x1b[2J", 3));
    assert_eq!(shown(), "hypervisor| warning: one\r\nhypervisor| warning: two 3?[2J\r\n");

    add_guests(["net", "disk"].into_iter());
    write_guest(0, false, b"$ ");
    write_guest(1, true, b"\rhypervisor| \x1b[1;1Hall is well\r");
    write_guest(0, true, b"ls");
    write_guest(2, true, b"nobody");
    let said = shown();
    let expected = "net> $ \r\ndisk| hypervisor\\| ^[[1;1Hall is well\r\nnet| ls\r\n";
    assert!(said.ends_with(expected), "{said}");

    write_for_tools(format_args!("{}", "x".repeat(300)));
    let said = shown();
    let expected = std::format!("hypervisor> {}\r\nhypervisor| {}\r\n", "x".repeat(240), "x".repeat(60));
    assert!(said.ends_with(&expected), "{said}");
    assert_eq!(lines_written(), 7);

    a_screen_that_becomes_a_guests_keeps_nothing_and_is_left_alone();

    // The housekeeping CPU's turn, on a machine without a port: everything goes out, nothing waits.
    MODE.store(BY_HOUSEKEEPING, Release);
    SERVED.store(true, SeqCst);
    for line in 0..10 {
        write_guest(0, true, std::format!("late {line}").as_bytes());
    }
    assert!(!shown().contains("late"));
    let (mut turns, mut typed) = (1, [0; 4]);
    while turn(5, &mut typed, true).next != u64::MAX {
        turns += 1;
    }
    assert!(turns >= 3, "a few lines at a time");
    assert!(shown().ends_with("net| late 8\r\nnet| late 9\r\n"));
    assert!(!SERVED.load(SeqCst), "who writes next has to wake the housekeeping CPU");
    take_from_housekeeping();
}

fn a_screen_that_becomes_a_guests_keeps_nothing_and_is_left_alone() {
    let memory = std::vec![0xaa_u8; 48 * 170 * 4 + 64].leak();
    let start: *const u8 = memory.as_ptr();
    let length = memory.len();
    // SAFETY: the vector was leaked, and only this thread touches it.
    let dots = || unsafe { core::slice::from_raw_parts(start, length) };
    attach_screen(Screen::in_memory(memory, Hpa(0xfd00_0000)));
    write_log("", format_args!("a secret"));
    assert!(dots().iter().any(|dot| *dot != 0));
    // Somebody else's BARs before and behind it.
    assert!(!release_screen(Hpa(0xfc00_0000), 0x100_0000));
    assert!(!release_screen(Hpa(0xfd10_0000), 0x1000));
    assert!(SHOWN.lock().screen.is_some());
    assert!(release_screen(Hpa(0xfd00_0000), 0x100_0000));
    assert!(dots().iter().all(|dot| *dot == 0), "not even where nobody sees it");
    write_log("", format_args!("what others print"));
    assert!(dots().iter().all(|dot| *dot == 0));
}
