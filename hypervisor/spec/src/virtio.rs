//! Virtual I/O devices (Virtual I/O Device, version 1.2, Committee Specification 01; sections are
//! cited at each item).
//!
//! Everything that is in memory is little-endian, and is encoded to and decoded from plain bytes
//! here: a queue belongs to two sides that do not trust each other.

pub mod split;
