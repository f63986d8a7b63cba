//! The PHY of a port, which drivers of other ports and firmware reach too (82576 data sheet, section 4.7).

use access::RegisterWindow;
use gigabit::{change, read, write};
use spec::igb::{
    PHY_ACCESS, PHY_CONTROL, PHY_NEGOTIATE, RESOURCES, SEMAPHORE, STATUS, firmware_has_phy, mdic, port,
    semaphore, software_has_phy, status,
};

/// How far telling the PHY is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Untold,
    /// It was told to negotiate, and may not have heard it yet.
    Told,
    Over,
}

/// The PHY of this port.
#[derive(Default, Debug)]
pub struct Phy {
    stage: Stage,
    /// The bit by which it was taken, while it was not given back.
    mine: Option<u32>,
}

impl Phy {
    /// The controller was reset: nothing was told.
    pub const fn forget(&mut self) {
        self.stage = Stage::Untold;
    }

    /// Has the PHY negotiate a link anew, unless there is one. It may have been turned off, and it is
    /// not reset with the controller. True once all was said, and it was given back.
    pub fn is_settled(&mut self, registers: &impl RegisterWindow) -> bool {
        match self.stage {
            Stage::Untold if read(registers, STATUS) & status::LINK_UP != 0 => self.stage = Stage::Over,
            Stage::Untold => {
                if self.take(registers) {
                    write(registers, PHY_ACCESS, mdic::write(PHY_CONTROL, PHY_NEGOTIATE));
                    self.stage = Stage::Told;
                }
            }
            Stage::Told if read(registers, PHY_ACCESS) & mdic::READY != 0 => self.stage = Stage::Over,
            Stage::Told | Stage::Over => {}
        }
        self.stage == Stage::Over && self.give_back(registers)
    }

    /// Takes the PHY, unless others have it.
    fn take(&mut self, registers: &impl RegisterWindow) -> bool {
        let port = port(read(registers, STATUS));
        let (mine, firmware) = (software_has_phy(port), firmware_has_phy(port));
        // What was not given back before a reset may be nobody's after it: it is taken again.
        let drivers = if self.mine == Some(mine) { 0 } else { mine };
        let mut is_taken = false;
        with_semaphore(registers, || {
            if read(registers, RESOURCES) & (drivers | firmware) == 0 {
                change(registers, RESOURCES, 0, mine);
                self.mine = Some(mine);
                is_taken = true;
            }
        });
        is_taken
    }

    /// Gives it back, if it was taken. False if that has to be tried again.
    pub fn give_back(&mut self, registers: &impl RegisterWindow) -> bool {
        if let Some(mine) = self.mine {
            with_semaphore(registers, || {
                change(registers, RESOURCES, mine, 0);
                self.mine = None;
            });
        }
        self.mine.is_none()
    }
}

/// Does `work` while nobody else touches [`RESOURCES`], if nobody does.
fn with_semaphore(registers: &impl RegisterWindow, work: impl FnOnce()) {
    // Who reads that no driver has it has it.
    let before = read(registers, SEMAPHORE);
    if before & semaphore::DRIVER != 0 {
        return;
    }
    write(registers, SEMAPHORE, before | semaphore::DRIVER | semaphore::SOFTWARE);
    if read(registers, SEMAPHORE) & semaphore::SOFTWARE != 0 {
        work();
    }
    write(registers, SEMAPHORE, before & !(semaphore::DRIVER | semaphore::SOFTWARE));
}
