//! The program `bench`; what it does is told in the library.

// The client shares the machine with the server: it should cost little.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    bench::run(std::env::args_os(), &mut std::io::stdout().lock())
}
