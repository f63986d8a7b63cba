//! Models, drivers and guests' memory, each telling the account when it is at work.

use super::meter::{Part, is_layer, within};
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use block::{Done, Drive, Identity, Operation, Tag};
use core::fmt::Display;
use devices::device::{Accepts, Completion, Context, Doorbell, LINES, Reception, Work};
use devices::ended::Account;
use devices::picture::Picture;
use devices::{Device, Endpoint, Surroundings};
use network::{Frame, MacAddress, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue};
use spec::{Gpa, Iova, Width};

/// The driver of a drive.
pub fn drive(driver: impl Drive + Send + 'static) -> Box<dyn Drive + Send> {
    Box::new(Metered(driver))
}

/// The driver of a network interface.
pub fn interface(driver: impl Nic + Send + 'static) -> Box<dyn Nic + Send> {
    Box::new(Metered(driver))
}

/// The model of a device.
pub fn model(device: Box<dyn Device>) -> Box<dyn Device> {
    Box::new(Metered(device))
}

/// Lets `serve` use an endpoint.
pub fn serve(
    serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    endpoint: &mut Endpoint,
    around: &mut Surroundings<'_>,
) {
    let memory = Memory(around.memory);
    let send = &mut *around.send;
    let mut send = |message| within(Part::Interrupt, || send(message));
    let mut inner =
        Surroundings { memory: &memory, now: around.now, send: &mut send, print: &mut *around.print };
    serve(endpoint, &mut inner);
}

/// Copies of so many bytes are of data; those of a model that are smaller are of its rings.
const DATA_BYTES: usize = 48;

/// A guest's memory.
struct Memory<'a>(&'a dyn GuestMemory);

impl Memory<'_> {
    fn access<R>(bytes: usize, access: impl FnOnce() -> R) -> R {
        if bytes >= DATA_BYTES || is_layer() { within(Part::Copy, access) } else { access() }
    }
}

impl GuestMemory for Memory<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        Self::access(bytes.len(), || self.0.read(gpa, bytes))
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        Self::access(bytes.len(), || self.0.write(gpa, bytes))
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.0.contains(gpa, bytes)
    }
}

struct Metered<T>(T);

impl<T: Drive> Drive for Metered<T> {
    fn identity(&self) -> Option<Identity> {
        self.0.identity()
    }
    fn start(&mut self, now_ns: u64) -> block::Status {
        self.0.start(now_ns)
    }
    fn poll(&mut self, now_ns: u64) -> block::Status {
        within(Part::Driver, || self.0.poll(now_ns))
    }
    fn interrupt(&mut self, message: u16, now_ns: u64) -> block::Status {
        self.0.interrupt(message, now_ns)
    }
    fn status(&self) -> block::Status {
        self.0.status()
    }
    fn error(&self) -> Option<&dyn Display> {
        self.0.error()
    }
    fn request_bytes(&self) -> usize {
        self.0.request_bytes()
    }
    fn reserve(&mut self) -> Result<Tag, block::Refused> {
        within(Part::Driver, || self.0.reserve())
    }
    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        within(Part::Copy, || self.0.put(tag, offset, bytes))
    }
    fn lend(&mut self, tag: Tag, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        within(Part::Driver, || self.0.lend(tag, parts))
    }
    fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
    ) -> Result<(), block::Refused> {
        within(Part::Driver, || self.0.submit(tag, operation, first_block, blocks))
    }
    fn kick(&mut self, now_ns: u64) -> block::Status {
        within(Part::Driver, || self.0.kick(now_ns))
    }
    fn next_done(&self) -> Option<Done> {
        within(Part::Driver, || self.0.next_done())
    }
    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        within(Part::Copy, || self.0.get(tag, offset, into))
    }
    fn release(&mut self, tag: Tag) {
        within(Part::Driver, || self.0.release(tag));
    }
}

impl<T: Nic> Nic for Metered<T> {
    fn start(&mut self, now_ns: u64) -> nic::Status {
        self.0.start(now_ns)
    }
    fn poll(&mut self, now_ns: u64) -> nic::Status {
        within(Part::Driver, || self.0.poll(now_ns))
    }
    fn interrupt(&mut self, message: u16, now_ns: u64) -> nic::Status {
        self.0.interrupt(message, now_ns)
    }
    fn status(&self) -> nic::Status {
        self.0.status()
    }
    fn error(&self) -> Option<&dyn Display> {
        self.0.error()
    }
    fn mac(&self) -> Option<MacAddress> {
        self.0.mac()
    }
    fn link(&self) -> Link {
        self.0.link()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), nic::Refused> {
        within(Part::Driver, || self.0.transmit(parts))
    }
    fn queue(&self) -> Queue {
        within(Part::Driver, || self.0.queue())
    }
    fn kick(&mut self, now_ns: u64) -> nic::Status {
        within(Part::Driver, || self.0.kick(now_ns))
    }
    fn set_quiet(&mut self, is_quiet: bool) {
        self.0.set_quiet(is_quiet);
    }
    fn receive(&mut self, into: &mut Frame) -> bool {
        within(Part::Driver, || self.0.receive(into))
    }
    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

/// What the guest's own exits call as well is not measured where no turn goes on.
impl Device for Metered<Box<dyn Device>> {
    fn most_effects(&self) -> usize {
        self.0.most_effects()
    }
    fn most_requests(&self) -> usize {
        self.0.most_requests()
    }
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.0.read(offset, width, context)
    }
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.0.write(offset, width, value, context);
    }
    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        self.0.read_string(offset, width, bytes, context)
    }
    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        self.0.write_string(offset, width, bytes, context)
    }
    fn buffer(&mut self) -> &mut [u8] {
        self.0.buffer()
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        within(Part::Model, || self.0.complete(completion, context));
    }
    fn line(&self) -> bool {
        self.0.line()
    }
    fn lines(&self) -> [bool; LINES] {
        self.0.lines()
    }
    fn resets_behind_requests(&self) -> bool {
        self.0.resets_behind_requests()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        within(Part::Model, || self.0.poll(context))
    }
    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        within(Part::Model, || self.0.want_notifications(wanted, context))
    }
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        within(Part::Model, || self.0.transmit(frame, context))
    }
    fn accepts(&self) -> Accepts {
        self.0.accepts()
    }
    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        within(Part::Model, || self.0.receive(parts, context))
    }
    fn tell(&mut self, context: &mut Context<'_>) {
        within(Part::Model, || self.0.tell(context));
    }
    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        self.0.output(into, context)
    }
    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        self.0.input(byte, context)
    }
    fn work(&self) -> Work {
        self.0.work()
    }
    fn picture(&self) -> Option<Picture> {
        self.0.picture()
    }
    fn take_doorbell(&mut self) -> Option<Doorbell> {
        self.0.take_doorbell()
    }
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.0.set_link(is_up, context);
    }
    fn compartment(&self) -> Option<Account> {
        self.0.compartment()
    }
    fn kill(&mut self) {
        self.0.kill();
    }
}
