//! Links the program as the one that it stands for when it is built for the bare machine.

fn main() {
    const SCRIPT: &str = "../../../hypervisor/models/linker.ld";
    println!("cargo::rerun-if-changed={SCRIPT}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-T{folder}/{SCRIPT}");
        println!("cargo::rustc-link-arg-bins=--no-dynamic-linker");
        println!("cargo::rustc-link-arg-bins=-znoexecstack");
        println!("cargo::rustc-link-arg-bins=--build-id=none");
    }
}
