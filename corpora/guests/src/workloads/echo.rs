//! A workload for a person: a prompt on the serial port that echoes what is typed, by interrupts, and idles in between.
//!
//! It knows `sleep N` (N hundredths of a second), `time` (hundredths of a second since it started) and `quit`, which
//! passes. What else is typed it says back.
#![no_std]
#![no_main]

use kit::{cpu, get, irq, pit, set, verdict};

kit::guest!(main);

const TIMER_HZ: u32 = 100;
/// Vector of IRQ 4, the serial port.
const SERIAL: u8 = 36;
/// Interrupt mask register of the first 8259.
const PIC_MASK: u16 = 0x21;
const PORT: u16 = 0x3f8;
const DATA_READY: u8 = 1;
const QUEUE_BYTES: usize = 256;
const LINE_BYTES: usize = 80;

/// Timer interrupts so far.
#[unsafe(no_mangle)]
pub static mut TICKS: u32 = 0;
/// What was received and not read yet, from `READ` to `RECEIVED`, modulo its length.
static mut QUEUE: [u8; QUEUE_BYTES] = [0; QUEUE_BYTES];
static mut RECEIVED: usize = 0;
static mut READ: usize = 0;

macro_rules! print {
    ($($text:tt)*) => { kit::serial::print(format_args!($($text)*)) };
}

fn main() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(tick));
    irq::install(SERIAL, irq::Handler::Plain(receive));
    cpu::outb(PIC_MASK, !(1 | 1 << 4));
    cpu::outb(PORT + 1, 1); // received data interrupts
    pit::periodic(TIMER_HZ);
    cpu::sti();

    print!("echo: say something\r\n");
    let mut line = [0; LINE_BYTES];
    loop {
        print!("> ");
        let length = read_line(&mut line);
        answer(&line[..length]);
    }
}

fn answer(line: &[u8]) {
    let text = core::str::from_utf8(line).unwrap_or("(no text)");
    let hundredths = text.strip_prefix("sleep ").and_then(|number| number.parse::<u32>().ok());
    if let Some(hundredths) = hundredths {
        let start = get!(TICKS);
        while get!(TICKS).wrapping_sub(start) < hundredths {
            cpu::hlt();
        }
        print!("slept\r\n");
    } else if text == "time" {
        print!("{}\r\n", get!(TICKS));
    } else if text == "quit" {
        verdict!(true, "after {} interrupts of the timer", get!(TICKS));
    } else if !text.is_empty() {
        print!("you said {text}\r\n");
    }
}

/// Reads up to an end of line, echoing; returns the length.
fn read_line(line: &mut [u8; LINE_BYTES]) -> usize {
    let mut length = 0;
    loop {
        match next_byte() {
            b'\r' | b'\n' => {
                print!("\r\n");
                return length;
            }
            0x03 => {
                print!("^C\r\n");
                return 0;
            }
            0x08 | 0x7f if length > 0 => {
                length -= 1;
                print!("\x08 \x08");
            }
            byte if byte >= b' ' && length < LINE_BYTES => {
                line[length] = byte;
                length += 1;
                print!("{}", byte as char);
            }
            _ => {}
        }
    }
}

fn next_byte() -> u8 {
    loop {
        cpu::cli();
        let read = get!(READ);
        if read != get!(RECEIVED) {
            set!(READ, (read + 1) % QUEUE_BYTES);
            cpu::sti();
            return get!(QUEUE[read]);
        }
        cpu::sti_hlt();
    }
}

/// The serial port's interrupt: empties the port into the queue. What does not fit is lost.
fn receive() {
    while cpu::inb(PORT + 5) & DATA_READY != 0 {
        let byte = cpu::inb(PORT);
        let received = get!(RECEIVED);
        let next = (received + 1) % QUEUE_BYTES;
        if next != get!(READ) {
            set!(QUEUE[received], byte);
            set!(RECEIVED, next);
        }
    }
    irq::end_of_interrupt();
}

fn tick() {
    set!(TICKS, get!(TICKS).wrapping_add(1));
    irq::end_of_interrupt();
}
