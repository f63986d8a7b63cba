//! A file of the host's as the medium of a drive.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use access::GuestMemory;
use anyhow::{Context, Result, ensure};
use devices::device::{Operation, Request, RequestFault};
use devices::medium::Medium;

/// Bytes of a sector, of which the file has a whole number.
pub const SECTOR_BYTES: u64 = 512;
/// What is copied at once.
const PIECE_BYTES: usize = 64 << 10;

/// A file whose bytes are the medium's.
pub struct Disk {
    file: File,
    bytes: u64,
    is_read_only: bool,
    piece: Vec<u8>,
}

impl Disk {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// It cannot be opened, or is no whole number of sectors.
    pub fn open(path: &Path, is_read_only: bool) -> Result<Self> {
        let name = path.display();
        let file = OpenOptions::new().read(true).write(!is_read_only).open(path);
        let file = file.with_context(|| format!("cannot open the disk image {name}"))?;
        let bytes = file.metadata().with_context(|| format!("cannot look at {name}"))?.len();
        ensure!(bytes > 0, "the disk image {name} is empty");
        ensure!(
            bytes.is_multiple_of(SECTOR_BYTES),
            "the disk image {name} ends within a sector of 512 bytes"
        );
        Ok(Self { file, bytes, is_read_only, piece: vec![0; PIECE_BYTES] })
    }

    fn copy(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let (mut at, mut gpa) = (request.at, request.gpa);
        let mut left = request.bytes as usize;
        while left > 0 {
            let count = left.min(PIECE_BYTES);
            let piece = &mut self.piece[..count];
            if request.operation == Operation::Read {
                self.file.read_exact_at(piece, at).map_err(|_| RequestFault::Medium)?;
                memory.write(gpa, piece).map_err(|_| RequestFault::Memory)?;
            } else {
                memory.read(gpa, piece).map_err(|_| RequestFault::Memory)?;
                self.file.write_all_at(piece, at).map_err(|_| RequestFault::Medium)?;
            }
            left -= count;
            at += count as u64;
            gpa = gpa.checked_add(count as u64).ok_or(RequestFault::Memory)?;
        }
        Ok(())
    }
}

impl Medium for Disk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        let end = request.at.checked_add(request.bytes.into());
        match request.operation {
            Operation::Flush => self.file.sync_data().map_err(|_| RequestFault::Medium),
            Operation::Read | Operation::Write if end.is_none_or(|end| end > self.bytes) => {
                Err(RequestFault::Range)
            }
            Operation::Write if self.is_read_only => Err(RequestFault::ReadOnly),
            Operation::Read | Operation::Write => self.copy(request, memory),
            // Not offered.
            Operation::Discard | Operation::WriteZeroes => Err(RequestFault::Medium),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use guest::layout::GuestLayout;
    use spec::Gpa;

    /// A disk of two pieces and a sector, whose file goes with it, and memory.
    fn disk(name: &str, is_read_only: bool) -> (Disk, Memory) {
        let path = std::env::temp_dir().join(format!("monitor-{}-{name}", std::process::id()));
        std::fs::write(&path, vec![7; 2 * PIECE_BYTES + 512]).expect("a file");
        let disk = Disk::open(&path, is_read_only).expect("a disk");
        std::fs::remove_file(&path).expect("no file");
        (disk, Memory::new(&GuestLayout::new(4 << 20, 1).expect("a layout")).expect("memory"))
    }

    fn request(operation: Operation, at: u64, bytes: usize) -> Request {
        Request { tag: 0, operation, at, gpa: Gpa(0x10_0000), bytes: bytes as u32 }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (mut disk, memory) = disk("again", false);
        let bytes = 2 * PIECE_BYTES;
        memory.write(Gpa(0x10_0000), &vec![9; bytes]).expect("memory");
        assert_eq!(disk.perform(&request(Operation::Write, 512, bytes), &memory), Ok(()));
        assert_eq!(disk.perform(&request(Operation::Flush, 0, 0), &memory), Ok(()));
        memory.write(Gpa(0x10_0000), &vec![0; bytes + 512]).expect("memory");
        assert_eq!(disk.perform(&request(Operation::Read, 0, bytes + 512), &memory), Ok(()));
        let mut read = vec![0; bytes + 512];
        memory.read(Gpa(0x10_0000), &mut read).expect("memory");
        assert!(read[..512].iter().all(|byte| *byte == 7) && read[512..].iter().all(|byte| *byte == 9));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let (mut disk, memory) = disk("refused", true);
        let end = disk.bytes();
        let mut perform = |request: &Request| disk.perform(request, &memory);
        assert_eq!(perform(&request(Operation::Write, 0, 512)), Err(RequestFault::ReadOnly));
        assert_eq!(perform(&request(Operation::Read, end - 512, 1024)), Err(RequestFault::Range));
        assert_eq!(perform(&request(Operation::Read, u64::MAX, 512)), Err(RequestFault::Range));
        let outside = Request { gpa: Gpa((4 << 20) - 256), ..request(Operation::Read, 0, 512) };
        assert_eq!(perform(&outside), Err(RequestFault::Memory));
    }

    #[test]
    fn an_image_is_whole_sectors() {
        let path = std::env::temp_dir().join(format!("monitor-{}-odd", std::process::id()));
        std::fs::write(&path, [0; 513]).expect("a file");
        let why = Disk::open(&path, false).err().expect("no disk").to_string();
        std::fs::remove_file(&path).expect("no file");
        assert!(why.contains("within a sector"), "{why}");
        assert!(Disk::open(&path, false).is_err(), "there is no file");
    }
}
