//! What happens to a line in its life, one story a function; each ends with the books compared.

use std::time::Duration;

use simulators::broker::Memory;
use sortd::line::event::Asked;

use crate::stand::{Line, PATIENCE, uplink_count};

/// Parcels that come in between two kills.
const PARCELS_A_LIFE: u64 = 3;

/// Parcels on the belt that make a mid-flow.
const MID_FLOW: u64 = 4;

/// A start that takes longer until the PLC is attached, even here, has something wrong with it. The aim is 500 ms.
const START_MOST_MS: u64 = 10_000;

/// Polls of the PLC through which a line that waits for its start must stand still.
const POLLS_STANDING: u64 = 100;

/// Passes in flight that were decided to be no-reads before both scanners count as gone.
const NO_READS: usize = 3;

/// kill -9 and start again, over and over: nothing inducted is forgotten.
pub fn killed_in_mid_flow(line: &mut Line, times: usize) {
    let mut starts = Vec::new();
    for life in 1..=times {
        let before = line.status().line.sums.inducted;
        let status = line.until("parcels in mid-flow", |status| {
            status.line.sums.inducted >= before + PARCELS_A_LIFE && status.line.sums.in_flight >= MID_FLOW
        });
        line.kill();
        let start = line.start_timed();
        println!(
            "{:>7} ms  kill {life}: {} in flight; attached after {} ms, first command taken after {} ms",
            line.now_ms(),
            status.line.sums.in_flight,
            start.attached_ms,
            start.commanded_ms
        );
        starts.push(start.attached_ms);
    }
    starts.sort_unstable();
    let (median, worst) = (starts[times / 2], starts[times - 1]);
    println!(
        "{:>7} ms  {times} kills: attached after {median} ms (median), {worst} ms (worst)",
        line.now_ms()
    );
    assert!(worst < START_MOST_MS, "a start took {worst} ms until the PLC was attached");
    let status = line.flow("after the last kill", 3);
    assert!(
        status.about.boot > times as u64,
        "each start is a boot of its own, this is {}",
        status.about.boot
    );
    line.books("killed in mid-flow");
}

/// The PLC's network is gone for a while: its ring keeps what happened.
pub fn plc_cut_off(line: &mut Line, pause: Duration) {
    line.within(|rig| rig.devices.cut_plc(pause));
    line.alarm("plc-offline");
    let mut kept = 0;
    let cut = line.now_ms();
    while line.now_ms() < cut + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) / 2 {
        kept = kept.max(line.rig.devices.with_world(|world| world.plc().ring().pending()));
        let status = line.status();
        assert!(
            status.alarms.iter().any(|alarm| alarm.id == "plc-offline"),
            "the alarm stands while the PLC is away"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    line.no_alarm("plc-offline");
    println!("{:>7} ms  the PLC is back; its ring kept up to {kept} records meanwhile", line.now_ms());
    assert!(kept > 0, "the PLC recorded nothing while it was cut off");
    line.flow("after the cut", 5);
    line.books("PLC cut off");
}

/// One scanner unplugged: the other reads. Both: parcels are no-reads, until they are back.
pub fn scanners_unplugged(line: &mut Line, pause: Duration) {
    line.rig.devices.close_scanner("top", pause).expect("there is a scanner top");
    line.alarm("top-offline");
    line.no_alarm("top-offline");
    line.flow("after one scanner was away", 2);
    for name in ["top", "side"] {
        line.rig.devices.close_scanner(name, pause).expect("there are two scanners");
    }
    line.alarm("top-offline");
    line.alarm("side-offline");
    let status = line.until("no-reads while no scanner is there", |status| {
        let unread = |reason: &Option<String>| reason.as_deref() == Some("no_read");
        status.line.passes.iter().filter(|pass| unread(&pass.reason)).count() >= NO_READS
    });
    let before = status.line.sums.exceptions.get("no_read").copied().unwrap_or(0);
    line.no_alarm("top-offline");
    line.no_alarm("side-offline");
    line.until("the no-reads in the exception chute", |status| {
        status.line.sums.exceptions.get("no_read").copied().unwrap_or(0) >= before + NO_READS as u64
    });
    line.flow("after both scanners were away", 3);
    line.books("scanners unplugged");
}

/// No broker for a while: the line goes on sorting, and the cloud lacks nothing afterwards.
pub fn broker_away(line: &mut Line, pause: Duration) {
    let before = line.status();
    line.rig.broker.stop();
    let stopped = line.now_ms();
    let down = line.alarm("uplink-offline");
    let away = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    line.until_all("the outage to pass, with parcels inducted and events kept", PATIENCE + pause, {
        let clock = sortd::watch::clock::Clock::default();
        let begun = clock.now();
        move |_, status| {
            clock.now().ms_since(begun) >= away
                && status.line.sums.inducted > down.line.sums.inducted
                && uplink_count(status, "backlog") > 0
        }
    });
    let status = line.status();
    println!(
        "{:>7} ms  broker away for {} ms: {} parcels inducted and {} sorted meanwhile, {} events wait",
        line.now_ms(),
        line.now_ms() - stopped,
        status.line.sums.inducted - before.line.sums.inducted,
        status.line.sums.sorted - before.line.sums.sorted,
        uplink_count(&status, "backlog")
    );
    let acked = line.rig.upstream.cloud.report().orders.acked;
    line.rig.broker.start_again(Memory::Kept).expect("the broker starts again");
    line.no_alarm("uplink-offline");
    line.until_all("orders after the outage", PATIENCE, |rig, _| {
        rig.upstream.cloud.report().orders.acked > acked
    });
    line.flow("after the outage", 3);
    line.books("broker away");
}

/// The red button: nothing starts before somebody starts it.
pub fn emergency_stop(line: &mut Line) {
    line.until("parcels on the belt", |status| status.line.sums.in_flight >= MID_FLOW);
    line.rig.devices.press_e_stop();
    line.until("an aborted line", |status| status.line.state == "aborted" && status.line.speed_mm_s == 0);
    let refused = line.ask(Asked::LineStart).expect_err("no start while the emergency stop is active");
    assert!(refused.contains("emergency stop"), "the refusal says why: {refused}");
    line.rig.devices.reset_e_stop();
    line.until("the reset", |status| status.line.state != "aborted");
    let polls = |status: &sortd::panel::StatusDocument| status.devices["plc"].good;
    let first = polls(&line.status());
    loop {
        let status = line.status();
        let (state, speed) = (&status.line.state, status.line.speed_mm_s);
        assert!(speed == 0 && state == "stopped", "a reset is no start: state {state}, {speed} mm/s");
        if polls(&status) >= first + POLLS_STANDING {
            break;
        }
    }
    println!(
        "{:>7} ms  emergency stop: start refused, and {POLLS_STANDING} polls standing after the reset",
        line.now_ms()
    );
    line.ask(Asked::LineStart).expect("after the reset the line may start");
    line.until("a running line", |status| status.line.state == "running");
    line.flow("after the emergency stop", 5);
    line.books("emergency stop");
}

/// The PLC restarts: it knows no parcel any more, and says so by its epoch.
pub fn plc_restarted(line: &mut Line) {
    line.until("parcels on the belt", |status| status.line.sums.in_flight >= MID_FLOW);
    // What a PLC forgets before anybody reads it is nobody's to know: the books are closed first.
    line.rig.devices.set_feeding(false);
    let status = line.until_all("every induction read", PATIENCE, |rig, status| {
        status.line.sums.inducted == rig.devices.truth().tracks && status.line.sums.in_flight > 0
    });
    let before = status.line.sums.exceptions.get("restart").copied().unwrap_or(0);
    line.rig.devices.restart_plc();
    let status = line.until("the old epoch's passes ended", |status| {
        status.line.sums.in_flight == 0
            && status.line.sums.exceptions.get("restart").copied().unwrap_or(0) > before
    });
    println!(
        "{:>7} ms  PLC restarted: {} passes ended with reason restart",
        line.now_ms(),
        status.line.sums.exceptions["restart"] - before
    );
    line.rig.devices.set_feeding(true);
    if line.until("a new attachment", |status| status.line.state != "offline").line.state != "running" {
        line.ask(Asked::LineStart).expect("the line may start after a restart of the PLC");
    }
    line.until("a running line", |status| status.line.state == "running");
    line.flow("after the PLC's restart", 5);
    line.books("PLC restarted");
}

/// SIGTERM in mid-flow and a start: the line goes on, and the stories of before and after are told.
pub fn shut_down_in_mid_flow(line: &mut Line) {
    let status = line.flow("before the shutdown", 3);
    let early = sorted_code(&status).expect("a waybill was sorted lately");
    let status = line.until("parcels in mid-flow", |status| status.line.sums.in_flight >= MID_FLOW);
    line.terminate();
    let start = line.start_timed();
    println!(
        "{:>7} ms  shut down with {} in flight; attached after {} ms, first command taken after {} ms",
        line.now_ms(),
        status.line.sums.in_flight,
        start.attached_ms,
        start.commanded_ms
    );
    let boot = status.about.boot;
    let before = line.status().line.sums.sorted;
    let status = line.until("parcels sorted after the shutdown", |status| {
        status.about.boot > boot
            && status.line.sums.sorted > before + 3
            && sorted_code(status).is_some_and(|code| code != early)
    });
    let late = sorted_code(&status).expect("a waybill was sorted lately");
    for code in [&early, &late] {
        let story = line.client().explain(code).expect("its story is known");
        assert!(
            story.passes.iter().any(|pass| !pass.records.is_empty()),
            "the story of {code} has records: {story:?}"
        );
        let told = line.command(&["explain", code]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(0), "explain {code}: {text}");
        assert!(text.contains(code.as_str()) && text.contains("sorted"), "explain {code}: {text}");
    }
    println!("{:>7} ms  explained: {early} of before the shutdown, {late} of after it", line.now_ms());
    line.flow("after the shutdown", 3);
    line.books("shut down in mid-flow");
}

/// The waybill sorted last.
fn sorted_code(status: &sortd::panel::StatusDocument) -> Option<String> {
    let sorted = status.line.last.iter().filter(|ended| ended.outcome == "sorted");
    sorted.filter_map(|ended| ended.key.as_deref()?.strip_prefix("wb:")).map(str::to_owned).next()
}
