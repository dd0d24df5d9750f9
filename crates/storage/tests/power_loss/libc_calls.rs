//! The functions of libc that change files, as this program has them: RocksDB, the standard library
//! and everything else that is linked in call these and not libc's.
//!
//! Each asks the kernel for the same thing, and tells the [`recorder`](crate::recorder) if it
//! concerns a folder that is being recorded. There a sync is recorded and not done: the medium says
//! what it would have kept, and a test of thousands of syncs ends.
//!
//! Functions with variable arguments take here what the kernel takes: on the platforms that this is
//! built for, they are passed alike.
//!
//! What is missing here and changes a file is noticed: the record does not lead to the files that
//! are found in the end. `sync_file_range` is left out on purpose, because it promises nothing.
//!
//! # Safety
//! One proof for all: whoever calls a function of this name keeps the rules of libc's, and the kernel
//! is given the same arguments. Texts end with a zero, and as many bytes can be read as are counted.

#![allow(unsafe_code, reason = "what C calls has C's signatures")]
#![allow(missing_docs, reason = "they are libc's")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libc::{AT_FDCWD, c_long, mode_t, off_t, size_t, ssize_t};

use crate::recorder;

/// What the kernel says, in the type of the function.
fn answer<T: TryFrom<c_long>>(answer: c_long) -> T {
    T::try_from(answer).ok().expect("the kernel answers with what the function returns")
}

unsafe fn text<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: see the module.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the module.
    unsafe { openat(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the module.
    unsafe { openat(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the module.
    let open = || unsafe { answer(libc::syscall(libc::SYS_openat, at, path, flags, mode)) };
    // SAFETY: see the module.
    recorder::opened(unsafe { text(path) }, flags, open)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: see the module.
    let write = || unsafe { answer(libc::syscall(libc::SYS_write, fd, bytes, count)) };
    if count == 0 {
        return write();
    }
    // SAFETY: see the module.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast(), count) };
    recorder::written(fd, None, bytes, write)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see the module.
    let write = || unsafe { answer(libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset)) };
    if count == 0 {
        return write();
    }
    // SAFETY: see the module.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast(), count) };
    recorder::written(fd, Some(offset), bytes, write)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see the module.
    unsafe { pwrite(fd, bytes, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: see the module.
    recorder::synced(fd, || unsafe { answer(libc::syscall(libc::SYS_fsync, fd)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: see the module.
    recorder::synced(fd, || unsafe { answer(libc::syscall(libc::SYS_fdatasync, fd)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, bytes: off_t) -> c_int {
    // SAFETY: see the module.
    recorder::resized(fd, || unsafe { answer(libc::syscall(libc::SYS_ftruncate, fd, bytes)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, bytes: off_t) -> c_int {
    // SAFETY: see the module.
    unsafe { ftruncate(fd, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off_t, bytes: off_t) -> c_int {
    // SAFETY: see the module.
    let allocate =
        || unsafe { answer(libc::syscall(libc::SYS_fallocate, fd, mode, offset, bytes)) };
    if mode == libc::FALLOC_FL_KEEP_SIZE {
        return recorder::reserved(fd, allocate);
    }
    recorder::resized(fd, allocate)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let none: c_uint = 0;
    // SAFETY: see the module.
    let rename = || unsafe {
        answer(libc::syscall(libc::SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, none))
    };
    // SAFETY: see the module.
    recorder::renamed(unsafe { text(from) }, unsafe { text(to) }, rename)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let no_folder: c_int = 0;
    // SAFETY: see the module.
    let unlink = || unsafe { answer(libc::syscall(libc::SYS_unlinkat, AT_FDCWD, path, no_folder)) };
    // SAFETY: see the module.
    recorder::removed(unsafe { text(path) }, unlink)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see the module.
    let mkdir = || unsafe { answer(libc::syscall(libc::SYS_mkdirat, AT_FDCWD, path, mode)) };
    // SAFETY: see the module.
    recorder::made_folder(unsafe { text(path) }, mkdir)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    recorder::closed(fd);
    // SAFETY: see the module.
    unsafe { answer(libc::syscall(libc::SYS_close, fd)) }
}
