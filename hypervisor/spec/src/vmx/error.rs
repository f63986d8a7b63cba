//! VM-instruction errors (Intel SDM vol. 3 section 30.4).

/// What an error number in the VMCS means; `None` for one that the manual does not have.
pub const fn name(error: u32) -> Option<&'static str> {
    Some(match error {
        1 => "VMCALL executed in VMX root operation",
        2 => "VMCLEAR with an invalid address",
        3 => "VMCLEAR with the VMXON pointer",
        4 => "VMLAUNCH with a VMCS that was launched",
        5 => "VMRESUME with a VMCS that was not launched",
        6 => "VMRESUME after VMXOFF",
        7 => "VM entry with invalid control fields",
        8 => "VM entry with invalid host-state fields",
        9 => "VMPTRLD with an invalid address",
        10 => "VMPTRLD with the VMXON pointer",
        11 => "VMPTRLD with a wrong revision",
        12 => "VMREAD or VMWRITE of a field that this processor lacks",
        13 => "VMWRITE to a read-only field",
        15 => "VMXON in VMX root operation",
        16 => "VM entry with an invalid executive-VMCS pointer",
        17 => "VM entry with an executive VMCS that was not launched",
        18 => "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
        19 => "VMCALL with a VMCS that is not clear",
        20 => "VMCALL with invalid VM-exit control fields",
        22 => "VMCALL with a wrong MSEG revision",
        23 => "VMXOFF under dual-monitor treatment",
        24 => "VMCALL with invalid SMM-monitor features",
        25 => "VM entry with invalid execution controls in the executive VMCS",
        26 => "VM entry with events blocked by MOV SS",
        28 => "an invalid operand of INVEPT or INVVPID",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_leaves_four_numbers_out() {
        let missing: [bool; 29] = core::array::from_fn(|error| name(error as u32).is_none());
        for (error, missing) in missing.into_iter().enumerate() {
            assert_eq!(missing, [0, 14, 21, 27].contains(&error), "{error}");
        }
    }
}
