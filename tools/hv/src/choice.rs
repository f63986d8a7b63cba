//! Which machine is emulated: what the user asks for, and what this host can do.

use anyhow::{Result, bail};
use clap::ValueEnum;
use lab::{Host, Iommu, Vendor};

/// The processor's virtualisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cpu {
    /// VT-x: nested KVM on an Intel host, else Bochs
    Intel,
    /// AMD-V: nested KVM on an AMD host, else QEMU's TCG
    Amd,
}

/// The IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Remapping {
    /// Intel's VT-d
    Vtd,
    /// AMD-Vi
    Amdvi,
    /// No IOMMU: guests that want a PCI function are refused
    None,
}

/// What emulates the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU's own processor.
    Tcg,
    /// Bochs.
    Bochs,
    /// QEMU over KVM, with the host's processor.
    Kvm,
}

/// The machine that is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its virtualisation.
    pub vendor: Vendor,
    /// What emulates it.
    pub emulator: Emulator,
    /// Its IOMMU.
    pub iommu: Iommu,
    /// Why it is this one, as half a sentence.
    pub why: String,
}

/// Chooses; what is not asked for is taken as this host does it best.
///
/// # Errors
/// When nothing here has that pair; the error says what to ask for instead.
pub fn choose(cpu: Option<Cpu>, remapping: Option<Remapping>, host: &Host) -> Result<Choice> {
    if (cpu, remapping) == (Some(Cpu::Intel), Some(Remapping::Amdvi)) {
        bail!(
            "no machine has an Intel processor and AMD-Vi\n\
             either `--cpu intel --iommu vtd` or `--cpu amd --iommu amdvi`"
        );
    }
    let nests_intel_only = host.nested(Vendor::Amd).is_err() && host.nested(Vendor::Intel).is_ok();
    let intel = match cpu {
        Some(cpu) => cpu == Cpu::Intel,
        None => nests_intel_only && remapping != Some(Remapping::Amdvi),
    };
    if intel { choose_intel(remapping, host) } else { Ok(choose_amd(remapping, host)) }
}

/// The machine for a processor model that was asked for by its name in QEMU's list.
///
/// # Errors
/// When the vendor is Intel: nothing here emulates VT-x on a model of choice.
pub fn emulate_model(cpu: Option<Cpu>, remapping: Option<Remapping>) -> Result<Choice> {
    if cpu == Some(Cpu::Intel) {
        bail!("QEMU's TCG has no VT-x on any model\neither `--cpu-model` or `--cpu intel`");
    }
    let iommu = iommu(remapping.unwrap_or(Remapping::Vtd));
    let why = "a processor model was asked for".to_owned();
    Ok(Choice { vendor: Vendor::Amd, emulator: Emulator::Tcg, iommu, why })
}

fn choose_amd(remapping: Option<Remapping>, host: &Host) -> Choice {
    let (emulator, why) = match host.nested(Vendor::Amd) {
        Ok(()) => (Emulator::Kvm, "this host's KVM lets guests use AMD-V".to_owned()),
        Err(why) => (Emulator::Tcg, why),
    };
    Choice { vendor: Vendor::Amd, emulator, iommu: iommu(remapping.unwrap_or(Remapping::Vtd)), why }
}

fn choose_intel(remapping: Option<Remapping>, host: &Host) -> Result<Choice> {
    let why_not = match host.nested(Vendor::Intel) {
        Ok(()) => {
            return Ok(Choice {
                vendor: Vendor::Intel,
                emulator: Emulator::Kvm,
                iommu: iommu(remapping.unwrap_or(Remapping::Vtd)),
                why: "this host's KVM lets guests use VT-x".to_owned(),
            });
        }
        Err(why) => why,
    };
    if !matches!(remapping, None | Some(Remapping::None)) {
        bail!(
            "VT-x beside an IOMMU is not emulated here: QEMU's TCG has no VT-x, Bochs has no IOMMU, and {why_not}\n\
             either `--cpu intel --iommu none` (Bochs) or `--cpu amd --iommu vtd` (QEMU)"
        );
    }
    let why = format!("QEMU's TCG has no VT-x, and {why_not}");
    Ok(Choice { vendor: Vendor::Intel, emulator: Emulator::Bochs, iommu: Iommu::None, why })
}

fn iommu(remapping: Remapping) -> Iommu {
    match remapping {
        Remapping::Vtd => Iommu::Intel,
        Remapping::Amdvi => Iommu::Amd,
        Remapping::None => Iommu::None,
    }
}

impl Choice {
    /// In a line: what is emulated by what, and why.
    pub fn describe(&self) -> String {
        let emulator = match self.emulator {
            Emulator::Tcg => "QEMU's TCG",
            Emulator::Bochs => "Bochs",
            Emulator::Kvm => "QEMU over nested KVM",
        };
        let iommu = match self.iommu {
            Iommu::Intel => "with VT-d",
            Iommu::Amd => "with AMD-Vi",
            Iommu::None => "without an IOMMU",
        };
        format!("{} {iommu} in {emulator}: {}", self.vendor.feature(), self.why)
    }

    /// What will become of the guests of `config` that want what this machine does not
    /// have, a line for each; the hypervisor says the same in its own words.
    pub fn refusals(&self, config: &plan::Config) -> Vec<String> {
        if self.iommu != Iommu::None {
            return Vec::new();
        }
        let wanting: Vec<_> =
            config.guest.iter().filter(|(_, guest)| guest.passed_through().next().is_some()).collect();
        let mut lines: Vec<String> = wanting
            .iter()
            .map(|(name, guest)| {
                let functions = match guest.passed_through().count() {
                    1 => "a PCI function".to_owned(),
                    count => format!("{count} PCI functions"),
                };
                format!("guest `{name}` will be refused: it wants {functions}, and no IOMMU would hold that")
            })
            .collect();
        if !wanting.is_empty() && wanting.len() == config.guest.len() {
            let other = if self.emulator == Emulator::Bochs { "--cpu amd" } else { "--iommu vtd" };
            lines.push(format!("no guest is left; examples/shell.toml has none of that, `{other}` an IOMMU"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(cpu: Option<Cpu>, remapping: Option<Remapping>, host: &Host) -> (Vendor, Emulator, Iommu) {
        let choice = choose(cpu, remapping, host).expect("a machine");
        (choice.vendor, choice.emulator, choice.iommu)
    }

    #[test]
    fn a_plain_host_emulates_amd_unless_asked() {
        let host = Host::without_nesting();
        assert_eq!(chosen(None, None, &host), (Vendor::Amd, Emulator::Tcg, Iommu::Intel));
        assert_eq!(chosen(None, Some(Remapping::Amdvi), &host), (Vendor::Amd, Emulator::Tcg, Iommu::Amd));
        assert_eq!(chosen(Some(Cpu::Intel), None, &host), (Vendor::Intel, Emulator::Bochs, Iommu::None));
        let choice = choose(Some(Cpu::Intel), Some(Remapping::None), &host).expect("Bochs");
        assert!(choice.describe().contains("Bochs") && choice.describe().contains("flag vmx"));
    }

    #[test]
    fn a_host_that_nests_is_used() {
        let intel = Host::nesting(Vendor::Intel);
        assert_eq!(chosen(None, None, &intel), (Vendor::Intel, Emulator::Kvm, Iommu::Intel));
        assert_eq!(
            chosen(Some(Cpu::Intel), Some(Remapping::Vtd), &intel),
            (Vendor::Intel, Emulator::Kvm, Iommu::Intel)
        );
        assert_eq!(chosen(Some(Cpu::Amd), None, &intel), (Vendor::Amd, Emulator::Tcg, Iommu::Intel));
        assert_eq!(chosen(None, Some(Remapping::Amdvi), &intel), (Vendor::Amd, Emulator::Tcg, Iommu::Amd));
        let amd = Host::nesting(Vendor::Amd);
        assert_eq!(chosen(None, None, &amd), (Vendor::Amd, Emulator::Kvm, Iommu::Intel));
        assert_eq!(chosen(Some(Cpu::Intel), None, &amd), (Vendor::Intel, Emulator::Bochs, Iommu::None));
    }

    #[test]
    fn what_no_machine_has_is_an_error_with_a_way_out() {
        for host in [Host::without_nesting(), Host::nesting(Vendor::Intel)] {
            let error = choose(Some(Cpu::Intel), Some(Remapping::Amdvi), &host).expect_err("no such machine");
            assert!(error.to_string().contains("`--cpu amd --iommu amdvi`"), "{error}");
        }
        let error = choose(Some(Cpu::Intel), Some(Remapping::Vtd), &Host::without_nesting())
            .expect_err("not emulated here");
        assert!(error.to_string().contains("`--cpu intel --iommu none`"), "{error}");
        assert!(error.to_string().contains("flag vmx"), "{error}");
    }

    #[test]
    fn guests_that_will_be_refused_are_named_in_advance() {
        let text = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n\
                    [[guest.a.pci]]\nslot = \"01.0\"\npassthrough = { path = \"00:03.0\", id = \"1b36:0010\" }\n";
        let (config, _) = plan::text::parse(text).expect("a configuration");
        let host = Host::without_nesting();
        let none = choose(None, Some(Remapping::None), &host).expect("a machine");
        let lines = none.refusals(&config);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("`a`") && lines[1].contains("shell.toml"), "{lines:?}");
        assert!(choose(None, None, &host).expect("a machine").refusals(&config).is_empty());
        let both = format!("{text}[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\nkernel = \"k\"\n");
        let (config, _) = plan::text::parse(&both).expect("a configuration");
        assert_eq!(none.refusals(&config).len(), 1);
    }
}
