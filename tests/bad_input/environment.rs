//! What a row may do to its own process: another user, a `/dev/shm` of its own, limits, filters.

use libc::{sock_filter, sock_fprog};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, geteuid, getgid, getuid, setresgid, setresuid};

pub const NEEDS_ROOT: &str = "it needs root, to become another user";
pub const NEEDS_NAMESPACE: &str = "it needs a mount namespace: root, or user namespaces that are allowed";
pub const NEEDS_SECCOMP: &str = "it needs seccomp filters, and this kernel or a filter refuses them";

/// Becomes a user who owns nothing, for good. `false` where this user is not root, or only of a namespace without such users.
pub fn become_nobody() -> bool {
    const NOBODY: u32 = 65534;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    // SAFETY: an empty list of groups needs no pointer.
    geteuid().is_root()
        && unsafe { libc::setgroups(0, std::ptr::null()) } == 0
        && setresgid(group, group, group).is_ok()
        && setresuid(user, user, user).is_ok()
}

/// Gives the process a `/dev/shm` of its own: an empty tmpfs with these options. `false` where that is not allowed.
pub fn private_shm(options: &std::ffi::CStr) -> bool {
    let (user, group) = (getuid(), getgid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).is_err() {
            return false;
        }
        let mapped = std::fs::write("/proc/self/setgroups", "deny")
            .and_then(|()| std::fs::write("/proc/self/uid_map", format!("0 {user} 1")))
            .and_then(|()| std::fs::write("/proc/self/gid_map", format!("0 {group} 1")));
        if mapped.is_err() {
            return false;
        }
    }
    let none = std::ptr::null();
    // SAFETY: C strings or null, as mount(2) takes them. First nothing that is mounted here reaches others.
    unsafe {
        libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            && libc::mount(c"none".as_ptr(), c"/dev/shm".as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()) == 0
    }
}

/// Mounts the process's own `/dev/shm` read-only.
pub fn make_shm_read_only() {
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    let none = std::ptr::null();
    // SAFETY: as above.
    let result = unsafe { libc::mount(none, c"/dev/shm".as_ptr(), none, flags, none.cast()) };
    assert_eq!(result, 0, "remount: {}", std::io::Error::last_os_error());
}

/// A system call to refuse.
pub struct Refused {
    pub number: libc::c_long,
    /// Only where all these bits are set in this argument.
    pub only: Option<(usize, u32)>,
    pub with: i32,
}

/// Installs a filter for good: the calls of `refused` fail in this process. `false` where there are no filters.
pub fn refuse(refused: &Refused) -> bool {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| sock_filter { code: code as u16, jt, jf, k };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let answer = |value: u32| statement(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    // `struct seccomp_data`: the number, the architecture, the instruction's address, then the arguments of 8 bytes each.
    let mut filter = vec![load(0)];
    match refused.only {
        None => filter.push(statement(equal, refused.number as u32, 0, 1)),
        Some((argument, bits)) => filter.extend([
            statement(equal, refused.number as u32, 0, 4),
            load(16 + 8 * argument as u32),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits, 0, 0),
            statement(equal, bits, 0, 1),
        ]),
    }
    filter.extend([answer(libc::SECCOMP_RET_ERRNO | refused.with as u32), answer(libc::SECCOMP_RET_ALLOW)]);
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live until the call returns; the kernel copies and checks them.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    }
}
