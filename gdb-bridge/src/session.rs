//! One client's packets, from the first to the last.

use std::sync::Arc;

use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStubBuilder, MultiThreadStopReason};
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use replayvm::timeline::Timeline;

use crate::architecture::Architecture;
use crate::link::Link;
use crate::registers::{self, RegisterId};
use crate::server::ServeOptions;
use crate::stream::Stream;
use crate::target::{ReplayTarget, TargetFailure};
use crate::thread::VCPU;
use crate::timing::Begun;

/// Bytes of the largest packet. It bounds what gdb reads of memory at a time.
const PACKET_BYTES: usize = 1 << 16;
/// Registers that gdb always wants to know after a stop: sent with it, they save a round trip a step.
const EXPEDITED: [[&str; 4]; 2] = [["rip", "rsp", "rbp", "eflags"], ["eip", "esp", "ebp", "eflags"]];

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// gdb took its leave.
    Detached,
    /// gdb was told to kill the target. The recording lives on.
    Killed,
    /// The client has gone without a word, or the server is to stop.
    Gone,
}

/// Why a session was ended from our side.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection.
    #[error("the connection to gdb failed")]
    Connection(#[from] std::io::Error),
    /// The client does not speak the protocol.
    #[error("the client does not speak gdb's remote protocol: {0}")]
    Protocol(String),
}

/// Serves one client until it goes. The cursor stays where it is left.
///
/// # Errors
/// The connection fails, or the client sends what is not gdb's remote protocol.
pub fn serve_client(
    timeline: &mut Timeline,
    stream: Stream,
    options: &ServeOptions,
) -> Result<Goodbye, SessionError> {
    serve_link(timeline, Link::new(stream, Arc::clone(&options.stop))?, options)
}

/// The same over a link.
pub(crate) fn serve_link(
    timeline: &mut Timeline,
    link: Link,
    options: &ServeOptions,
) -> Result<Goodbye, SessionError> {
    let mut target = ReplayTarget::new(timeline, Arc::clone(&options.symbols), link.clone());
    target.shown.wanted = options.architecture;
    let stub = GdbStubBuilder::new(link.clone()).packet_buffer_size(PACKET_BYTES).build();
    let stub = stub.map_err(|error| SessionError::Protocol(error.to_string()))?;
    let mut state = stub.run_state_machine(&mut target).map_err(protocol)?;
    loop {
        state = match state {
            GdbStubStateMachine::Idle(idle) => {
                let Some(byte) = link.next_byte()? else { return Ok(Goodbye::Gone) };
                target.read_budget = crate::memory::READ_BYTES_MAX;
                if byte == b'$' {
                    target.next_packet();
                }
                idle.incoming_data(&mut target, byte).map_err(protocol)?
            }
            GdbStubStateMachine::Running(running) => {
                // The command's acknowledgement does not wait for what the command takes.
                link.send()?;
                let reason = match target.perform() {
                    Ok(reason) => {
                        if let MultiThreadStopReason::ReplayLog { pos: ReplayLogPosition::End, .. } = reason
                            && let Some(words) = target.over_text()
                        {
                            link.say(&words)?;
                        }
                        reason
                    }
                    Err(error) => {
                        tracing::warn!(error = crate::monitor::chain(&error), "replay failed");
                        link.say(&format!("replay failed: {}\n", crate::monitor::chain(&error)))?;
                        MultiThreadStopReason::SignalWithThread { tid: VCPU, signal: Signal::SIGABRT }
                    }
                };
                let values = expedited(target.timeline, target.shown.now());
                let mut registers = values.iter().map(|(id, value)| (*id, value.as_slice()));
                running.report_stop_with_regs(&mut target, reason, &mut registers).map_err(protocol)?
            }
            // Whoever interrupts a machine that stands has been overtaken by the stop: there is nothing to report yet.
            GdbStubStateMachine::CtrlCInterrupt(interrupt) => {
                target.overtaken = Some(Begun::now());
                let nothing = None::<MultiThreadStopReason<u64>>;
                interrupt.interrupt_handled(&mut target, nothing).map_err(protocol)?
            }
            GdbStubStateMachine::Disconnected(ended) => {
                // Whoever has gone already needs no farewell.
                let _ = link.farewell();
                return Ok(match ended.get_reason() {
                    DisconnectReason::Disconnect => Goodbye::Detached,
                    _ => Goodbye::Killed,
                });
            }
        };
    }
}

fn expedited(timeline: &Timeline, architecture: Architecture) -> Vec<(RegisterId, Vec<u8>)> {
    let names = EXPEDITED.iter().flatten().filter_map(|name| {
        let id = RegisterId::by_name(architecture, name)?;
        Some((id, id.register(architecture)?))
    });
    // Flags have one name in both.
    let mut values: Vec<(RegisterId, Vec<u8>)> = Vec::new();
    for (id, register) in names {
        if values.iter().all(|(known, _)| *known != id) {
            let value = registers::value(timeline, register).to_le_bytes();
            values.push((id, value[..register.bytes()].to_vec()));
        }
    }
    values
}

fn protocol(error: gdbstub::stub::GdbStubError<TargetFailure, std::io::Error>) -> SessionError {
    let text = error.to_string();
    match error.into_connection_error() {
        Some((error, _)) => SessionError::Connection(error),
        None => SessionError::Protocol(text),
    }
}
