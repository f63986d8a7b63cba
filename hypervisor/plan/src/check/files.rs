//! Files that are not there.

use super::Report;
use crate::config::GuestConfig;
use crate::plan::{FileKind, FileRef};
use crate::problem::Problem;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(crate) fn check(name: &str, guest: &GuestConfig, has_file: &dyn Fn(FileRef<'_>) -> bool) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    let mut check = |key: String, kind: FileKind, file: &str| {
        if file.is_empty() {
            report.add(key, "the name of the file is empty", "name the file, or leave the key out");
        } else if !has_file(FileRef { guest: name, kind, name: file }) {
            let help = "put the file there, or correct its name";
            report.add(key, format_args!("there is no file `{file}`"), help);
        }
    };
    check("kernel".to_string(), FileKind::Kernel, &guest.kernel);
    if let Some(initrd) = &guest.initrd {
        check("initrd".to_string(), FileKind::Initrd, initrd);
    }
    for (index, module) in guest.modules.iter().enumerate() {
        check(format!("modules[{index}]"), FileKind::Module, module);
    }
    for (place, image) in guest.images() {
        check(format!("{place}.image"), FileKind::Image, image);
    }
    report.problems
}
