//! What is loaded.

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadImage<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// The initial ramdisk's file. Where a protocol knows only modules, it is the first.
    pub initrd: Option<&'a [u8]>,
    /// Names and contents of modules. bzImage has no place for them.
    pub modules: &'a [(&'a str, &'a [u8])],
    /// The command line.
    pub command_line: &'a str,
}
