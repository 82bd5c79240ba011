//! Broken connections, broken answers, broken slots, a core that does not listen.

use super::*;

#[tokio::test]
async fn an_unusable_record_is_named_and_wedges_nothing() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    plc.registers(|registers| registers[1_020] = 99);
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    assert_eq!(rig.tracks(2).await, [(1, 1), (3, 3)]);
    assert_eq!(rig.faults("bad_event"), 1);
    rig.durable(1);
    until("register 2 = 2", || rig.plc.acknowledged() == 2).await;
    rig.end().await;
}

#[tokio::test]
async fn a_slot_being_written_is_read_again() {
    let plc = Plc::start().await;
    plc.induct(1..=2);
    // Record 2 is not finished when the head already names it; it is after two more reads of its slot.
    let finished = plc.registers(|registers| std::mem::replace(&mut registers[1_029], 0));
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    assert_eq!(rig.record().await.seq, 1);
    until("a wrong slot", || rig.faults("wrong_slot") > 0).await;
    rig.plc.registers(|registers| registers[1_029] = finished);
    match rig.next().await {
        Event::Plc(event) => assert_eq!((event.seq, event.track), (2, 2)),
        // Two milliseconds apart the tries may have run out on a busy machine; then it must be told.
        Event::PlcEventsMissed(count) => assert_eq!(count, 1),
        other => panic!("came {other:?}"),
    }
    rig.end().await;
}

#[tokio::test]
async fn a_slot_that_stays_wrong_is_missed_and_told() {
    let plc = Plc::start().await;
    plc.induct(1..=4);
    plc.registers(|registers| registers[1_029] = 900);
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    assert_eq!(rig.record().await.seq, 1);
    assert_eq!(rig.next().await, Event::PlcEventsMissed(1));
    assert_eq!(rig.tracks(2).await, [(3, 3), (4, 4)]);
    assert_eq!(rig.faults("wrong_slot"), u64::from(ring::SLOT_TRIES));
    assert_eq!(rig.faults("events_missed"), 1);
    rig.durable(4);
    until("register 2 = 4", || rig.plc.acknowledged() == 4).await;
    rig.end().await;
}

#[tokio::test]
async fn an_overwritten_ring_is_counted_and_read_from_its_oldest_record() {
    let plc = Plc::start().await;
    plc.induct(1..=200);
    plc.registers(|registers| registers[2] = 10);
    let rig = Rig::start(plc, 1_024, None);
    rig.attached().await;
    assert_eq!(rig.next().await, Event::PlcEventsMissed(200 - 10 - u32::from(SLOTS)));
    let tracks = rig.tracks(SLOTS.into()).await;
    assert_eq!(tracks.first(), Some(&(137, 137)));
    assert_eq!(tracks.last(), Some(&(200, 200)));
    rig.end().await;
}

#[tokio::test]
async fn a_full_channel_leaves_the_events_in_the_ring() {
    let plc = Plc::start().await;
    plc.induct(1..=60);
    let rig = Rig::start(plc, 2, None);
    until("polls behind a full channel", || {
        rig.board.snapshot().0.get("plc").is_some_and(|health| health.good > 30)
    })
    .await;
    let ring_reads = rig.plc.station.unit().requests;
    assert!(ring_reads > 0);
    let beat = rig.plc.registers(|registers| registers[0]);
    until("the heartbeat goes on", || rig.plc.registers(|registers| registers[0]) > beat).await;
    // What was not read is still in the ring only: a change made there now is what the core will see.
    rig.plc.registers(|registers| registers[1_000 + 60 * 10 + 8] = 999);
    // A journal that already knew them must not acknowledge what was never handed on.
    rig.durable(60);
    rig.attached().await;
    assert_eq!(rig.plc.acknowledged(), 0);
    let tracks = rig.tracks(59).await;
    assert_eq!(tracks, (1..=59).map(|n| (n, u32::from(n))).collect::<Vec<_>>());
    let last = rig.record().await;
    assert_eq!((last.seq, last.track, last.length_mm), (60, 60, 999));
    assert!(rig.faults("encoder_dropped") > 0);
    rig.end().await;
}

#[tokio::test]
async fn a_lost_connection_delivers_nothing_twice_and_nothing_less() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    assert_eq!(rig.tracks(3).await.len(), 3);
    rig.plc.station.cut().await;
    assert_eq!(rig.next().await, Event::PlcDetached);
    until("failure on the board", || {
        rig.board.snapshot().0["plc"].state == Ne107::Failure && !rig.board.snapshot().1.is_empty()
    })
    .await;
    rig.commands.send(divert(1, 1)).await.unwrap();
    until("the command is answered for", || rig.faults("command_while_detached") == 1).await;
    rig.plc.induct(4..=5);
    rig.plc.station.mend().await;
    let attached = rig.attached().await;
    assert_eq!((attached.acknowledged, attached.head), (0, 5));
    assert_eq!(rig.tracks(2).await, [(4, 4), (5, 5)]);
    rig.durable(2);
    until("register 2 = 2", || rig.plc.acknowledged() == 2).await;
    assert_eq!(rig.board.snapshot().0["plc"].state, Ne107::Good);
    assert!(rig.plc.registers(|registers| registers[300..396].iter().all(|word| *word == 0)));
    rig.end().await;
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_another() {
    let plc = Plc::start().await;
    plc.registers(|registers| registers[106..108].copy_from_slice(&[0, 77]));
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.plc.station.unit().delays = vec![Duration::from_millis(1_500)];
    assert_eq!(rig.next().await, Event::PlcDetached);
    let connections = rig.plc.station.unit().connections;
    rig.attached().await;
    assert_eq!(rig.faults("timeout"), 1);
    assert!(rig.plc.station.unit().connections >= connections);
    rig.nothing_more().await;
    while let Ok(event) = rig.events.try_recv() {
        if let Event::Encoder(poll) = event {
            assert_eq!(poll.pulses, 77);
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn short_answers_and_wrong_echoes_end_the_connection() {
    let plc = Plc::start().await;
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.plc.station.unit().short_by = 1;
    assert_eq!(rig.next().await, Event::PlcDetached);
    rig.attached().await;
    assert_eq!(rig.faults("wrong_length"), 1);
    rig.plc.station.unit().wrong_echo = true;
    assert_eq!(rig.next().await, Event::PlcDetached);
    rig.attached().await;
    assert_eq!(rig.faults("wrong_echo"), 1);
    rig.end().await;
}

#[tokio::test]
async fn a_heartbeat_that_stands_still_detaches_until_it_moves() {
    let plc = Plc::start().await;
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.plc.memory(|memory, _| memory.beats = false);
    assert_eq!(rig.next().await, Event::PlcDetached);
    until("it is tried and found still", || rig.faults("heartbeat_stale") > 1).await;
    assert!(rig.events.is_empty(), "no attachment to a PLC that stands still");
    rig.plc.memory(|memory, _| memory.beats = true);
    rig.attached().await;
    rig.end().await;
}

#[tokio::test]
async fn what_a_full_ring_dropped_is_told_too_and_once() {
    let plc = Plc::start().await;
    plc.registers(|registers| registers[105] = 65_534);
    let rig = Rig::start(plc, 64, None);
    rig.attached().await;
    rig.nothing_more().await;
    rig.plc.registers(|registers| registers[105] = 3);
    assert_eq!(rig.next().await, Event::PlcEventsMissed(5));
    // The same five, seen in the ring, are no news.
    rig.plc.memory(|memory, registers| {
        memory.head = 5;
        registers[104] = 5;
    });
    until("given up for", || rig.faults("events_missed") == 5).await;
    rig.plc.induct(6..=6);
    assert_eq!(rig.tracks(1).await, [(6, 6)]);
    rig.end().await;
}
