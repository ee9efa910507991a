//! Serving one client after the other.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replayvm::timeline::Timeline;

use crate::architecture::Architecture;
use crate::door::{Door, Listen, ServeError};
use crate::link::Link;
use crate::session::{Goodbye, SessionError, serve_link};
use crate::stream::Stream;
use crate::symbols::GuestSymbols;

/// How to serve.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Return when the first client has gone.
    pub once: bool,
    /// Return soon after this is set, whatever a client is doing.
    pub stop: Arc<AtomicBool>,
    /// The names of what is in the guest.
    pub symbols: Arc<GuestSymbols>,
    /// As what each client is shown the machine, until it says otherwise; else by the file and the guest's mode.
    pub architecture: Option<Architecture>,
}

/// Serves gdb: one client at a time, then the next, until `options` say otherwise. `on_ready` is told where, once gdb can
/// connect. The cursor stays where a client leaves it.
///
/// # Errors
/// Nobody can connect. What goes wrong with a client ends its session only.
pub fn serve(
    timeline: &mut Timeline,
    listen: &Listen,
    options: &ServeOptions,
    on_ready: impl FnOnce(&Listen),
) -> Result<(), ServeError> {
    let door = Rc::new(Door::open(listen)?);
    on_ready(door.at());
    loop {
        let Some(stream) = door.accept(&options.stop)? else { return Ok(()) };
        tracing::info!(at = %door.at(), "gdb connected");
        match serve_at(&door, timeline, stream, options) {
            Ok(goodbye @ (Goodbye::Detached | Goodbye::Killed | Goodbye::Gone)) => {
                tracing::info!(?goodbye, "gdb left");
            }
            Err(error) => tracing::warn!(error = crate::monitor::chain(&error), "session ended"),
        }
        if options.once || options.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// Serves one client, and tells others at the door that they come too early.
fn serve_at(
    door: &Rc<Door>,
    timeline: &mut Timeline,
    stream: Stream,
    options: &ServeOptions,
) -> Result<Goodbye, SessionError> {
    let link = Link::new(stream, Arc::clone(&options.stop))?;
    link.minds(Rc::clone(door));
    let goodbye = serve_link(timeline, link, options);
    door.let_go();
    goodbye
}
