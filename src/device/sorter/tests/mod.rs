//! The task against a Modbus TCP server with a small PLC behind it.

mod faults;
mod numbering;
mod work;

use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::device::testing::{Station, until};
use crate::line::event::{PlcAttached, Request};
use crate::wire::plc::{
    CommandSlot, Discharge, PlcEvent, PlcEventKind, RegisterMap, decode_commands, encode_commands, next_seq,
    seq_distance,
};

/// The PLC's own memory; its registers are the station's.
#[derive(Default)]
struct Memory {
    unacknowledged: Vec<PlcEvent>,
    head: u16,
    taken: u16,
    beats: bool,
    takes: bool,
    answers_resync: bool,
}

#[derive(Clone)]
struct Plc {
    map: RegisterMap,
    station: Station,
    memory: Arc<Mutex<Memory>>,
}

const SLOTS: u16 = 64;

fn write(registers: &mut [u16], address: u16, words: &[u16]) {
    registers[usize::from(address)..][..words.len()].copy_from_slice(words);
}

fn program(map: &RegisterMap, memory: &mut Memory, registers: &mut [u16]) {
    if memory.beats {
        registers[100] = registers[100].wrapping_add(1);
    }
    let acknowledged = registers[2];
    if acknowledged != 0 {
        memory.unacknowledged.retain(|event| {
            let ahead = seq_distance(acknowledged, event.seq);
            ahead != 0 && ahead < 32_768
        });
    }
    if registers[3] != registers[103] && memory.answers_resync {
        let again = std::mem::take(&mut memory.unacknowledged);
        (memory.head, memory.taken) = (0, 0);
        for event in again {
            record(map, memory, registers, event);
        }
        record(map, memory, registers, of_track(PlcEventKind::Resynced, 0));
        write(registers, map.commands, &encode_commands(&[], map));
        registers[101] &= !0x40;
        registers[103] = registers[3];
    }
    let span = map.command_span();
    let words = &registers[usize::from(span.address)..][..usize::from(span.count)];
    let mut slots = decode_commands(words, map).unwrap();
    slots.retain(|slot| slot.seq != 0 && (1..32_768).contains(&seq_distance(memory.taken, slot.seq)));
    slots.sort_by_key(|slot| seq_distance(memory.taken, slot.seq));
    if memory.takes
        && let Some(last) = slots.last()
    {
        memory.taken = last.seq;
    }
    registers[102] = memory.taken;
    registers[104] = memory.head;
}

fn record(map: &RegisterMap, memory: &mut Memory, registers: &mut [u16], event: PlcEvent) {
    memory.head = next_seq(memory.head);
    let event = PlcEvent { seq: memory.head, ..event };
    write(registers, map.ring_address(event.seq), &event.encode(map));
    registers[104] = memory.head;
    memory.unacknowledged.push(event);
}

fn of_track(kind: PlcEventKind, track: u32) -> PlcEvent {
    PlcEvent { seq: 0, kind, track, encoder: track.wrapping_mul(100), carrier: 0, length_mm: 250 }
}

impl Plc {
    async fn start() -> Plc {
        let map = RegisterMap { ring_slots: SLOTS, ..RegisterMap::default() };
        let memory = Memory { beats: true, takes: true, answers_resync: true, ..Memory::default() };
        let (station, memory) = (Station::start().await, Arc::new(Mutex::new(memory)));
        let plc = Plc { map: map.clone(), station, memory: Arc::clone(&memory) };
        plc.registers(|registers| registers[109] = 7);
        plc.station.unit().program = Some(Box::new(move |registers, _| {
            program(&map, &mut memory.lock().unwrap(), registers);
        }));
        plc
    }

    fn registers<T>(&self, look: impl FnOnce(&mut Vec<u16>) -> T) -> T {
        look(&mut self.station.unit().registers)
    }

    fn memory<T>(&self, look: impl FnOnce(&mut Memory, &mut Vec<u16>) -> T) -> T {
        let mut unit = self.station.unit();
        look(&mut self.memory.lock().unwrap(), &mut unit.registers)
    }

    fn induct(&self, tracks: std::ops::RangeInclusive<u32>) {
        self.memory(|memory, registers| {
            for track in tracks {
                record(&self.map, memory, registers, of_track(PlcEventKind::Inducted, track));
            }
        });
    }

    fn acknowledged(&self) -> u16 {
        self.registers(|registers| registers[2])
    }
}

struct Rig {
    plc: Plc,
    events: Receiver<Event>,
    commands: mpsc::Sender<Command>,
    acks: watch::Sender<Option<PlcAck>>,
    stop: watch::Sender<bool>,
    board: Board,
    task: JoinHandle<()>,
}

fn settings(plc: &Plc) -> PlcDevice {
    PlcDevice {
        name: "plc".to_owned(),
        address: plc.station.address.clone(),
        unit: 1,
        poll_ms: 2,
        timeout_ms: 800,
        heartbeat_ms: 150,
        map: plc.map.clone(),
    }
}

impl Rig {
    fn start(plc: Plc, capacity: usize, ack: Option<PlcAck>) -> Rig {
        let settings = settings(&plc);
        Rig::with(plc, settings, capacity, ack)
    }

    fn with(plc: Plc, settings: PlcDevice, capacity: usize, ack: Option<PlcAck>) -> Rig {
        let (sender, events) = crossbeam_channel::bounded(capacity);
        let (commands, inbox) = mpsc::channel(64);
        let (acks, acks_seen) = watch::channel(ack);
        let (stop, stopped) = watch::channel(false);
        let board = Board::default();
        let sink = EventSink::new(sender);
        let task =
            tokio::spawn(run(settings, sink, inbox, acks_seen, board.clone(), Clock::default(), stopped));
        Rig { plc, events, commands, acks, stop, board, task }
    }

    /// The next event that is no encoder poll and no bitmap.
    async fn next(&self) -> Event {
        let mut came = None;
        until("an event", || {
            while let Ok(event) = self.events.try_recv() {
                if !matches!(event, Event::Encoder(_) | Event::ChuteBits { .. }) {
                    came = Some(event);
                    return true;
                }
            }
            false
        })
        .await;
        came.unwrap()
    }

    async fn attached(&self) -> PlcAttached {
        match self.next().await {
            Event::PlcAttached(attached) => attached,
            other => panic!("expected PlcAttached, came {other:?}"),
        }
    }

    async fn record(&self) -> PlcEvent {
        match self.next().await {
            Event::Plc(event) => event,
            other => panic!("expected a ring record, came {other:?}"),
        }
    }

    async fn tracks(&self, count: usize) -> Vec<(u16, u32)> {
        let mut tracks = Vec::new();
        for _ in 0..count {
            let event = self.record().await;
            tracks.push((event.seq, event.track));
        }
        tracks
    }

    /// Nothing but encoder polls comes over the next polls.
    async fn nothing_more(&self) {
        let polls = self.board.snapshot().0["plc"].good;
        until("ten polls", || {
            while let Ok(event) = self.events.try_recv() {
                let expected = matches!(event, Event::Encoder(_) | Event::ChuteBits { .. });
                assert!(expected, "came {event:?}");
            }
            self.board.snapshot().0["plc"].good >= polls + 10
        })
        .await;
    }

    fn faults(&self, kind: &str) -> u64 {
        let devices = self.board.snapshot().0;
        devices.get("plc").and_then(|health| health.faults.get(kind)).copied().unwrap_or(0)
    }

    fn durable(&self, seq: u16) {
        self.acks.send_replace(Some(PlcAck { epoch: 7, seq }));
    }

    async fn end(self) -> Plc {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.plc
    }
}

fn divert(seq: u16, track: u32) -> Command {
    Command::Divert(CommandSlot { seq, track, chute: 5, ..CommandSlot::default() })
}

impl Rig {
    fn only_one_command(&self) {
        let written = self
            .plc
            .registers(|registers| decode_commands(&registers[300..396], &RegisterMap::default()).unwrap());
        assert_eq!(written.iter().filter(|slot| slot.seq != 0).count(), 1);
    }
}
