//! Whose what is typed is: the guest's that has the keyboard, or the Ctrl-T menu's.

use crate::guests::Guest;
use crate::host::Machine;
use crate::viewer::Viewer;
use consoles::input::Input;
use consoles::menu::{Action, Menu, Verb};
use guest::partition::terminal::SERIAL_PORT;

/// How long a guest may read nothing of its console before what is typed to it is dropped,
/// in seconds.
const PATIENCE_SECONDS: u64 = 2;

/// The keyboard.
pub struct Keyboard<'m> {
    machine: &'m Machine,
    menu: Menu,
    input: Input,
    /// Number of the guest that has it.
    focus: usize,
    /// Which console of that guest.
    console: usize,
    /// What shows the guests' displays.
    viewer: Viewer<'m>,
}

impl<'m> Keyboard<'m> {
    /// The first guest has it.
    pub fn new(machine: &'m Machine, tsc_hz: u64) -> Self {
        let (menu, input) =
            (Menu::new(machine.guests.len()), Input::new(tsc_hz.saturating_mul(PATIENCE_SECONDS)));
        Self { machine, menu, input, focus: 0, console: SERIAL_PORT, viewer: Viewer::new(machine, tsc_hz) }
    }

    /// Draws a piece of the display that is shown. When that is to be done again.
    pub fn draw(&mut self, now: u64) -> u64 {
        self.viewer.turn(now)
    }

    /// Whether more may be typed; else the other side has to wait.
    pub fn is_ready(&self) -> bool {
        self.input.is_ready()
    }

    /// Takes what was typed, and gives the guest what it has room for.
    pub fn take(&mut self, typed: &[u8], now: u64) {
        for byte in typed {
            match self.menu.key(*byte) {
                Action::Type(byte) => self.input.push(byte),
                action => self.act(action),
            }
        }
        if typed.is_empty() && self.input.is_ready() {
            return;
        }
        let guest = self.machine.guests.get(self.focus);
        let console = self.console;
        self.input.flush(now, |byte| guest.is_none_or(|guest| guest.partition.receive(console, byte)));
        if let (Some(dropped), Some(guest)) = (self.input.take_dropped(), guest) {
            let name = guest.plan.console_name(console);
            log::warn!("{dropped} characters typed to {name} are lost: it did not read its console");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Type(_) | Action::None => {}
            Action::Show => self.show(),
            Action::Next => self.give((self.focus + 1) % self.machine.guests.len().max(1), SERIAL_PORT),
            Action::Display => self.viewer.switch(self.focus),
            Action::NextConsole => self.give(self.focus, self.next_console()),
            Action::Do(Verb::Focus, guest) => self.give(guest, SERIAL_PORT),
            Action::Do(verb, guest) => self.change(verb, guest),
            Action::AskWhich(verb) => log::info!("which guest shall {}? its number", what(verb)),
            Action::AskSure(verb, guest) => {
                if let Some(guest) = self.machine.guests.get(guest) {
                    log::info!("shall {} {}? y or n", guest.partition.name, what(verb));
                }
            }
            Action::Close => self.tell_focus(),
        }
    }

    /// The menu.
    fn show(&self) {
        for (number, guest) in self.machine.guests.iter().enumerate() {
            let keyboard = if number == self.focus { ", has the keyboard" } else { "" };
            let (name, life) = (&guest.partition.name, &guest.lifecycle);
            let (state, runs) = (life.state_name(), life.runs());
            log::info!("{:3}  {name}: {state}, started {runs} times{keyboard}", number + 1);
        }
        log::info!("a number: its keyboard; Ctrl-T: the next one's; s: stop, r: restart one; t: type Ctrl-T");
        log::info!("f: freeze one, c: let it go on; n: the next console of the guest you type to");
        log::info!("d: that guest's display on the screen, or the log again");
    }

    /// The console behind the one that has the keyboard, in a circle.
    fn next_console(&self) -> usize {
        let guest = self.machine.guests.get(self.focus);
        let last = guest.map_or(SERIAL_PORT, |guest| guest.partition.consoles.len());
        if self.console < last { self.console + 1 } else { SERIAL_PORT }
    }

    fn give(&mut self, guest: usize, console: usize) {
        if (guest, console) != (self.focus, self.console) {
            self.input.clear();
        }
        if guest != self.focus {
            self.viewer.follow(guest);
        }
        (self.focus, self.console) = (guest, console);
        self.tell_focus();
    }

    fn tell_focus(&self) {
        if let Some(guest) = self.machine.guests.get(self.focus) {
            log::info!("you type to {} (Ctrl-T for the menu)", guest.plan.console_name(self.console));
        }
    }

    /// Stops a guest, starts it again, freezes it or lets it go on. The log says so.
    fn change(&self, verb: Verb, guest: usize) {
        let Some(Guest { lifecycle, partition, .. }) = self.machine.guests.get(guest) else { return };
        let why = format_args!("by the menu of the console");
        match verb {
            Verb::Focus => {}
            Verb::Stop => lifecycle.request_stop(partition, why),
            Verb::Restart => drop(lifecycle.request_restart(partition, why)),
            Verb::Freeze => lifecycle.request_freeze(partition, why),
            Verb::Continue => lifecycle.request_continue(partition, why),
        }
    }
}

fn what(verb: Verb) -> &'static str {
    match verb {
        Verb::Focus => "have the keyboard",
        Verb::Stop => "be stopped",
        Verb::Restart => "start again",
        Verb::Freeze => "be frozen",
        Verb::Continue => "go on",
    }
}
