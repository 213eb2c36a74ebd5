//! Whether this CPU can run the program at all.
//!
//! The program is compiled for what `.cargo/config.toml` names, so the compiler answers `is_x86_feature_detected!` by
//! itself: the CPU is asked directly. Nothing of ours that runs before `main` needs these instructions.

/// Bits of ECX that CPUID leaf 1 answers with, and their names.
#[cfg(target_arch = "x86_64")]
const NEEDED: [(u32, &str); 2] = [(20, "SSE4.2"), (1, "PCLMULQDQ")];

/// What the program takes for granted and the CPU has not.
#[cfg(target_arch = "x86_64")]
pub(crate) fn lacking() -> Vec<&'static str> {
    named(std::arch::x86_64::__cpuid(1).ecx)
}

/// Other architectures are compiled for their baseline.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn lacking() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn named(ecx: u32) -> Vec<&'static str> {
    NEEDED.iter().filter(|(bit, _)| ecx >> bit & 1 == 0).map(|(_, name)| *name).collect()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(named(0), ["SSE4.2", "PCLMULQDQ"]);
        assert_eq!(named(1 << 20), ["PCLMULQDQ"]);
        assert_eq!(lacking(), Vec::<&str>::new(), "or this test could not run");
    }
}
