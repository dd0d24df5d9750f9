//! A data directory serves one process.
//!
//! In a program of its own: while a process starts another one, the other holds its open files too, and
//! with them the locks of tests beside this one.

use std::path::Path;
use std::process::Command;

use state::{ClusterId, MemberId};
use storage::data_dir::{DataDir, DataDirError, Stamp};

fn open(path: &Path) -> Result<DataDir, DataDirError> {
    DataDir::open(path, &Stamp::new("memory", ClusterId(0xc1), MemberId(0xa1)))
}

/// Runs twice: as the test, and as the second process that the test starts.
#[test]
fn a_second_process_is_told_which_directory_is_in_use() {
    const PATH: &str = "STORAGE_TEST_SECOND_PROCESS";
    if let Some(path) = std::env::var_os(PATH) {
        assert_eq!(
            open(Path::new(&path)).expect_err("it is refused").to_string(),
            format!("data directory {} is in use by another process", path.display())
        );
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let first = open(folder.path()).expect("create");
    let second = || {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "a_second_process_is_told_which_directory_is_in_use"])
            .env(PATH, folder.path())
            .output()
            .expect("start it again")
    };
    let output = second();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // Once the first is gone the second gets in, which its assertion reports.
    drop(first);
    assert!(!second().status.success());
    drop(open(folder.path()).expect("and leaves the directory usable"));
}
