//! The connection to one client: bytes out, bytes in, and whether somebody pressed Ctrl-C.
//!
//! It is shared: gdbstub writes to it, the session reads from it, and whatever runs for long looks into it now and then.
//! It knows nothing of packets but where they begin, what acknowledges them, and how an interrupt looks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags};

use crate::door::Door;
use crate::refusal;
use crate::stream::{Stream, readable, ready};
use crate::timing::Begun;

/// What gdb sends for Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// What acknowledges a packet.
const ACKNOWLEDGED: u8 = b'+';
/// What asks for a packet again. gdb does so when it waits for long.
const AGAIN: u8 = b'-';
/// What a packet begins with, and nothing else within it.
const PACKET: u8 = b'$';
/// What comes after the body of a packet, before the two digits of its checksum.
const CHECKSUM: u8 = b'#';
/// A packet without text for the person: whoever waits for an answer hears that there will be one.
const WAIT_MORE: &[u8] = b"$O#4f";
/// How often that is said: gdb asks again after two seconds.
const SAY_WAIT: Duration = Duration::from_secs(1);
/// Bytes of what a client sends ahead of the answer that are kept; what is more stays in the socket.
const AHEAD_BYTES: usize = 1 << 16;
/// How often a wait looks whether the server is to stop, and whether somebody else is at the door.
const WAIT: Duration = Duration::from_millis(100);
/// So many waits is the last acknowledgement worth.
const FAREWELL_WAITS: u32 = 20;
/// A client that reads nothing for so many waits, half a minute, is given up.
const WAITS_TO_WRITE: u32 = 300;

/// A connection to a client. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct Link(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    /// Why the request at hand is refused.
    refusal: Option<String>,
    closed: bool,
    stop: Arc<AtomicBool>,
    /// The client has acknowledged something: it does so always.
    acknowledges: bool,
    /// Packets that have been sent and not been acknowledged.
    unacknowledged: usize,
    /// Since when the client, which waits for the answer to a command, has heard nothing; and whether it has sent nothing after
    /// that command yet.
    waits: Option<(Begun, bool)>,
    /// Where in a packet the last byte that was taken is.
    within: Within,
    /// Where others come that cannot be served meanwhile.
    door: Option<Rc<Door>>,
}

/// Where in a packet the bytes are that the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Between two packets.
    Nothing,
    Body,
    /// In the checksum, of which so many digits are to come.
    Digits(u8),
}

impl Within {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, PACKET) => Self::Body,
            (Self::Body, CHECKSUM) => Self::Digits(2),
            (Self::Digits(2), _) => Self::Digits(1),
            (Self::Digits(_), _) => Self::Nothing,
            (same, _) => same,
        }
    }
}

impl Link {
    /// A link over a connected socket. Setting `stop` ends it as if the client had gone.
    ///
    /// # Errors
    /// The socket refuses its options.
    pub fn new(stream: Stream, stop: Arc<AtomicBool>) -> io::Result<Self> {
        stream.prepare()?;
        Ok(Self(Rc::new(RefCell::new(Inner {
            stream,
            incoming: VecDeque::new(),
            outgoing: Vec::new(),
            refusal: None,
            closed: false,
            stop,
            acknowledges: false,
            unacknowledged: 0,
            waits: None,
            within: Within::Nothing,
            door: None,
        }))))
    }

    /// Tells whoever comes to `door` meanwhile that they cannot be served.
    pub(crate) fn minds(&self, door: Rc<Door>) {
        self.0.borrow_mut().door = Some(door);
    }

    /// The next byte; waits for it. `None` when the client has gone or the server is to stop.
    ///
    /// # Errors
    /// The socket fails.
    pub fn next_byte(&self) -> io::Result<Option<u8>> {
        self.0.borrow_mut().next_byte()
    }

    /// Whether whatever runs is to stop: somebody pressed Ctrl-C, has gone, or the server is to stop. Does not wait.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.0.borrow_mut().is_interrupted()
    }

    /// A command is about to be carried out whose answer the client waits for. It hears that the command has come, so that it
    /// does not send it again; if it sends another one meanwhile, it waits no more, and whatever runs is to stop.
    ///
    /// # Errors
    /// The socket fails.
    pub fn begin_command(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.send()?;
        inner.receive_ahead();
        // Who sends ahead has not given up anything.
        let alone = inner.ahead().is_none();
        inner.waits = Some((Begun::now(), alone));
        Ok(())
    }

    /// The command has been carried out; its answer comes next.
    pub fn end_command(&self) {
        let mut inner = self.0.borrow_mut();
        inner.receive_ahead();
        // What has been acknowledged so far is no answer.
        let early = inner.ahead().map_or(inner.incoming.len(), |(index, _)| index);
        let heard = inner.incoming.drain(..early).filter(|byte| *byte == ACKNOWLEDGED).count();
        inner.acknowledges |= heard > 0;
        (inner.waits, inner.unacknowledged) = (None, 0);
    }

    /// Whether the client begins another packet without having heard the last answer: it has given up waiting for that. To be
    /// asked at the first byte of a packet.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        inner.acknowledges && std::mem::take(&mut inner.unacknowledged) > 0
    }

    /// Waits, not for long, until the client has acknowledged the last answer or has gone: one that finds the connection closed
    /// before it could takes its farewell for a failure.
    ///
    /// # Errors
    /// The socket fails.
    pub fn farewell(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.send()?;
        if !inner.acknowledges {
            return Ok(());
        }
        for _ in 0..FAREWELL_WAITS {
            inner.receive_ahead();
            let heard = inner.incoming.drain(..).filter(|byte| *byte == ACKNOWLEDGED).count();
            inner.unacknowledged = inner.unacknowledged.saturating_sub(heard);
            if inner.unacknowledged == 0 || inner.closed || inner.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            readable(&inner.stream, WAIT)?;
        }
        Ok(())
    }

    /// Text for the person at gdb, while gdb waits for a run to stop.
    ///
    /// # Errors
    /// The socket fails.
    pub fn say(&self, text: &str) -> io::Result<()> {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut inner = self.0.borrow_mut();
        inner.send()?;
        inner.outgoing = refusal::packet(format!("O{hex}").as_bytes());
        inner.send()
    }

    /// Leaves the words for the next reply that only says that something is refused.
    pub fn refuse(&self, text: &str) {
        self.0.borrow_mut().refusal = Some(text.to_owned());
    }

    /// Sends what has been written so far.
    ///
    /// # Errors
    /// The socket fails.
    pub fn send(&self) -> io::Result<()> {
        self.0.borrow_mut().send()
    }
}

impl Inner {
    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            if let Some(byte) = self.incoming.pop_front() {
                let between = self.within == Within::Nothing;
                self.within = self.within.after(byte);
                if between && byte == ACKNOWLEDGED {
                    self.acknowledges = true;
                    self.unacknowledged = self.unacknowledged.saturating_sub(1);
                }
                // Nothing gets lost on the way: what is asked for again is there, or will be.
                if between && byte == AGAIN {
                    continue;
                }
                return Ok(Some(byte));
            }
            if self.closed || self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if readable(&self.stream, WAIT)? {
                self.receive()?;
            }
            self.mind_the_door();
        }
    }

    fn mind_the_door(&self) {
        if let Some(door) = &self.door {
            door.see_who_is_there(|| self.has_gone());
        }
    }

    /// Whether the client has gone, even if what it has said before is still to be read.
    fn has_gone(&self) -> bool {
        self.closed || ready(&self.stream, PollFlags::RDHUP, Duration::ZERO).unwrap_or(true)
    }

    /// Takes in what the socket has; the socket has something.
    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.closed = true,
            Ok(count) => self.incoming.extend(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.closed = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn is_interrupted(&mut self) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return true;
        }
        self.receive_ahead();
        self.mind_the_door();
        match (self.ahead(), &self.waits) {
            (Some((index, INTERRUPT)), _) => {
                self.incoming.remove(index);
                true
            }
            (Some((_, PACKET)), Some((_, true))) if self.acknowledges => true,
            (_, Some((since, _))) if since.elapsed() >= SAY_WAIT => self.say_wait().is_err() || self.closed,
            _ => self.closed,
        }
    }

    /// Lets whoever waits for an answer hear that there will be one.
    fn say_wait(&mut self) -> io::Result<()> {
        if let Some((since, _)) = &mut self.waits {
            *since = Begun::now();
        }
        self.write_all(WAIT_MORE)
    }

    /// The first byte that waits and says nothing of a packet. gdb sends none but an interrupt while the machine runs.
    fn ahead(&self) -> Option<(usize, u8)> {
        self.incoming.iter().copied().enumerate().find(|(_, byte)| !matches!(*byte, ACKNOWLEDGED | AGAIN))
    }

    /// Takes in what the socket has, if it has anything.
    fn receive_ahead(&mut self) {
        while self.incoming.len() < AHEAD_BYTES {
            let mut bytes = [0; 4096];
            match rustix::net::recv(&self.stream, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.closed = true;
                    break;
                }
                Ok((count, _)) => self.incoming.extend(&bytes[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let acks = self.outgoing.iter().take_while(|byte| **byte == ACKNOWLEDGED).count();
        if let Some(text) = self.refusal.take()
            && let Some(words) = refusal::in_words(&self.outgoing[acks..], &text)
        {
            self.outgoing.truncate(acks);
            self.outgoing.extend(words);
        }
        let packets = self.outgoing.iter().filter(|byte| **byte == PACKET).count();
        self.unacknowledged = self.unacknowledged.saturating_add(packets);
        let bytes = std::mem::take(&mut self.outgoing);
        self.write_all(&bytes)
    }

    /// Writes as fast as the client reads, unless it does not read at all or the server is to stop.
    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut waits = 0;
        while !bytes.is_empty() {
            match rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    waits = 0;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if waits == WAITS_TO_WRITE || self.stop.load(Ordering::Relaxed) {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    waits += 1;
                    ready(&self.stream, PollFlags::OUT, WAIT)?;
                    self.mind_the_door();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl gdbstub::conn::Connection for Link {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.0.borrow_mut().outgoing.push(byte);
        Ok(())
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().outgoing.extend_from_slice(buf);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Link::new(Stream::Unix(ours), Arc::default()).unwrap(), theirs)
    }

    #[test]
    fn ctrl_c_is_heard_and_taken_out_of_what_follows() {
        let (link, mut client) = pair();
        assert!(!link.is_interrupted());
        client.write_all(b"+\x03$?#3f").unwrap();
        assert!(link.is_interrupted());
        assert!(!link.is_interrupted());
        let read: Vec<u8> = (0..5).map(|_| link.next_byte().unwrap().unwrap()).collect();
        assert_eq!(read, b"+$?#3");
    }

    #[test]
    fn who_acknowledges_and_sends_another_packet_has_given_up_the_answer() {
        let (mut link, mut client) = pair();
        let answer = |link: &mut Link| {
            gdbstub::conn::Connection::write_all(link, b"$O41#00$OK#9a").unwrap();
            gdbstub::conn::Connection::flush(link).unwrap();
        };
        client.write_all(b"+").unwrap();
        assert_eq!(link.next_byte().unwrap(), Some(b'+'));
        link.begin_command().unwrap();
        assert!(!link.is_interrupted());
        // It asks for the answer again, and acknowledges what it has not had: it waits.
        client.write_all(b"--+").unwrap();
        assert!(!link.is_interrupted());
        client.write_all(b"$?#3f").unwrap();
        assert!(link.is_interrupted(), "it waits no more");
        link.end_command();
        assert!(!link.is_interrupted());
        answer(&mut link);
        assert_eq!(link.next_byte().unwrap(), Some(b'$'));
        assert!(link.gave_up() && !link.gave_up());
        // Who has heard the whole answer has not.
        answer(&mut link);
        client.write_all(b"++").unwrap();
        while link.next_byte().unwrap() != Some(b'+') {}
        assert_eq!(link.next_byte().unwrap(), Some(b'+'));
        assert!(!link.gave_up());
        // A packet that was there before the command says nothing.
        client.write_all(b"$?#3f").unwrap();
        link.begin_command().unwrap();
        assert!(!link.is_interrupted());
    }

    #[test]
    fn who_acknowledges_nothing_has_given_up_nothing() {
        let (mut link, mut client) = pair();
        gdbstub::conn::Connection::write_all(&mut link, b"$OK#9a").unwrap();
        gdbstub::conn::Connection::flush(&mut link).unwrap();
        link.begin_command().unwrap();
        client.write_all(b"$?#3f").unwrap();
        assert!(!link.is_interrupted() && !link.gave_up());
    }

    #[test]
    fn a_farewell_waits_for_its_acknowledgement_or_for_the_end() {
        for goes in [false, true] {
            let (mut link, mut client) = pair();
            client.write_all(b"+").unwrap();
            assert_eq!(link.next_byte().unwrap(), Some(b'+'));
            gdbstub::conn::Connection::write_all(&mut link, b"$OK#9a").unwrap();
            gdbstub::conn::Connection::flush(&mut link).unwrap();
            if goes {
                drop(client);
                link.farewell().unwrap();
            } else {
                client.write_all(b"+").unwrap();
                link.farewell().unwrap();
                assert!(!link.gave_up());
            }
        }
    }

    #[test]
    fn what_asks_for_a_packet_again_is_heard_between_packets_only() {
        let (link, mut client) = pair();
        client.write_all(b"-$m-1#-1-+$").unwrap();
        let read: Vec<u8> = (0..9).map(|_| link.next_byte().unwrap().unwrap()).collect();
        assert_eq!(read, b"$m-1#-1+$");
    }

    #[test]
    fn who_finds_an_answer_late_is_heard_all_the_same_and_packets_keep_every_byte() {
        let (link, mut client) = pair();
        client.write_all(b"--\x03").unwrap();
        assert!(link.is_interrupted());
        client.write_all(b"-+$vCont;s:-1#-c-$?#3f").unwrap();
        let read: Vec<u8> = (0..20).map(|_| link.next_byte().unwrap().unwrap()).collect();
        assert_eq!(read, b"+$vCont;s:-1#-c$?#3f");
    }

    #[test]
    fn a_three_within_a_packet_is_no_interrupt() {
        let (link, mut client) = pair();
        client.write_all(b"$X0,1:\x03#00").unwrap();
        assert!(!link.is_interrupted());
    }

    #[test]
    fn a_client_that_goes_interrupts_what_runs_and_ends_the_bytes() {
        let (link, mut client) = pair();
        client.write_all(b"a").unwrap();
        drop(client);
        assert!(link.is_interrupted());
        assert_eq!(link.next_byte().unwrap(), Some(b'a'));
        assert_eq!(link.next_byte().unwrap(), None);
    }

    #[test]
    fn a_refusal_leaves_in_words_after_its_acknowledgement() {
        let (mut link, mut client) = pair();
        link.refuse("this is why");
        gdbstub::conn::Connection::write_all(&mut link, b"+$E1e#db").unwrap();
        gdbstub::conn::Connection::flush(&mut link).unwrap();
        let mut start = [0; 12];
        client.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"+$E.this is ");
    }
}
