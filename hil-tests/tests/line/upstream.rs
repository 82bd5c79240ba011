//! Holds, releases, plans and questions over a real broker, beside the stream of parcels and orders.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Fact};
use sortd::panel::Story;

use crate::stand::{Line, PATIENCE, uplink_count};

/// Largest packet of these exchanges.
const PACKET: usize = 4 << 20;
/// Parcels that are held, and as many that are held and released.
const PARCELS: usize = 4;

/// A client of the cloud's side that remembers what it hears.
struct Desk {
    client: AsyncClient,
    events: EventLoop,
    topics: String,
    acks: VecDeque<Value>,
    orders: VecDeque<Value>,
}

impl Desk {
    async fn open(port: u16, topics: String) -> Desk {
        let mut options = MqttOptions::new("desk", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(PACKET, PACKET);
        let (client, events) = AsyncClient::new(options, 64);
        for topic in ["acks", "orders"] {
            client
                .subscribe(format!("{topics}/{topic}"), QoS::AtLeastOnce)
                .await
                .expect("the queue has room");
        }
        let mut desk = Desk { client, events, topics, acks: VecDeque::new(), orders: VecDeque::new() };
        let mut subscribed = 0;
        while subscribed < 2 {
            if let Event::Incoming(Packet::SubAck(_)) = desk.hear().await {
                subscribed += 1;
            }
        }
        desk
    }

    /// The next event, with what it brought kept.
    async fn hear(&mut self) -> Event {
        let event = self.events.poll().await.expect("the broker is there");
        if let Event::Incoming(Packet::Publish(publish)) = &event {
            let message: Value = serde_json::from_slice(&publish.payload).expect("a message is JSON");
            if publish.topic.ends_with("/acks") {
                self.acks.push_back(message);
            } else {
                self.orders.extend(message["orders"].as_array().into_iter().flatten().cloned());
            }
        }
        event
    }

    async fn say(&mut self, topic: &str, message: &Value) {
        let topic = format!("{}/{topic}", self.topics);
        self.client
            .publish(topic, QoS::AtLeastOnce, false, message.to_string())
            .await
            .expect("the queue has room");
    }

    /// Says something and waits for its answer.
    async fn ask(&mut self, topic: &str, message: Value) -> Value {
        self.say(topic, &message).await;
        loop {
            let at = self.acks.iter().position(|ack| ack["id"] == message["id"]);
            if let Some(ack) = at.and_then(|at| self.acks.remove(at)) {
                return ack;
            }
            self.hear().await;
        }
    }

    /// The next order that nothing is wrong with, just pushed by the cloud: its parcel is yet to come.
    async fn fresh_order(&mut self) -> (String, String) {
        self.orders.clear();
        loop {
            while let Some(order) = self.orders.pop_front() {
                let plain = order["hold"].is_null() && order["cancelled"] != json!(true);
                if let (true, Some(number), Some(code)) =
                    (plain, order["order"].as_str(), order["codes"][0].as_str())
                {
                    return (number.to_owned(), code.to_owned());
                }
            }
            self.hear().await;
        }
    }
}

/// Everything that comes down besides orders has its answer and its effect.
pub fn holds_plans_and_questions(line: &mut Line) {
    let site = line.rig.devices.site();
    let topics = format!("sortd/v1/{}/{}", site.name, site.line_name);
    let port = line.rig.broker.port;
    let table = std::fs::read_to_string(line.rig.directory.path().join("sort-plan.csv"))
        .expect("the rig has a sort plan");

    let said =
        line.block_on(async { tokio::time::timeout(PATIENCE, say_everything(port, topics, table)).await });
    let Ok((held, released)) = said else { line.fail("not every message from upstream was answered") };
    println!("{:>7} ms  held {held:?}, held and released {released:?}", line.now_ms());

    // Every parcel of the held orders ends with the hold's reason; of the released ones none does.
    for code in &held {
        let story = story_of(line, code);
        let reasons = ends(&story);
        assert!(
            reasons.iter().all(|outcome| matches!(outcome, Outcome::Exception { .. })),
            "{code} was held, and ended {reasons:?}"
        );
        let said = story.passes.iter().flat_map(|pass| &pass.records).any(|record| {
            matches!(&record.body, Body::Fact(Fact::Held { why: Some(why), by: Some(by), .. })
                if why == "papers missing" && by == "customs desk")
        });
        let told = line.command(&["explain", code]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        // A parcel with a fault of its own ends by that; the others say who held them.
        if reasons.iter().any(|outcome| outcome_is(outcome, "return_to_sender")) {
            assert!(said && text.contains("customs desk") && text.contains("papers missing"), "{text}");
        }
    }
    let by_hold = held.iter().filter(|code| {
        ends(&line.client().explain(code).expect("it is known"))
            .iter()
            .any(|end| outcome_is(end, "return_to_sender"))
    });
    assert!(by_hold.count() >= PARCELS / 2, "most of the held parcels have no other fault");
    for code in &released {
        let reasons = ends(&story_of(line, code));
        assert!(
            !reasons.iter().any(|outcome| outcome_is(outcome, "return_to_sender")),
            "{code} was released, and ended {reasons:?}"
        );
    }

    // Holds and the staged plan are known again after kill -9.
    let before = line.until("the staged plan in the status", |status| {
        status.line.holds as usize == PARCELS + 1 && status.uplink["plan_staged"].is_string()
    });
    line.kill();
    line.start_timed();
    let after = line.until("holds after the restart", |status| status.line.holds as usize == PARCELS + 1);
    assert_eq!(after.uplink["plan_staged"], before.uplink["plan_staged"]);
    // The plan that upstream brought stays in force, until somebody changes the file.
    assert_eq!(after.line.plan, before.line.plan);
    assert_ne!(after.line.plan, line.rig.devices.site().plan.version);
    line.reload();
    line.flow("after a reload of what was not changed", 3);
    assert_eq!(line.status().line.plan, before.line.plan);
    let file = line.rig.directory.path().join("sort-plan.csv");
    let table = std::fs::read_to_string(&file).expect("the rig has a sort plan");
    let row = table.trim_end().lines().last().and_then(|row| row.split_once(',')).expect("it has rows").1;
    std::fs::write(&file, format!("{}\nOPENED-TODAY,{row}\n", table.trim_end())).expect("it can be changed");
    let wanted = sortd::site::plan_of(&file).expect("the changed plan is sound").version;
    line.reload();
    line.until("the changed file in force", |status| status.line.plan == wanted);
    line.flow("under the changed plan", 3);
    // Nonsense changes nothing.
    std::fs::write(&file, "destination,chute,priority\nX,64999,1\n").expect("it can be changed");
    line.reload();
    line.flow("after a reload of nonsense", 3);
    assert_eq!(line.status().line.plan, wanted);
    std::fs::write(&file, format!("{}\nOPENED-TODAY,{row}\n", table.trim_end())).expect("it can be changed");
    line.kill();
    line.start_timed();
    line.until("the changed file in force after a restart", |status| status.line.plan == wanted);
    assert_eq!(uplink_count(&after, "order_messages_refused"), 0);
    line.flow("after holds, plans and questions", 3);
    line.books("holds, plans and questions");
}

/// Says it all, checks every answer; codes of the parcels that are held, and of those held and released.
async fn say_everything(port: u16, topics: String, table: String) -> (Vec<String>, Vec<String>) {
    let mut desk = Desk::open(port, topics).await;
    let hold = |on: Value, revision: u32, hold: Value| {
        let mut hold =
            json!({"revision": revision, "hold": hold, "reason": "papers missing", "by": "customs desk"});
        hold.as_object_mut().expect("it is an object").extend(on.as_object().cloned().unwrap_or_default());
        hold
    };
    let (mut held, mut released) = (Vec::new(), Vec::new());
    for n in 0..PARCELS {
        // By order and by code in turn.
        let (order, code) = desk.fresh_order().await;
        let on = if n % 2 == 0 { json!({"order": order}) } else { json!({"code": code}) };
        let message = json!({"id": format!("hold-{n}"), "holds": [hold(on, 2, json!("return_to_sender"))]});
        let ack = desk.ask("holds", message.clone()).await;
        assert_eq!((&ack["accepted"], &ack["refused_count"]), (&json!(1), &json!(0)), "{ack}");
        // Repeated, it is accepted again and changes nothing.
        assert_eq!(desk.ask("holds", message).await["accepted"], 1);
        held.push(code);

        let (order, code) = desk.fresh_order().await;
        let on = json!({"order": order});
        let both = [hold(on.clone(), 1, json!("return_to_sender")), hold(on.clone(), 2, json!(null))];
        let ack = desk.ask("holds", json!({"id": format!("release-{n}"), "holds": both})).await;
        assert_eq!(ack["accepted"], 2, "{ack}");
        // The older hold, late: it holds nothing.
        let late = json!({"id": format!("late-{n}"), "holds": [hold(on, 1, json!("return_to_sender"))]});
        assert_eq!(desk.ask("holds", late).await["accepted"], 1);
        released.push(code);
    }
    let unknown = json!([hold(json!({"order": "NEVER-SEEN"}), 1, json!("repack")), {"hold": "repack"}]);
    let ack = desk.ask("holds", json!({"id": "mixed", "holds": unknown})).await;
    assert_eq!((&ack["accepted"], &ack["refused_count"]), (&json!(1), &json!(1)), "{ack}");

    // A plan: as it is, better and in force, another that waits, and one that is wrong in two places.
    let plan = |id: &str, table: &str| {
        let activate = id != "later";
        json!({"id": id, "plan": {"sort-plan.csv": table, "name": "winter"}, "activate": activate})
    };
    let ack = desk.ask("plans", plan("same", &table)).await;
    assert_eq!((&ack["accepted"], &ack["plan"]["state"]), (&json!(1), &json!("in_force")), "{ack}");
    let last = table.trim_end().lines().last().expect("the plan has rows");
    let (_, to) = last.split_once(',').expect("a row has cells");
    let better = format!("{}\nNOWHERE-YET,{to}\n", table.trim_end());
    let ack = desk.ask("plans", plan("better", &better)).await;
    assert_eq!((&ack["accepted"], &ack["plan"]["state"]), (&json!(1), &json!("in_force")), "{ack}");
    let later = format!("{better}NOT-YET-EITHER,{to}\n");
    let ack = desk.ask("plans", plan("later", &later)).await;
    assert_eq!((&ack["accepted"], &ack["plan"]["state"]), (&json!(1), &json!("staged")), "{ack}");
    assert!(
        ack["plan"]["comes_into_force"].as_str().is_some_and(|how| how.contains("not by itself")),
        "{ack}"
    );
    let wrong = format!("{}\nNOWHERE-YET,64999,1\nNOWHERE-YET,x,1\n", table.trim_end());
    let ack = desk.ask("plans", plan("wrong", &wrong)).await;
    assert!(ack["error"].is_string() && ack["accepted"] == 0, "{ack}");
    let rows = wrong.lines().count();
    let reasons = ack["refused"].to_string();
    for row in [rows - 1, rows] {
        assert!(reasons.contains(&format!("sort-plan.csv:{row}:")), "row {row}: {reasons}");
    }

    // Questions: of a parcel that is known, of one nobody has heard of, and of nothing.
    loop {
        let ack = desk.ask("ask", json!({"id": "known", "ask": "evidence", "code": held[0]})).await;
        if ack["answer"]["found"] == true {
            let bundle = ack["answer"]["bundle"].as_str().expect("where the bundle lies");
            let bytes = std::fs::read(bundle).expect("the bundle can be read");
            assert_eq!(ack["answer"]["bytes"], bytes.len(), "{ack}");
            assert_eq!(ack["answer"]["evidence"]["code"], held[0], "{ack}");
            break;
        }
        // Its parcel is still to come or on the belt.
        desk.hear().await;
    }
    let ack = desk.ask("ask", json!({"id": "unknown", "ask": "evidence", "code": "NOBODYS"})).await;
    assert_eq!(ack["answer"]["found"], false, "{ack}");
    let ack = desk.ask("ask", json!({"id": "nothing", "ask": "weather", "code": "X"})).await;
    assert!(ack["error"].is_string(), "{ack}");
    let order =
        json!({"order": "LATE-1", "revision": 1, "codes": ["KEX99999999911"], "destination": "TH-KERRY-COD"});
    let answer = json!({"id": "late", "ask": "unknown_parcel", "code": "KEX99999999911", "order": order});
    let ack = desk.ask("ask", answer).await;
    assert_eq!((&ack["accepted"], &ack["refused_count"]), (&json!(1), &json!(0)), "{ack}");
    (held, released)
}

/// The story of a parcel, once a pass of it has ended.
fn story_of(line: &mut Line, code: &str) -> Story {
    let client = line.client();
    let ended = |story: &Story| !ends(story).is_empty();
    line.until(&format!("{code} to end"), |_| client.explain(code).is_ok_and(|story| ended(&story)));
    line.client().explain(code).expect("its story is known")
}

fn ends(story: &Story) -> Vec<Outcome> {
    let records = story.passes.iter().flat_map(|pass| &pass.records);
    let end = records.filter_map(|record| match &record.body {
        Body::Fact(Fact::Ended { outcome, .. }) => Some(*outcome),
        _ => None,
    });
    end.collect()
}

fn outcome_is(outcome: &Outcome, name: &str) -> bool {
    matches!(outcome, Outcome::Exception { reason, .. } if reason.name() == name)
}
