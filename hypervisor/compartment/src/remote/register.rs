//! Accesses to registers, which are nearly all of the calls.

use super::{Compartment, NO_AREA, Remote};
use crate::area::Access;
use crate::ended::Ended;
use crate::operation::Operation;
use devices::device::Context;

impl<C: Compartment> Remote<C> {
    /// As [`ask`](Self::ask), for an access. Most are answered by a value and nothing else, for which there is a
    /// shorter way.
    #[inline(always)]
    pub(super) fn access(
        &mut self,
        operation: Operation,
        arguments: [u64; 3],
        context: &mut Context<'_>,
    ) -> Option<u64> {
        let reaches_memory = context.memory.is_reachable();
        let access = Access { now: context.now, reaches_memory, room: context.effects.room(), arguments };
        if !self.may_enter() {
            return self.ask(operation, access.call(operation).arguments, context);
        }
        let Some(mut area) = self.area() else {
            return self.go_on(Err(NO_AREA), operation, &access, context);
        };
        area.set_access(operation, &access);
        self.account.entries += 1;
        self.now = access.now;
        self.rests = false;
        let entered = self.compartment.enter();
        if entered.is_ok()
            && let Some(value) = self.area().and_then(|area| area.value())
        {
            return Some(value);
        }
        self.go_on(entered, operation, &access, context)
    }

    /// Whether an access is to be made without further ado.
    const fn may_enter(&self) -> bool {
        !(self.is_killed || self.account.is_gone || self.is_untold)
    }

    /// Goes on with an access that was more than a value, or not answered.
    #[inline(never)]
    fn go_on(
        &mut self,
        entered: Result<(), Ended>,
        operation: Operation,
        access: &Access,
        context: &mut Context<'_>,
    ) -> Option<u64> {
        let call = access.call(operation);
        let answer = match entered.and_then(|()| self.take_over(&call, context)) {
            Ok(answer) => Some(answer),
            Err(ended) => self.call_again(ended, &call, &|_| {}, context),
        };
        self.tell_late(context);
        answer.map(|answer| answer.arguments[0])
    }
}
