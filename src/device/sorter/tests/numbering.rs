//! New numberings: resync, new epoch, our own restart.

use super::*;

#[tokio::test]
async fn a_new_epoch_begins_anew_and_turns_old_commands_away() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.tracks(3).await;
    rig.durable(3);
    until("register 2 = 3", || rig.plc.acknowledged() == 3).await;
    for seq in 1..=9 {
        rig.commands.send(divert(seq, seq.into())).await.unwrap();
    }
    until("taken", || rig.plc.registers(|registers| registers[102]) == 9).await;
    rig.plc.memory(|memory, registers| {
        *memory = Memory { beats: true, takes: true, answers_resync: true, ..Memory::default() };
        registers[..400].fill(0);
        registers[109] = 8;
    });
    rig.plc.induct(500..=500);
    let attached = loop {
        match rig.next().await {
            Event::PlcAttached(attached) => break attached,
            Event::PlcDetached | Event::CommandsTaken(_) => {}
            other => panic!("came {other:?}"),
        }
    };
    assert_eq!((attached.epoch, attached.acknowledged, attached.taken), (8, 0, 0));
    assert_eq!(rig.tracks(1).await, [(1, 500)]);
    // Decided for the old epoch, still on its way: it would divert a stranger.
    rig.commands.send(divert(10, 4)).await.unwrap();
    rig.commands.send(divert(1, 500)).await.unwrap();
    until("the right one", || rig.plc.registers(|registers| registers[102]) == 1).await;
    assert_eq!(rig.faults("command_refused"), 1);
    rig.only_one_command();
    rig.end().await;
}

#[tokio::test]
async fn a_resync_waits_for_the_journal_and_delivers_nothing_twice() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.tracks(3).await;
    rig.durable(1);
    until("register 2 = 1", || rig.plc.acknowledged() == 1).await;
    rig.plc.registers(|registers| registers[101] = 0x40);
    let wanted = PlcFlags { resync_wanted: true, ..PlcFlags::default() };
    assert_eq!(rig.next().await, Event::PlcFlags(wanted));
    rig.nothing_more().await;
    assert_eq!(rig.plc.registers(|registers| registers[3]), 0, "the journal has not finished");
    rig.plc.induct(4..=4);
    rig.durable(3);
    assert_eq!(rig.next().await, Event::PlcDetached);
    let attached = rig.attached().await;
    assert_eq!((attached.acknowledged, attached.head, attached.taken), (0, 2, 0));
    let again = rig.record().await;
    assert_eq!((again.seq, again.track), (1, 4));
    assert_eq!(rig.record().await.kind, PlcEventKind::Resynced);
    assert_eq!(rig.plc.acknowledged(), 0, "the old 3 means nothing in the new numbering");
    rig.durable(2);
    until("register 2 = 2", || rig.plc.acknowledged() == 2).await;
    rig.end().await;
}

#[tokio::test]
async fn a_resync_without_the_journal_recognises_what_comes_again() {
    let plc = Plc::start().await;
    plc.induct(1..=4);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.tracks(4).await;
    rig.durable(1);
    until("register 2 = 1", || rig.plc.acknowledged() == 1).await;
    rig.commands.send(Command::Resync).await.unwrap();
    // The journal never comes: after the longest wait it is done all the same.
    assert_eq!(rig.next().await, Event::PlcDetached);
    assert_eq!(rig.faults("resync_not_quiet"), 1);
    assert_eq!(rig.attached().await.head, 4);
    // 2, 3 and 4 came again as 1, 2 and 3 and are not delivered a second time.
    let next = rig.record().await;
    assert_eq!((next.kind, next.seq), (PlcEventKind::Resynced, 4));
    rig.plc.induct(5..=5);
    assert_eq!(rig.tracks(1).await, [(5, 5)]);
    // The journal still speaks of the record that was delivered as 3 and is 2 now.
    rig.durable(3);
    until("register 2 = 2", || rig.plc.acknowledged() == 2).await;
    rig.durable(5);
    until("register 2 = 5", || rig.plc.acknowledged() == 5).await;
    rig.end().await;
}

#[tokio::test]
async fn a_resync_over_a_broken_connection_delivers_nothing_twice() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    plc.memory(|memory, _| memory.answers_resync = false);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.tracks(3).await;
    rig.commands.send(Command::Resync).await.unwrap();
    assert_eq!(rig.next().await, Event::PlcDetached);
    until("it was asked for", || rig.plc.registers(|registers| registers[3]) == 1).await;
    rig.plc.station.cut().await;
    rig.plc.memory(|memory, _| memory.answers_resync = true);
    rig.plc.station.mend().await;
    let attached = rig.attached().await;
    assert_eq!((attached.acknowledged, attached.head), (0, 4));
    let next = rig.record().await;
    assert_eq!((next.kind, next.seq), (PlcEventKind::Resynced, 4));
    rig.durable(4);
    until("register 2 = 4", || rig.plc.acknowledged() == 4).await;
    rig.end().await;
}

#[tokio::test]
async fn a_resync_that_is_not_echoed_ends_the_connection_and_is_asked_anew() {
    let plc = Plc::start().await;
    plc.memory(|memory, _| memory.answers_resync = false);
    let rig = Rig::start(plc, 256, None);
    rig.attached().await;
    rig.commands.send(Command::Resync).await.unwrap();
    assert_eq!(rig.next().await, Event::PlcDetached);
    until("given up", || rig.faults("resync_failed") == 1).await;
    rig.plc.memory(|memory, _| memory.answers_resync = true);
    rig.attached().await;
    assert_eq!(rig.record().await.kind, PlcEventKind::Resynced);
    rig.end().await;
}

#[tokio::test]
async fn numbers_that_make_no_sense_together_are_put_right_by_a_resync() {
    let plc = Plc::start().await;
    plc.induct(1..=3);
    plc.registers(|registers| registers[2] = 5_000);
    plc.memory(|memory, registers| {
        memory.answers_resync = false;
        registers[104] = memory.head;
    });
    let rig = Rig::start(plc, 256, None);
    until("a resync is asked for", || rig.plc.registers(|registers| registers[3]) == 1).await;
    assert_eq!(rig.plc.acknowledged(), 0);
    assert!(rig.events.is_empty());
    rig.plc.memory(|memory, registers| {
        // What the nonsense number made our small PLC forget.
        memory.unacknowledged = (1..=3).map(|n| of_track(PlcEventKind::Inducted, n)).collect();
        memory.answers_resync = true;
        registers[2] = 0;
    });
    rig.attached().await;
    assert_eq!(rig.tracks(3).await, [(1, 1), (2, 2), (3, 3)]);
    rig.end().await;
}

#[tokio::test]
async fn a_restart_leaves_out_what_the_journal_already_has() {
    let plc = Plc::start().await;
    plc.induct(1..=6);
    plc.registers(|registers| registers[2] = 2);
    let rig = Rig::start(plc, 256, Some(PlcAck { epoch: 7, seq: 4 }));
    assert_eq!(rig.attached().await.acknowledged, 2);
    assert_eq!(rig.tracks(2).await, [(5, 5), (6, 6)]);
    until("register 2 = 4", || rig.plc.acknowledged() == 4).await;
    let plc = rig.end().await;
    // With register 2 = 0 the numbering may be a new one, and the journal's last word is of the old.
    plc.registers(|registers| registers[2] = 0);
    let rig = Rig::start(plc, 256, Some(PlcAck { epoch: 7, seq: 4 }));
    rig.attached().await;
    assert_eq!(rig.record().await.seq, 1);
    rig.end().await;
}
