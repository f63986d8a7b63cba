//! Writing initial file systems: cpio archives in the `newc` format that Linux unpacks
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Everything belongs to root and has the time 0, so the same input gives the same bytes,
//! whoever builds it. That is also why the host's `cpio` is not used: it cannot write a device
//! node without being root.

use std::collections::BTreeSet;

const MAGIC: &str = "070701";
const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;
const SYMBOLIC_LINK: u32 = 0o120_777;

/// An archive that is being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the directory `path` and those it is in.
    pub fn directory(&mut self, path: &str) {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let Some(part) = path.get(..end).filter(|part| !part.is_empty()) else { continue };
            if self.directories.insert(part.to_owned()) {
                self.entry(part, DIRECTORY, 2, (0, 0), &[]);
            }
        }
    }

    /// Adds a regular file with the permission bits `mode`.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, REGULAR | mode, 1, (0, 0), content);
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entry(path, SYMBOLIC_LINK, 1, (0, 0), target.as_bytes());
    }

    /// Adds the character device `major`:`minor`.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, 1, (major, minor), &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.entry("TRAILER!!!", 0, 1, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, device: (u32, u32), content: &[u8]) {
        debug_assert!(!path.starts_with('/'), "paths are relative to the root: {path}");
        self.entries += 1;
        let inode = self.entries;
        // The format has 32 bits for a size; guests' files are far below it.
        let size = u32::try_from(content.len()).expect("a file in an initial file system is below 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a path is below 4 GiB");
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        let (owner, group, time, check) = (0, 0, 0, 0);
        let fields =
            [inode, mode, owner, group, links, time, size, 0, 0, device.0, device.1, name_size, check];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Headers and contents begin at multiples of 4 bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the archive back as Linux does: name, mode, device, content.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, (u32, u32), Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            assert_eq!(&bytes[..6], MAGIC.as_bytes());
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).expect("hexadecimal");
                u32::from_str_radix(text, 16).expect("hexadecimal")
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let device = (field(9), field(10));
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).expect("a name");
            assert_eq!(bytes[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(bytes.len(), start);
                return found;
            }
            found.push((name, mode, device, bytes[start..start + size].to_vec()));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut archive = Archive::new();
        archive.file("init", 0o755, b"#!/bin/sh\n");
        archive.character_device("dev/console", 5, 1);
        archive.link("bin/sh", "busybox");
        let names: Vec<_> = read(&archive.finish());
        assert_eq!(names[0], ("init".to_owned(), 0o100_755, (0, 0), b"#!/bin/sh\n".to_vec()));
        assert_eq!(names[1].0, "dev");
        assert_eq!(names[2], ("dev/console".to_owned(), 0o020_600, (5, 1), Vec::new()));
        assert_eq!(names[4], ("bin/sh".to_owned(), 0o120_777, (0, 0), b"busybox".to_vec()));
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new();
        archive.file("a/b/c", 0o644, b"1");
        archive.file("a/b/d", 0o644, b"2");
        let names: Vec<_> = read(&archive.finish()).into_iter().map(|entry| entry.0).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d"]);
    }

    #[test]
    fn contents_of_every_length_are_padded() {
        for length in 0..9_usize {
            let mut archive = Archive::new();
            let content = vec![7; length];
            archive.file("f", 0o600, &content);
            archive.file("last", 0o600, b"x");
            let entries = read(&archive.finish());
            assert_eq!(entries[0].3, content);
            assert_eq!(entries[1].3, b"x");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let build = || {
            let mut archive = Archive::new();
            archive.file("x/y", 0o644, b"z");
            archive.finish()
        };
        assert_eq!(build(), build());
    }
}
