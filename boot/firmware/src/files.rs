//! What a guest is started with.

/// The files and the text that a guest is started with. In its image the kernel has number 1, and what
/// comes with it the numbers after that, the initial RAM disk first.
#[derive(Clone, Copy, Debug)]
pub struct GuestFiles<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// The initial RAM disk's file. Where a protocol knows only modules, it is the first.
    pub initrd: Option<&'a [u8]>,
    /// Names and contents of modules. bzImage has no place for them.
    pub modules: &'a [(&'a str, &'a [u8])],
    /// The command line.
    pub command_line: &'a str,
    /// The guest has a display, which shows VGA's text mode 3 when it starts. Linux alone is told.
    pub has_display: bool,
}

/// Number of the kernel's file.
const KERNEL: u64 = 1;

impl<'a> GuestFiles<'a> {
    /// What comes with the kernel: the initial RAM disk under the name `initrd`, and the modules.
    pub(crate) fn modules(&self, initrd: &'a str) -> impl Iterator<Item = (&'a str, Part)> {
        let first = self.initrd.map(|content| (initrd, content));
        let all = first.into_iter().chain(self.modules.iter().copied());
        (KERNEL + 1..)
            .zip(all)
            .map(|(file, (name, content))| (name, Part { file, offset: 0, bytes: content.len() as u64 }))
    }
}

/// A part of one of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// Number of the file.
    pub file: u64,
    /// Where in the file it starts.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// Part of a file, and its place in the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// Its place.
    pub gpa: u64,
    /// What goes there.
    pub part: Part,
}

impl Part {
    /// A part of the kernel's file.
    pub(crate) const fn of_kernel(offset: u64, bytes: u64) -> Self {
        Self { file: KERNEL, offset, bytes }
    }
}
