//! The IOMMU unit that serves a function: there has to be one, the same for all its requests.

use alloc::format;
use alloc::string::{String, ToString};
use platform::remapping::Service;
use platform::{Function, Platform};

/// Why no unit can hold a function, and what to do.
pub(crate) fn problem(platform: &Platform, function: &Function) -> Option<(String, &'static str)> {
    let at = &function.path;
    let base = |unit: usize| match platform.remapping.units.get(unit) {
        Some(unit) => unit.base.to_string(),
        None => "an unknown place".to_string(),
    };
    let services = platform.remapping_services(function);
    let (_, own) = *services.first()?;
    let (id, service) = *services.iter().find(|(_, service)| service.unit().is_none() || *service != own)?;
    Some(match service {
        Service::Unusable(unit) => {
            let trouble = platform.remapping.units.get(unit).and_then(|unit| unit.trouble);
            let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            (
                format!("the IOMMU that covers {at}, at {}, cannot be used{why}", base(unit)),
                "pass through a device that another one covers, or update the firmware",
            )
        }
        Service::Unsure(unit) => (
            format!(
                "no IOMMU covers {at} by name, and the firmware does not say clearly whom the one at {} covers",
                base(unit)
            ),
            "pass through a device that one covers by name, or update the firmware",
        ),
        Service::Nobody if id == function.bdf => {
            (format!("no IOMMU covers {at}"), "pass through a device that one covers")
        }
        Service::Nobody => (
            format!("no IOMMU covers {id}, the number that requests of {at} carry too"),
            "pass through a device that one covers",
        ),
        Service::By(_) => (
            format!("requests of {at} carry the number {id} too, which another IOMMU covers"),
            "pass through another device",
        ),
    })
}
