//! `sim cloud`: the upstream that checks, for a line that is started by hand.
//!
//! Says once a second what has come; ends on Ctrl-C, after `--for`, or when `--until` events have come; the last thing
//! it prints is the report as JSON. Anything wrong with an event makes it exit with 1.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sortd::uplink::Topics;

use crate::cloud::{Cloud, CloudReport, CloudSettings, EventsFileError};

/// Options.
#[derive(Debug, Args)]
pub struct CloudOptions {
    /// The broker, mqtt://HOST:PORT.
    #[arg(long)]
    pub broker: String,
    /// Name of the site, as in `sortd.toml`.
    #[arg(long)]
    pub site: String,
    /// Name of the line, as in `sortd.toml`.
    #[arg(long)]
    pub line: String,
    /// MQTT client id; its session at the broker is persistent.
    #[arg(long, default_value = "sim-cloud")]
    pub client_id: String,
    /// Demand each epoch from seq 1; without it the books begin with what comes first.
    #[arg(long)]
    pub from_the_first: bool,
    /// Ends after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Ends when so many distinct events have come.
    #[arg(long, value_name = "EVENTS")]
    pub until: Option<u64>,
    /// Every distinct event, one document a line.
    #[arg(long)]
    pub events: Option<PathBuf>,
}

/// Why there is no cloud.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The broker's address.
    #[error("--broker is mqtt://HOST:PORT, not {0}")]
    Broker(String),
    /// The events' file.
    #[error(transparent)]
    File(#[from] EventsFileError),
}

/// Watches until it is to end; the report as it is then.
///
/// # Errors
/// [`WatchError`].
pub async fn run(options: CloudOptions) -> Result<CloudReport, WatchError> {
    let (host, port) = address(&options.broker).ok_or(WatchError::Broker(options.broker))?;
    let events_topic = Topics::new(&options.site, &options.line).events();
    let topics = events_topic.strip_suffix("/events").unwrap_or(&events_topic).to_owned();
    let cloud = Cloud::start(CloudSettings {
        host,
        port,
        topics,
        client_id: options.client_id,
        hash_of: |document| sortd::uplink::hash::event_ids(document).map_err(|error| error.to_string()),
        from_the_first: options.from_the_first,
        events_file: options.events,
    })?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    let end = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            _ = second.tick() => {
                let report = cloud.report();
                eprintln!("{}", words(&report, before));
                before = report.events.received;
                if options.until.is_some_and(|events| report.events.distinct >= events) {
                    break;
                }
            }
            () = &mut end => break,
            // A signal that cannot be heard ends it as well.
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(cloud.report())
}

/// Whether nothing is wrong with what came.
pub fn is_sound(report: &CloudReport) -> bool {
    report.events.is_sound() && report.file_fault.is_none()
}

fn words(report: &CloudReport, before: u64) -> String {
    let events = &report.events;
    let health = report.health.as_ref();
    let said =
        |name: &str| health.and_then(|health| health.get(name)).map(ToString::to_string).unwrap_or_default();
    format!(
        "{:>9} events  +{:<6} {:>6} repeated  {:>4} missing  {:>3} conflicting  {:>3} bad hash  {:>3} malformed   line \
         {} backlog {}",
        events.distinct,
        events.received - before,
        events.duplicates,
        events.missing,
        events.conflicting,
        events.bad_hash,
        events.malformed,
        said("state"),
        said("backlog"),
    )
}

fn address(broker: &str) -> Option<(String, u16)> {
    let (host, port) = broker.strip_prefix("mqtt://")?.trim_end_matches('/').rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
}

#[cfg(test)]
mod tests {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

    use super::*;
    use crate::broker::Broker;

    #[test]
    fn an_address_is_one_or_it_is_refused() {
        assert_eq!(address("mqtt://127.0.0.1:1883"), Some(("127.0.0.1".to_owned(), 1883)));
        assert_eq!(address("mqtt://[::1]:1883/"), Some(("::1".to_owned(), 1883)));
        for wrong in ["127.0.0.1:1883", "mqtt://host", "mqtt://:1883", "mqtt://host:0", "mqtts://host:1"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    /// A document that is no event is a finding.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_ends_when_told_and_reports_what_is_wrong() {
        let broker = Broker::start().unwrap();
        let options = |until, seconds| CloudOptions {
            broker: format!("mqtt://127.0.0.1:{}", broker.port),
            site: "dongguan".to_owned(),
            line: "l1".to_owned(),
            client_id: "watcher".to_owned(),
            from_the_first: true,
            seconds: Some(seconds),
            until,
            events: None,
        };
        let nothing = run(options(Some(0), 30)).await.unwrap();
        assert!(is_sound(&nothing));

        let port = broker.port;
        let sending = tokio::spawn(async move {
            let mut mqtt = MqttOptions::new("line", "127.0.0.1", port);
            mqtt.set_clean_session(true);
            let (client, mut events) = AsyncClient::new(mqtt, 10);
            // Again and again: what comes before the cloud has subscribed is not for it.
            loop {
                client.publish("sortd/v1/dongguan/l1/events", QoS::AtLeastOnce, false, "{}").await.unwrap();
                while !matches!(events.poll().await, Ok(Event::Incoming(Packet::PubAck(_)))) {}
            }
        });
        let report = run(options(None, 3)).await.unwrap();
        sending.abort();
        assert!(report.events.malformed > 0 && report.events.distinct == 0);
        assert!(!is_sound(&report));
    }
}
