//! A server under test: a process with a fresh folder, free ports, and what the kernel knows of it.
//!
//! It works with whatever takes etcd's flags and says `ready to serve client requests`:
//! `bin/metastore --engine=rocksdb` is such a [`Program`], and `etcd` another.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use child::ports::free_ports;
use child::{PATIENCE, Running};
use tempfile::TempDir;

/// A start may read gigabytes.
const READY_TIMEOUT: Duration = Duration::from_mins(2);

/// What a server is started with: a binary and flags of its own, as on a command line. There is no
/// quoting: a path has no spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    binary: PathBuf,
    flags: Vec<String>,
}

impl FromStr for Program {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Program> {
        let mut words = line.split_whitespace();
        let binary = words.next().context("a binary is expected")?.into();
        Ok(Program { binary, flags: words.map(str::to_owned).collect() })
    }
}

impl Program {
    /// Whether it keeps its data in RocksDB, as its flags say.
    pub(crate) fn is_rocksdb(&self) -> bool {
        self.flags.iter().any(|flag| flag == "rocksdb" || flag == "--engine=rocksdb")
    }
}

/// A running server; dropping it kills it.
pub(crate) struct Server {
    running: Running,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// From the start of the process to its ready line.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts `program` on `data_dir`, which may hold data, and waits until it is ready.
    pub(crate) fn start(program: &Program, data_dir: &Path) -> Result<Server> {
        let Program { binary, flags } = program;
        let [client, peer] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
        let mut command = Command::new(binary);
        command
            .arg("--name=bench")
            .arg(format!("--data-dir={}", data_dir.display()))
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-cluster=bench=http://127.0.0.1:{peer}"))
            .arg("--quota-backend-bytes=8589934592")
            .args(flags);
        let begin = Instant::now();
        let (mut running, _) = Running::serve(&mut command, READY_TIMEOUT)?;
        running.ignore_lines();
        Ok(Server { running, address, started_in: begin.elapsed() })
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        ensure!(
            self.running.terminate().is_some(),
            "the server has not stopped after {PATIENCE:?}"
        );
        Ok(())
    }

    /// Bytes of memory that belong to it.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        Ok(self.number("status", "VmRSS:")? * 1024)
    }

    /// The most that it was so far.
    pub(crate) fn peak_resident_bytes(&self) -> Result<u64> {
        Ok(self.number("status", "VmHWM:")? * 1024)
    }

    /// Bytes it has written to disk.
    pub(crate) fn written_bytes(&self) -> Result<u64> {
        self.number("io", "write_bytes:")
    }

    fn number(&self, file: &str, name: &str) -> Result<u64> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.running.id()));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        number_after(&text, name).with_context(|| format!("find {name} in {}", path.display()))
    }
}

/// The number that follows `name` at the start of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Bytes written so far to the disk that holds this folder, by everybody; `None` if there is no disk
/// under it. What the kernel tells of a process is no use: it counts a folio of up to 2 MiB for each
/// write into it, however small.
pub(crate) fn disk_written_bytes(folder: &Path) -> Result<Option<u64>> {
    const SECTOR_BYTES: u64 = 512;
    const SECTORS_WRITTEN: usize = 6;
    let device = fs::metadata(folder)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(stat) = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) else {
        return Ok(None);
    };
    let sectors = stat.split_whitespace().nth(SECTORS_WRITTEN).context("a disk counts sectors")?;
    Ok(Some(sectors.parse::<u64>()? * SECTOR_BYTES))
}

/// A fresh folder for data, removed when dropped: in `dir`, or where temporary files go.
pub(crate) fn folder(dir: Option<&Path>) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("bench-");
    match dir {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir(),
    }
    .context("make a data folder")
}

/// How busy the machine is: three load averages.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_kernel_are_found_by_their_names() {
        let text =
            "VmHWM:\t  9000 kB\nVmRSS:\t  8512 kB\ncancelled_write_bytes: 3\nwrite_bytes: 7\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(8512));
        assert_eq!(number_after(text, "write_bytes:"), Some(7));
        assert_eq!(number_after(text, "VmSwap:"), None);
    }

    #[test]
    fn a_program_is_a_binary_and_its_flags() {
        let program: Program = "bin/metastore  --engine=rocksdb --x".parse().expect("a program");
        assert_eq!(program.binary, Path::new("bin/metastore"));
        assert_eq!(program.flags, ["--engine=rocksdb", "--x"]);
        assert!(program.is_rocksdb());
        let program: Program = "rocksdb".parse().expect("a program");
        assert!(!program.is_rocksdb(), "a binary may be called anything");
        assert!(" ".parse::<Program>().is_err());
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_and_not_a_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = "/bin/false --engine=rocksdb".parse().expect("a program");
        let error = Server::start(&program, folder.path()).err().expect("no server");
        assert!(error.to_string().contains("did not become ready"), "{error}");
    }
}
