//! Memory of the process.

/// Does without huge pages, from here on. The allocator asks for them, and each is 2 MB that stay with the process as long as a
/// few bytes of it are in use: of an operator that reads thousands of objects they are a third of what it takes. Where the kernel
/// does not know how, all is as it was.
pub fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or_default();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gives_no_huge_pages_from_here_on() {
        without_huge_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }
}
