//! The real `sortd` on a line that breaks: killed, cut off, emptied of scanners, without a broker, stopped and
//! told nonsense. One line lives through all of it, once with the embedded broker and once with mosquitto; after
//! each story the books of the PLC, of `sortd` and of the cloud are compared, at the end the belt runs empty.
//!
//! The lines run one at a time: two of them on two cores would measure each other. `SORTD_TEST_LONG=1` keeps the
//! broker away for the whole minute.

mod nonsense;
mod stand;
mod stories;
mod upstream;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use simulators::broker::Broker;
use simulators::rig::BrokerKind;

use stand::Line;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn the_line_survives_what_happens_to_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let away = if std::env::var_os("SORTD_TEST_LONG").is_some() { 60 } else { 20 };
    let mut line = Line::start(BrokerKind::Embedded, 7);
    stories::killed_in_mid_flow(&mut line, 10);
    stories::plc_cut_off(&mut line, Duration::from_secs(10));
    stories::scanners_unplugged(&mut line, Duration::from_secs(4));
    stories::broker_away(&mut line, Duration::from_secs(away));
    stories::emergency_stop(&mut line);
    stories::plc_restarted(&mut line);
    stories::shut_down_in_mid_flow(&mut line);
    nonsense::from_the_scanners(&mut line);
    nonsense::from_the_plc(&mut line);
    nonsense::from_upstream(&mut line);
    line.run_empty();
}

#[test]
fn the_line_survives_it_with_mosquitto_too() {
    if !Broker::has_mosquitto() {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but mosquitto is not installed"
        );
        println!("skipped: mosquitto is not installed (Debian: apt-get install mosquitto)");
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = Line::start(BrokerKind::Mosquitto, 11);
    stories::killed_in_mid_flow(&mut line, 3);
    stories::plc_cut_off(&mut line, Duration::from_secs(3));
    stories::scanners_unplugged(&mut line, Duration::from_secs(3));
    stories::broker_away(&mut line, Duration::from_secs(8));
    stories::emergency_stop(&mut line);
    stories::plc_restarted(&mut line);
    stories::shut_down_in_mid_flow(&mut line);
    nonsense::from_upstream(&mut line);
    line.run_empty();
}

#[test]
fn what_upstream_says_besides_orders_has_its_answer_and_its_effect() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = Line::start(BrokerKind::Embedded, 13);
    upstream::holds_plans_and_questions(&mut line);
    line.run_empty();
}
