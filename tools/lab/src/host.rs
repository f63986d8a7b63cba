//! What the machine we run on lends to emulators.

use std::path::Path;

/// Who made a processor's virtualisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel's VT-x.
    Intel,
    /// AMD's AMD-V.
    Amd,
}

impl Vendor {
    /// Its flag in /proc/cpuinfo.
    fn flag(self) -> &'static str {
        match self {
            Self::Intel => "vmx",
            Self::Amd => "svm",
        }
    }

    /// KVM's module for it.
    fn module(self) -> &'static str {
        match self {
            Self::Intel => "kvm_intel",
            Self::Amd => "kvm_amd",
        }
    }

    /// The feature's name.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Intel => "VT-x",
            Self::Amd => "AMD-V",
        }
    }
}

/// The machine we run on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// The processor's flags, as /proc/cpuinfo has them.
    flags: Vec<String>,
    /// Which of KVM's modules let guests virtualise.
    nesting_modules: Vec<&'static str>,
    /// Whether /dev/kvm can be opened.
    kvm: bool,
}

impl Host {
    /// This machine.
    pub fn detect() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let nesting = |module: &&str| {
            let file = format!("/sys/module/{module}/parameters/nested");
            std::fs::read_to_string(file).is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
        };
        let modules = [Vendor::Intel, Vendor::Amd].map(Vendor::module);
        Self {
            flags: parse_flags(&cpuinfo),
            nesting_modules: modules.into_iter().filter(nesting).collect(),
            kvm: may_open(Path::new("/dev/kvm")),
        }
    }

    /// Whether its processor shows either vendor's virtualisation, without which KVM runs nothing.
    pub fn virtualises(&self) -> bool {
        [Vendor::Intel, Vendor::Amd]
            .iter()
            .any(|vendor| self.flags.iter().any(|known| known == vendor.flag()))
    }

    /// Whether KVM's guests can use `vendor`'s virtualisation here, as `-cpu host`
    /// offers it.
    ///
    /// The processor's flag decides: /dev/kvm is there in guests whose own processor
    /// shows no such flag, and KVM without it runs nothing.
    ///
    /// # Errors
    /// The reason why not.
    pub fn nested(&self, vendor: Vendor) -> Result<(), String> {
        let (flag, module) = (vendor.flag(), vendor.module());
        if !self.flags.iter().any(|known| known == flag) {
            return Err(format!("nested KVM needs a processor with the flag {flag}, this one has none"));
        }
        if !self.kvm {
            return Err("nested KVM needs /dev/kvm, which is absent here or not ours to open".to_owned());
        }
        if !self.nesting_modules.contains(&module) {
            return Err(format!("{module} was loaded without nested=1"));
        }
        Ok(())
    }

    /// A host whose processor shows no virtualisation.
    pub fn without_nesting() -> Self {
        Self { flags: Vec::new(), nesting_modules: Vec::new(), kvm: false }
    }

    /// A host whose KVM nests `vendor`'s virtualisation.
    pub fn nesting(vendor: Vendor) -> Self {
        Self { flags: vec![vendor.flag().to_owned()], nesting_modules: vec![vendor.module()], kvm: true }
    }
}

/// The first processor's flags: a host has one kind.
fn parse_flags(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "flags").then_some(value)
    });
    line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn may_open(device: &Path) -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open(device).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx ept\n\
                           vmx flags\t: vnmi svm\n\nprocessor\t: 1\nflags\t\t: fpu vme svm\n";

    #[test]
    fn flags_are_those_of_the_line_flags() {
        assert_eq!(parse_flags(CPUINFO), ["fpu", "vme", "vmx", "ept"]);
        assert_eq!(parse_flags("model : x"), Vec::<String>::new());
    }

    #[test]
    fn the_device_alone_does_not_nest() {
        let host = Host { kvm: true, ..Host::without_nesting() };
        assert!(host.nested(Vendor::Intel).is_err_and(|why| why.contains("flag vmx")));
        assert!(host.nested(Vendor::Amd).is_err_and(|why| why.contains("flag svm")));
    }

    #[test]
    fn a_flag_of_either_vendor_is_virtualisation() {
        assert!(Host::nesting(Vendor::Intel).virtualises() && Host::nesting(Vendor::Amd).virtualises());
        assert!(!Host { kvm: true, ..Host::without_nesting() }.virtualises());
    }

    #[test]
    fn the_flag_alone_does_not_nest() {
        let host = Host::nesting(Vendor::Intel);
        assert_eq!(host.nested(Vendor::Intel), Ok(()));
        assert!(host.nested(Vendor::Amd).is_err());
        let closed = Host { kvm: false, ..host.clone() };
        assert!(closed.nested(Vendor::Intel).is_err_and(|why| why.contains("/dev/kvm")));
        let flat = Host { nesting_modules: Vec::new(), ..host };
        assert!(flat.nested(Vendor::Intel).is_err_and(|why| why.contains("nested=1")));
    }
}
