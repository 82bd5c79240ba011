//! The task against a Modbus TCP server that behaves as a TBEN channel.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;
use tokio::task::JoinHandle;

use super::*;
use crate::device::testing::{Station, until};
use crate::site::ReaderId;
use crate::wire::tben::encode_blocks;

/// One channel's head.
#[derive(Default)]
struct Head {
    image: Input,
    /// Tags collected and not handed out.
    fifo: Vec<Vec<u8>>,
    /// Fragments of the answer.
    answer: Vec<Vec<u8>>,
    continuous: bool,
    /// Looks for which an answer stays BUSY.
    busy_for: u32,
    /// Answers with the loop counter of the question before.
    counter_behind: bool,
    answers: u64,
}

impl Head {
    fn take(&mut self, output: Output) {
        match output.command {
            CONTINUOUS => {
                self.continuous = output.start == GROUP_EPCS;
                self.image.response = CONTINUOUS;
            }
            GET_DATA => {
                if output.loop_counter != self.image.loop_counter {
                    self.answer = encode_blocks(&std::mem::take(&mut self.fifo));
                    self.image.loop_counter = output.loop_counter.wrapping_sub(u8::from(self.counter_behind));
                    self.image.length =
                        u16::try_from(self.answer.iter().map(Vec::len).sum::<usize>()).unwrap();
                    self.answers += 1;
                }
                self.image.response = GET_DATA;
                self.image.read_fragment = output.read_fragment;
                let fragment = self.answer.get(usize::from(output.read_fragment));
                self.image.data = fragment.cloned().unwrap_or_default();
            }
            _ => self.continuous = false,
        }
    }

    fn show(&mut self) -> [u16; 76] {
        self.image.bytes_waiting = if self.continuous {
            u16::try_from(self.fifo.iter().map(|epc| epc.len() + 2).sum::<usize>()).unwrap()
        } else {
            0
        };
        self.image.busy = self.image.response == GET_DATA && self.busy_for > 0;
        if self.image.busy {
            self.busy_for -= 1;
        }
        self.image.encode()
    }
}

struct Rig {
    station: Station,
    head: Arc<Mutex<Head>>,
    events: Receiver<Event>,
    board: Board,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    async fn start(same_tag_ms: u32) -> Rig {
        let station = Station::start().await;
        let head = Arc::new(Mutex::new(Head::default()));
        head.lock().unwrap().image.loop_counter = 200;
        let behind = Arc::clone(&head);
        let (input, output) = (0x4C, 0x084C);
        station.unit().program = Some(Box::new(move |registers, written| {
            let mut head = behind.lock().unwrap();
            if written.is_some_and(|(address, _)| address == 0x084C) {
                head.take(Output::decode(&registers[output..output + 12]).unwrap());
            }
            registers[input..input + 76].copy_from_slice(&head.show());
        }));
        let (sender, events) = crossbeam_channel::bounded(64);
        let (stop, stopped) = watch::channel(false);
        let board = Board::default();
        let settings = GateDevice {
            name: "gate-1".to_owned(),
            reader: ReaderId(9),
            address: station.address.clone(),
            unit: 1,
            channel: 2,
            poll_ms: 2,
            timeout_ms: 800,
            same_tag_ms,
        };
        let sink = EventSink::new(sender);
        let task = tokio::spawn(run(settings, sink, board.clone(), Clock::default(), stopped));
        Rig { station, head, events, board, stop, task }
    }

    fn head(&self) -> std::sync::MutexGuard<'_, Head> {
        self.head.lock().unwrap()
    }

    async fn next(&self) -> Event {
        let mut came = None;
        until("an event", || {
            came = self.events.try_recv().ok();
            came.is_some()
        })
        .await;
        came.unwrap()
    }

    async fn tags(&self) -> Vec<Vec<u8>> {
        let Event::Heard(heard) = self.next().await else { panic!("expected tags") };
        assert_eq!(heard.reader, ReaderId(9));
        heard
            .readings
            .into_iter()
            .map(|reading| match reading {
                Reading::Tag { epc } => epc,
                Reading::Barcode { .. } => panic!("expected a tag"),
            })
            .collect()
    }

    async fn up(&self) {
        assert_eq!(self.next().await, state(true));
    }

    fn faults(&self, kind: &str) -> u64 {
        let devices = self.board.snapshot().0;
        devices.get("gate-1").and_then(|health| health.faults.get(kind)).copied().unwrap_or(0)
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

fn state(up: bool) -> Event {
    Event::DeviceState { device: "gate-1".to_owned(), up }
}

fn epc(number: u8) -> Vec<u8> {
    vec![0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
}

#[tokio::test]
async fn tags_are_fetched_over_several_fragments() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    let all: Vec<_> = (1..=30).map(epc).collect();
    let before = Clock::default().now();
    rig.head().fifo.clone_from(&all);
    let Event::Heard(heard) = rig.next().await else { panic!("expected tags") };
    assert!(heard.at >= Tick(before.0.saturating_sub(1_000)) && heard.at <= Clock::default().now());
    assert_eq!(heard.readings.len(), 30);
    assert_eq!(heard.readings[29], Reading::Tag { epc: epc(30) });
    assert_eq!(rig.head().answers, 1);
    rig.end().await;
}

#[tokio::test]
async fn a_tag_that_stays_is_one_arrival() {
    let rig = Rig::start(60_000).await;
    rig.up().await;
    rig.head().fifo = vec![epc(1)];
    assert_eq!(rig.tags().await, [epc(1)]);
    rig.head().fifo = vec![epc(1)];
    until("it was fetched again", || rig.head().answers == 2).await;
    rig.head().fifo = vec![epc(1), epc(2)];
    assert_eq!(rig.tags().await, [epc(2)]);
    rig.end().await;
}

#[tokio::test]
async fn a_busy_answer_is_waited_for() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    rig.head().busy_for = 5;
    rig.head().fifo = vec![epc(1)];
    assert_eq!(rig.tags().await, [epc(1)]);
    rig.end().await;
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_taken() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    rig.head().counter_behind = true;
    rig.head().fifo = vec![epc(1)];
    assert_eq!(rig.next().await, state(false));
    assert_eq!(rig.faults("no_answer"), 1);
    rig.head().counter_behind = false;
    rig.up().await;
    rig.head().fifo = vec![epc(2)];
    assert_eq!(rig.tags().await, [epc(2)]);
    rig.end().await;
}

#[tokio::test]
async fn what_the_head_says_of_itself_is_told() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    rig.head().image.detuned = true;
    until("detuned", || rig.board.snapshot().0["gate-1"].state == Ne107::OutOfSpecification).await;
    rig.head().image.head_missing = true;
    assert_eq!(rig.next().await, state(false));
    assert_eq!(rig.board.snapshot().0["gate-1"].state, Ne107::Failure);
    rig.head().image = Input { loop_counter: 200, ..Input::default() };
    rig.up().await;
    rig.head().image.error = true;
    until("the device's error", || rig.faults("device_error") == 1).await;
    rig.end().await;
}

#[tokio::test]
async fn a_lost_gate_comes_back_in_continuous_mode() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    rig.station.cut().await;
    assert_eq!(rig.next().await, state(false));
    rig.head().continuous = false;
    rig.station.mend().await;
    rig.up().await;
    rig.head().fifo = vec![epc(7)];
    assert_eq!(rig.tags().await, [epc(7)]);
    rig.end().await;
}

#[tokio::test]
async fn a_late_answer_costs_the_connection() {
    let rig = Rig::start(1_000).await;
    rig.up().await;
    rig.station.unit().delays = vec![Duration::from_millis(1_500)];
    assert_eq!(rig.next().await, state(false));
    assert_eq!(rig.faults("timeout"), 1);
    rig.up().await;
    rig.head().fifo = vec![epc(3)];
    assert_eq!(rig.tags().await, [epc(3)]);
    rig.end().await;
}
