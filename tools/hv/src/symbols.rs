//! The hypervisor's symbols, for the backtrace that it prints when it panics.
