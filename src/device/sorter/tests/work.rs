//! The ordinary day: attaching, polling, commands, requests.

use super::*;

#[tokio::test]
async fn it_attaches_reads_on_and_acknowledges_only_what_is_durable() {
    let plc = Plc::start().await;
    plc.induct(1..=5);
    plc.registers(|registers| registers[2] = 2);
    let rig = Rig::start(plc, 64, None);
    let attached = rig.attached().await;
    assert_eq!((attached.epoch, attached.acknowledged, attached.head, attached.taken), (7, 2, 5, 0));
    assert_eq!(attached.table, vec![CommandSlot::default(); 16]);
    assert_eq!(rig.tracks(3).await, [(3, 3), (4, 4), (5, 5)]);
    rig.nothing_more().await;
    assert_eq!(rig.plc.acknowledged(), 2, "nothing is durable yet");
    rig.durable(4);
    until("register 2 = 4", || rig.plc.acknowledged() == 4).await;
    rig.acks.send_replace(Some(PlcAck { epoch: 6, seq: 5 }));
    rig.nothing_more().await;
    assert_eq!(rig.plc.acknowledged(), 4, "another epoch's word means nothing");
    rig.end().await;
}

#[tokio::test]
async fn encoder_polls_carry_midpoint_and_round_trip() {
    let plc = Plc::start().await;
    plc.registers(|registers| registers[106..109].copy_from_slice(&[1, 2, 2_500]));
    let clock = Clock::default();
    let before = clock.now();
    let rig = Rig::start(plc, 64, None);
    let encoder = rig.attached().await.encoder;
    let after = clock.now();
    assert_eq!((encoder.pulses, encoder.speed_mm_s), (0x1_0002, 2_500));
    let half = u64::from(encoder.round_trip_us) / 2;
    assert!(encoder.at.0 >= before.0 + half && encoder.at.0 + half <= after.0);
    rig.end().await;
}

#[tokio::test]
async fn a_command_is_in_the_table_and_full_slots_make_others_wait() {
    let plc = Plc::start().await;
    plc.memory(|memory, _| memory.takes = false);
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    for seq in 1..=18 {
        rig.commands.send(divert(seq, u32::from(seq) + 100)).await.unwrap();
    }
    let table = || {
        rig.plc.registers(|registers| decode_commands(&registers[300..396], &RegisterMap::default()).unwrap())
    };
    until("16 slots written", || table().iter().all(|slot| slot.seq != 0)).await;
    rig.nothing_more().await;
    assert_eq!((table()[1].seq, table()[0].seq, table()[1].track), (1, 16, 101));
    rig.plc.memory(|memory, _| memory.takes = true);
    until("those that waited", || table()[1].seq == 17 && table()[2].seq == 18).await;
    assert_eq!(rig.next().await, Event::CommandsTaken(16));
    assert_eq!(rig.next().await, Event::CommandsTaken(18));
    rig.end().await;
}

#[tokio::test]
async fn requests_are_written_and_stopping_asks_for_no_more_parcels() {
    let plc = Plc::start().await;
    plc.registers(|registers| registers[1] = 0x0102);
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    until("a heartbeat", || rig.plc.registers(|registers| registers[0] > 0)).await;
    assert_eq!(rig.plc.registers(|registers| registers[1]), 0x0102, "a restart stops no line");
    let purge = Request { run: true, purge: true, induction_permitted: true, ..Request::default() };
    rig.commands.send(Command::Request(purge)).await.unwrap();
    until("the request", || rig.plc.registers(|registers| registers[1]) == 0x0106).await;
    let beat = rig.plc.registers(|registers| registers[0]);
    until("the heartbeat goes on", || rig.plc.registers(|registers| registers[0]) > beat + 1).await;
    let plc = rig.end().await;
    assert_eq!(plc.registers(|registers| registers[1]), 0x0006);
}

#[tokio::test]
async fn changes_of_flags_and_bitmaps_are_told_once() {
    let plc = Plc::start().await;
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    rig.plc.registers(|registers| registers[101] = 0x0103);
    let flags = PlcFlags { running: true, e_stop: true, ..PlcFlags::default() };
    assert_eq!(rig.next().await, Event::PlcFlags(flags));
    rig.nothing_more().await;
    assert_eq!(rig.faults("unknown_flags"), 1);
    rig.plc.registers(|registers| registers[216] = 0b10);
    let mut disabled = Vec::new();
    until("the bitmap", || {
        while let Ok(event) = rig.events.try_recv() {
            if let Event::ChuteBits { disabled: bits, .. } = event {
                disabled = bits;
            }
        }
        disabled.first() == Some(&0b10)
    })
    .await;
    rig.end().await;
}

#[tokio::test]
async fn a_command_does_not_wait_for_the_poll() {
    let plc = Plc::start().await;
    let mut rig = Rig::start(plc, 256, None);
    // The same line, polled once in three seconds.
    let settings = PlcDevice { poll_ms: 3_000, heartbeat_ms: 20_000, ..settings(&rig.plc) };
    rig.stop.send_replace(true);
    (&mut rig.task).await.unwrap();
    let rig = Rig::with(rig.plc, settings, 256, None);
    rig.attached().await;
    until("the first poll is over", || rig.board.snapshot().0["plc"].good == 1).await;
    until("its bitmaps, too", || rig.plc.registers(|registers| registers[0]) > 0).await;
    rig.commands.send(divert(1, 5)).await.unwrap();
    until("the command", || rig.plc.registers(|registers| registers[311]) == 1).await;
    assert_eq!(rig.board.snapshot().0["plc"].good, 1, "no poll came between");
    rig.end().await;
}

#[tokio::test]
async fn any_addresses_will_do() {
    let plc = Plc::start().await;
    let map = RegisterMap { encoder: 40_000, head: 50_000, ring: 20_000, ..plc.map.clone() };
    let plc = Plc { map: map.clone(), ..plc };
    let event =
        PlcEvent { seq: 1, ..of_track(PlcEventKind::Discharged { chute: 3, how: Discharge::Confirmed }, 9) };
    plc.registers(|registers| {
        write(registers, 40_000, &[2, 1]);
        write(registers, 50_000, &[1]);
        write(registers, map.ring_address(1), &event.encode(&map));
    });
    let rig = Rig::start(plc, 64, None);
    let attached = rig.attached().await;
    assert_eq!((attached.encoder.pulses, attached.head), (0x2_0001, 1));
    assert_eq!(rig.record().await, event);
    rig.end().await;
}
