use super::*;
use access::memory::VecMemory;

fn request(operation: Operation, at: u64, gpa: u64, bytes: u32) -> Request {
    Request { tag: 0, operation, at, gpa: Gpa(gpa), bytes }
}

#[test]
fn reads_the_image_and_zeros_behind_it() {
    let memory = VecMemory::new(0x4000);
    memory.0.borrow_mut().fill(0xaa);
    let image = [[1; 4096].as_slice(), &[2; 100]].concat();
    let mut medium = ImageMedium(&image);
    assert_eq!(medium.bytes(), 8192);
    assert_eq!(medium.perform(&request(Operation::Read, 3072, 0x1000, 5120), &memory), Ok(()));
    let memory = memory.0.borrow();
    assert!(memory[0x1000..0x1400].iter().all(|&byte| byte == 1));
    assert!(memory[0x1400..0x1464].iter().all(|&byte| byte == 2));
    assert!(memory[0x1464..0x2400].iter().all(|&byte| byte == 0));
    assert!(memory[..0x1000].iter().chain(&memory[0x2400..]).all(|&byte| byte == 0xaa));
}

#[test]
fn refuses_what_is_not_there() {
    let memory = VecMemory::new(0x4000);
    let mut medium = ImageMedium(&[1; 4096]);
    let mut perform =
        |operation, at, gpa, bytes| medium.perform(&request(operation, at, gpa, bytes), &memory);
    assert_eq!(perform(Operation::Read, 512, 0, 4096), Err(RequestFault::Range));
    assert_eq!(perform(Operation::Read, u64::MAX, 0, 512), Err(RequestFault::Range));
    assert_eq!(perform(Operation::Read, 0, 0x3e01, 512), Err(RequestFault::Memory));
    assert_eq!(perform(Operation::Read, 0, u64::MAX - 3, 512), Err(RequestFault::Memory));
    assert_eq!(perform(Operation::Write, 0, 0, 512), Err(RequestFault::ReadOnly));
    assert_eq!(perform(Operation::Flush, 0, 0, 0), Ok(()));
    assert_eq!(perform(Operation::Read, 4096, 0, 0), Ok(()), "nothing of nothing");
}
