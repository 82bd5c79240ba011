//! The other side of the uplink, in one piece: the cloud that checks, fed with the world's orders.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sortd::line::event::Order;
use sortd::site::Site;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::broker::{Broker, BrokerError};
use crate::cloud::{Cloud, CloudSettings, EventsFileError};

/// Orders pushed together at most.
const ORDERS_A_PUSH: usize = 500;

/// Orders are pushed this often.
const PUSH_PERIOD: Duration = Duration::from_millis(100);

/// Time a broker is given to answer before one is started in its place.
const KNOCK: Duration = Duration::from_millis(500);

/// The cloud and whoever feeds it; ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Checks every event.
    pub cloud: Arc<Cloud>,
    pushing: JoinHandle<()>,
}

impl Upstream {
    /// Starts against a broker on a loopback port. Must run inside a tokio runtime.
    pub fn start(
        site: &Site,
        broker: u16,
        orders: Option<mpsc::Receiver<Order>>,
        events_file: Option<PathBuf>,
    ) -> Result<Upstream, EventsFileError> {
        let cloud = Arc::new(Cloud::start(CloudSettings {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: broker,
            topics: format!("sortd/v1/{}/{}", site.name, site.line_name),
            client_id: format!("cloud-{}", std::process::id()),
            hash_of: |document| sortd::uplink::hash::event_ids(document).map_err(|error| error.to_string()),
            from_the_first: true,
            events_file,
        })?);
        let pushing = tokio::spawn(push(orders, Arc::clone(&cloud)));
        Ok(Upstream { cloud, pushing })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.pushing.abort();
    }
}

/// A broker on this port if nobody answers there yet.
pub fn broker_unless_there(port: u16) -> Result<Option<Broker>, BrokerError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpStream::connect_timeout(&address, KNOCK).is_ok() {
        return Ok(None);
    }
    Broker::start_on(port).map(Some)
}

async fn push(orders: Option<mpsc::Receiver<Order>>, cloud: Arc<Cloud>) {
    let Some(mut orders) = orders else { return };
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() {
            match orders.recv().await {
                Some(order) => waiting.push(order),
                None => return,
            }
        }
        while waiting.len() < ORDERS_A_PUSH
            && let Ok(order) = orders.try_recv()
        {
            waiting.push(order);
        }
        // A cloud with too many unanswered orders takes these a moment later.
        if cloud.push_orders(&waiting).is_ok() {
            waiting.clear();
        }
        tokio::time::sleep(PUSH_PERIOD).await;
    }
}
