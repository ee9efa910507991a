//! `replayvm gdb`: serving a recording to gdb, and starting gdb.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use gdb_bridge::architecture::Architecture;
use gdb_bridge::{GDB_PYTHON, GdbFiles, GuestSymbols, Listen, ServeError, ServeOptions, serve};
use replayvm::symbols::{self, Origin};
use replayvm::timeline::{Timeline, unsupervised};

use crate::args::{Gdb, ShownAs};
use crate::failure::{FINE, Failure};
use crate::place;

const DEFAULT_PORT: u16 = 1234;

/// `replayvm gdb`
pub fn run(arguments: &Gdb) -> Result<u8, Failure> {
    // Without a recording the arguments ask for this.
    let Some(file) = &arguments.file else {
        print!("{GDB_PYTHON}");
        return Ok(FINE);
    };
    let mut timeline = Timeline::open_finding(file, &arguments.disks.paths())?;
    if let Some(recovered) = timeline.opened().recording().recovery() {
        eprintln!("replayvm: {}: {recovered}", file.display());
    }
    let at = place::of(&arguments.at, &timeline).map_err(|failure| failure.hint("--at end"))?;
    timeline.seek(at, &mut unsupervised())?;
    if arguments.launch {
        let status = launch(arguments, file, &mut timeline)?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FINE))
    } else {
        wait_for_gdb(arguments, file, &mut timeline)
    }
}

fn wait_for_gdb(arguments: &Gdb, recording: &Path, timeline: &mut Timeline) -> Result<u8, Failure> {
    let stop = crate::interrupt_flag()?;
    let listen = match &arguments.listen {
        Some(text) => parse_listen(text)?,
        None => Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))),
    };
    if let Listen::Tcp(address) = &listen
        && !address.ip().is_loopback()
    {
        eprintln!(
            "replayvm: {address} is not a loopback address: whoever reaches it can read the guest's memory"
        );
    }
    let symbols = Arc::new(guest_symbols(arguments, recording, timeline)?);
    let options = ServeOptions { once: arguments.once, stop, symbols, architecture: architecture(arguments) };
    let file = recording.display();
    serve(timeline, &listen, &options, |at| {
        println!("{file} waits for gdb: gdb -ex 'target remote {at}'");
    })
    .map_err(serve_failure)?;
    Ok(FINE)
}

fn serve_failure(error: ServeError) -> Failure {
    match error {
        ServeError::InUse(_) => Failure::input(&error).hint("another place with --listen"),
        ServeError::Listen { .. } => Failure::input(&error),
        ServeError::Accept(_) => Failure::internal(&error),
    }
}

/// Starts gdb in the foreground and serves it; ends with it. The cursor stays where gdb leaves it.
pub fn launch(arguments: &Gdb, file: &Path, timeline: &mut Timeline) -> Result<ExitStatus, Failure> {
    // Ctrl-C is gdb's here. It reaches this process too, being in the same foreground group.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())
        .map_err(|error| Failure::internal(&error))?;
    let symbols = Arc::new(guest_symbols(arguments, file, timeline)?);
    let files = GdbFiles::new(&symbols).map_err(|error| Failure::internal(&error))?;
    let folder =
        tempfile::Builder::new().prefix("replayvm-").tempdir().map_err(|error| Failure::internal(&error))?;
    let listen = match &arguments.listen {
        Some(text) => parse_listen(text)?,
        None => Listen::Unix(folder.path().join("gdb.sock")),
    };
    let extra: Vec<OsString> = arguments.gdb_arguments.iter().map(OsString::from).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let options =
        ServeOptions { once: false, stop: Arc::clone(&stop), symbols, architecture: architecture(arguments) };
    let (ready, started) = mpsc::channel::<Listen>();
    thread::scope(|scope| {
        let (files, extra, stop) = (&files, &extra, &stop);
        let gdb = scope.spawn(move || {
            let status = started
                .recv()
                .map_err(|_| Failure::input_text("the server has not started"))
                .and_then(|at| run_gdb(files, &at, extra));
            stop.store(true, Ordering::Relaxed);
            status
        });
        let served = serve(timeline, &listen, &options, move |at| {
            // The other side waits for this and nothing else.
            let _ = ready.send(at.clone());
        });
        let status = gdb.join();
        served.map_err(serve_failure)?;
        match status {
            Ok(status) => status,
            Err(_) => Err(Failure::input_text("the thread that ran gdb has failed")),
        }
    })
}

/// The guest's symbols: of the file that was given, of an image of the recording, or what its kernel has in memory. gdb reads
/// the whole ELF file where there is one: it may have debug information too.
pub fn guest_symbols(
    arguments: &Gdb,
    recording: &Path,
    timeline: &Timeline,
) -> Result<GuestSymbols, Failure> {
    let Some(found) = symbols::of_recording(recording, arguments.symbols.as_deref())? else {
        return Ok(GuestSymbols::default());
    };
    let recording = timeline.opened().recording();
    let file = match found.origin() {
        Origin::File(path) => std::fs::read(path).map_err(|error| Failure::internal(&error))?,
        Origin::Image(name) => match recording.images().iter().position(|image| image.name == *name) {
            Some(index) => recording.image_bytes(index).map_err(|error| Failure::input(&error))?.into_owned(),
            None => Vec::new(),
        },
        Origin::Memory => Vec::new(),
    };
    Ok(GuestSymbols::new(file, Some(found)))
}

/// As what the debugger is to be shown the machine, if the person says so.
fn architecture(arguments: &Gdb) -> Option<Architecture> {
    match arguments.arch {
        ShownAs::Auto => None,
        ShownAs::X86_64 => Some(Architecture::X86_64),
        ShownAs::I386 => Some(Architecture::I386),
        ShownAs::I8086 => Some(Architecture::I8086),
    }
}

fn run_gdb(files: &GdbFiles, at: &Listen, extra: &[OsString]) -> Result<ExitStatus, Failure> {
    files.command(at, extra).status().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::input_text("gdb is not installed")
            .hint("install gdb, or connect another debugger to `replayvm gdb FILE`"),
        _ => Failure::internal(&error),
    })
}

/// HOST:PORT, :PORT or PORT on loopback, or a path.
fn parse_listen(text: &str) -> Result<Listen, Failure> {
    if text.contains('/') {
        return Ok(Listen::Unix(PathBuf::from(text)));
    }
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(Listen::Tcp(SocketAddr::new(loopback, port)));
    }
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).map(Listen::Tcp).ok_or_else(|| {
        Failure::input_text(format!(
            "cannot listen at `{text}`: write HOST:PORT, :PORT, or the path of a socket with a / in it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_on_loopback_and_a_slash_makes_a_socket() {
        let port = |text| parse_listen(text).unwrap();
        assert_eq!(port("1234"), Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 1234))));
        assert_eq!(port(":0"), Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(port("./x"), Listen::Unix(PathBuf::from("./x")));
        assert!(parse_listen("no such place").is_err());
        assert!(parse_listen("127.0.0.1:99999").is_err());
    }
}
