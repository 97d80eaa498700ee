//! A TCP proxy that delays, cuts, swallows and trickles (F19, F21, F27).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::process::free_address;
use crate::wait::{Dice, pause};

/// A listener on the loopback is woken at once.
const WAKE_WITHIN: Duration = Duration::from_secs(1);
/// Half of the exchanges pass.
const CARDS: u64 = 12;
/// After a connection that could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// What happens to one exchange of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Pass,
    /// The request arrives later.
    DelayRequest(u64),
    /// The answer arrives later.
    DelayAnswer(u64),
    /// Only so many bytes of the request arrive.
    CutRequest(usize),
    /// Only so many bytes of the answer arrive.
    CutAnswer(usize),
    /// No answer arrives.
    Swallow,
    /// The answer comes a few bytes at a time.
    Trickle,
}

/// Names in figures, in the order of [`Fault::number`].
pub const NAMES: [&str; 7] = [
    "passed",
    "request_delayed",
    "answer_delayed",
    "request_cut",
    "answer_cut",
    "answer_swallowed",
    "trickled",
];

/// Faults are dealt from a shuffled deck: none is missing for long, however few exchanges there are.
struct Deck {
    dice: Dice,
    cards: Vec<u64>,
}

impl Deck {
    fn deal(&mut self) -> Fault {
        if self.cards.is_empty() {
            self.cards = (0..CARDS).collect();
        }
        let index = self.dice.below(self.cards.len() as u64) as usize;
        Fault::of(self.cards.swap_remove(index), &mut self.dice)
    }
}

impl Fault {
    fn of(card: u64, dice: &mut Dice) -> Self {
        match card {
            0 => Self::DelayRequest(dice.below(500)),
            1 => Self::DelayAnswer(dice.below(500)),
            2 => Self::CutRequest(dice.below(1_500) as usize),
            3 => Self::CutAnswer(dice.below(400) as usize),
            4 => Self::Swallow,
            5 => Self::Trickle,
            _ => Self::Pass,
        }
    }

    fn number(self) -> usize {
        match self {
            Self::Pass => 0,
            Self::DelayRequest(_) => 1,
            Self::DelayAnswer(_) => 2,
            Self::CutRequest(_) => 3,
            Self::CutAnswer(_) => 4,
            Self::Swallow => 5,
            Self::Trickle => 6,
        }
    }
}

/// A running proxy; no more is taken once it is dropped, and its threads end with their connections.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    deck: Mutex<Deck>,
    is_hostile: AtomicBool,
    is_over: AtomicBool,
    counts: [AtomicU64; NAMES.len()],
}

impl Proxy {
    /// Listens in front of a target.
    ///
    /// # Errors
    /// Of the system.
    pub fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let address = free_address()?;
        let listener = TcpListener::bind(address)?;
        let shared = Shared {
            target,
            deck: Mutex::new(Deck { dice: Dice(seed), cards: Vec::new() }),
            is_hostile: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            counts: Default::default(),
        };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if serving.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else {
                    pause(ACCEPT_AGAIN);
                    continue;
                };
                let shared = Arc::clone(&serving);
                // A connection that breaks is what this is for.
                thread::spawn(move || drop(shared.relay(client)));
            }
        });
        Ok(Self { address, shared })
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        self.shared.is_hostile.store(false, Ordering::SeqCst);
    }

    /// Exchanges by what happened to them.
    pub fn counts(&self) -> [u64; NAMES.len()] {
        std::array::from_fn(|index| self.shared.counts[index].load(Ordering::SeqCst))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener; it may have ended.
        drop(TcpStream::connect_timeout(&self.address, WAKE_WITHIN));
    }
}

impl Shared {
    fn relay(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(self.target)?;
        let now = Arc::new(Mutex::new(Fault::Pass));
        let (answers, to_client, fault) = (server.try_clone()?, client.try_clone()?, Arc::clone(&now));
        thread::spawn(move || drop(answer(answers, to_client, &fault)));
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = client.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            let is_hostile = self.is_hostile.load(Ordering::SeqCst);
            let fault = if is_hostile { self.deck.lock().deal() } else { Fault::Pass };
            self.counts[fault.number()].fetch_add(1, Ordering::SeqCst);
            *now.lock() = fault;
            match fault {
                Fault::CutRequest(kept) => {
                    server.write_all(&bytes[..kept.min(count)])?;
                    break;
                }
                Fault::DelayRequest(ms) => pause(Duration::from_millis(ms)),
                _ => {}
            }
            server.write_all(&bytes[..count])?;
        }
        drop(server.shutdown(Shutdown::Both));
        client.shutdown(Shutdown::Both)
    }
}

/// Carries answers back.
fn answer(mut server: TcpStream, mut client: TcpStream, now: &Mutex<Fault>) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = server.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        let fault = *now.lock();
        match fault {
            Fault::Swallow => continue,
            Fault::CutAnswer(kept) => {
                client.write_all(&bytes[..kept.min(count)])?;
                break;
            }
            Fault::DelayAnswer(ms) => pause(Duration::from_millis(ms)),
            Fault::Trickle => {
                for piece in bytes[..count].chunks(7) {
                    client.write_all(piece)?;
                    pause(Duration::from_millis(1));
                }
                continue;
            }
            _ => {}
        }
        client.write_all(&bytes[..count])?;
    }
    drop(server.shutdown(Shutdown::Both));
    client.shutdown(Shutdown::Both)
}
