//! What a data directory accepts, what it refuses, and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use state::{ClusterId, MemberId};
use storage::data_dir::{DataDir, DataDirError, Stamp};

fn stamp() -> Stamp {
    Stamp::new("memory", ClusterId(0xc1), MemberId(0xa1))
}

fn open(path: &Path) -> Result<DataDir, DataDirError> {
    DataDir::open(path, &stamp())
}

fn refusal(path: &Path) -> String {
    open(path).expect_err("it is refused").to_string()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_new_directory_is_created_for_its_owner_and_opens_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("deep/down/data");
    assert_eq!(DataDir::stamp_of(&path).expect("stamp"), None);
    let data_dir = open(&path).expect("create");
    assert_eq!(names(&path), ["LOCK", "MANIFEST", "log", "snap"]);
    assert_eq!(data_dir.log(), path.join("log"));
    assert_eq!(data_dir.snapshots(), path.join("snap"));
    assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o700);
    drop(data_dir);
    assert_eq!(DataDir::stamp_of(&path).expect("stamp"), Some(stamp()));
    assert_eq!(open(&path).expect("open again").stamp(), &stamp());
}

#[test]
fn the_manifest_is_readable_text() {
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(folder.path()).expect("create"));
    let text = fs::read_to_string(folder.path().join("MANIFEST")).expect("read");
    let expected = r#"{
  "magic": "metastore data directory",
  "format": 1,
  "engine": "memory",
  "cluster": "00000000000000c1",
  "member": "00000000000000a1"
}
"#;
    assert_eq!(text, expected);
}

#[test]
fn a_crash_after_any_step_of_creation_leaves_a_directory_that_opens() {
    type Step = fn(&Path);
    let steps: [Step; 5] = [
        |path| fs::create_dir_all(path).expect("folder"),
        |path| fs::write(path.join("LOCK"), "").expect("lock"),
        |path| fs::create_dir(path.join("log")).expect("log"),
        |path| fs::create_dir(path.join("snap")).expect("snap"),
        |path| fs::write(path.join("MANIFEST.tmp"), "{\"mag").expect("manifest"),
    ];
    for done in 0..=steps.len() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("data");
        steps[..done].iter().for_each(|step| step(&path));
        assert_eq!(DataDir::stamp_of(&path).expect("stamp"), None, "after {done} steps");
        drop(open(&path).expect("create what is missing"));
        assert_eq!(names(&path), ["LOCK", "MANIFEST", "log", "snap"], "after {done} steps");
    }
    // The names may reach the disk in another order: the manifest without the folders.
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(folder.path()).expect("create"));
    fs::remove_dir(folder.path().join("log")).expect("remove");
    fs::remove_dir(folder.path().join("snap")).expect("remove");
    drop(open(folder.path()).expect("open"));
    assert_eq!(names(folder.path()), ["LOCK", "MANIFEST", "log", "snap"]);
}

#[test]
fn the_root_of_a_file_system_is_as_good_as_empty() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::create_dir(folder.path().join("lost+found")).expect("folder");
    drop(open(folder.path()).expect("create"));
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("thesis.tex"), "").expect("file");
    let path = folder.path().display();
    let text = format!(
        "data directory {path} holds \"thesis.tex\", which is not ours: \
         name an empty or a new directory"
    );
    assert_eq!(refusal(folder.path()), text);
    assert_eq!(names(folder.path()), ["thesis.tex"]);
}

#[test]
fn a_directory_of_etcd_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::create_dir_all(folder.path().join("member/wal")).expect("folder");
    let text = format!(
        "data directory {} belongs to etcd (it holds member/wal) and cannot be used in place: \
         name an empty or a new directory",
        folder.path().display()
    );
    assert_eq!(refusal(folder.path()), text);
    assert_eq!(names(folder.path()), ["member"]);
}

#[test]
fn data_without_a_manifest_is_not_taken_for_a_new_directory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let data_dir = open(folder.path()).expect("create");
    fs::write(data_dir.log().join("0000000000000001.wal"), "").expect("segment");
    drop(data_dir);
    fs::remove_file(folder.path().join("MANIFEST")).expect("remove");
    let text = format!(
        "data directory {} holds data in log/ but has no MANIFEST: \
         restore the MANIFEST or name an empty directory",
        folder.path().display()
    );
    assert_eq!(refusal(folder.path()), text);
}

#[test]
fn a_newer_format_is_refused_even_if_the_rest_is_unknown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(folder.path()).expect("create"));
    let manifest = r#"{"magic": "metastore data directory", "format": 2, "engines": []}"#;
    fs::write(folder.path().join("MANIFEST"), manifest).expect("write");
    let text = format!(
        "data directory {} has format 2, and this version knows formats up to 1: \
         start it with the version that wrote it or a newer one",
        folder.path().display()
    );
    assert_eq!(refusal(folder.path()), text);
    assert_eq!(fs::read_to_string(folder.path().join("MANIFEST")).expect("read"), manifest);
}

#[test]
fn another_engine_cluster_or_member_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(folder.path()).expect("create"));
    let path = folder.path().display();
    let cases = [
        (
            Stamp { engine: "rocksdb".to_owned(), ..stamp() },
            format!(
                "data directory {path} was created with engine \"memory\", not \"rocksdb\": \
                 start with engine \"memory\" or name an empty directory"
            ),
        ),
        (
            Stamp { cluster: ClusterId(0xc2), ..stamp() },
            format!("data directory {path} belongs to cluster c1, not to cluster c2"),
        ),
        (
            Stamp { member: MemberId(0xa2), ..stamp() },
            format!("data directory {path} belongs to member a1, not to member a2"),
        ),
    ];
    for (wanted, text) in cases {
        let error = DataDir::open(folder.path(), &wanted).expect_err("it is refused");
        assert_eq!(error.to_string(), text);
    }
    drop(open(folder.path()).expect("the owner still gets in"));
}

#[test]
fn a_damaged_manifest_is_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(folder.path()).expect("create"));
    let good = fs::read_to_string(folder.path().join("MANIFEST")).expect("read");
    let cases = [
        (good[..good.len() / 2].to_owned(), "parse it as JSON"),
        (String::new(), "parse it as JSON"),
        ("\0".repeat(200), "parse it as JSON"),
        (
            good.replace("metastore", "other"),
            "its magic is \"other data directory\", not \"metastore data directory\"",
        ),
        (good.replace("\"format\": 1", "\"format\": 0"), "its format is 0, which never was"),
        (
            good.replace("00000000000000c1", "c1"),
            "its cluster is \"c1\", not 16 hexadecimal digits",
        ),
        (
            good.replace("00000000000000a1", "+0000000000000a1"),
            "its member is \"+0000000000000a1\", not 16 hexadecimal digits",
        ),
    ];
    for (text, cause) in cases {
        fs::write(folder.path().join("MANIFEST"), &text).expect("write");
        let error = open(folder.path()).expect_err("it is refused");
        let expected = format!("read the manifest of data directory {}", folder.path().display());
        assert_eq!(error.to_string(), expected);
        let source = std::error::Error::source(&error).expect("a cause");
        assert_eq!(source.to_string(), cause, "{text}");
    }
}
