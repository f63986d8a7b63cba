//! What others ask of the drivers and guests' machines in compartments, and want to know of them.

use super::report as report_one;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use compartment::Ended;
use core::sync::atomic::{AtomicBool, Ordering};
use devices::ended::Account;
use plan::MachinePart;
use spin::Mutex;

/// Whose compartment it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A driver's: its function's place among those that stay with the hypervisor.
    Driver(usize),
    /// That of a guest's machine: the guest's number, and what of it.
    Machine(usize, MachinePart),
}

/// One of them.
pub struct Told {
    name: String,
    owner: Owner,
    is_to_end: AtomicBool,
    account: Mutex<Account>,
}

/// All that there are.
static ALL: Mutex<Vec<Arc<Told>>> = Mutex::new(Vec::new());

/// One that is called so, is this one's, and has so many bytes of its own.
pub fn add(name: String, owner: Owner, own_bytes: u64) -> Arc<Told> {
    let account = Mutex::new(Account { own_bytes, ..Account::default() });
    let told = Arc::new(Told { name, owner, is_to_end: AtomicBool::new(false), account });
    ALL.lock().push(told.clone());
    told
}

/// Has this one's end as soon as they are entered.
pub fn kill(owner: Owner) {
    let all = ALL.lock();
    let these = all.iter().filter(|told| told.owner == owner);
    these.for_each(|told| told.is_to_end.store(true, Ordering::Relaxed));
}

/// Says what became of each.
pub fn report() {
    ALL.lock().iter().for_each(|told| report_one(&told.name, *told.account.lock()));
}

impl Told {
    /// It is entered.
    pub fn count_entry(&self) {
        let mut account = self.account.lock();
        account.entries = account.entries.saturating_add(1);
    }

    /// Whether it is to end, which is asked once.
    pub fn take_end(&self) -> bool {
        self.is_to_end.load(Ordering::Relaxed) && self.is_to_end.swap(false, Ordering::Relaxed)
    }

    /// It ended, for good or to be made anew.
    pub fn ended(&self, why: Ended, is_gone: bool) {
        let mut account = self.account.lock();
        (account.last, account.is_gone) = (Some(why), is_gone);
    }

    /// It was made anew.
    pub fn renewed(&self) {
        let mut account = self.account.lock();
        (account.restarts, account.is_gone) = (account.restarts.saturating_add(1), false);
    }
}
