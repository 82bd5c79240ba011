//! All readings of one parcel together.

use super::{Identification, Key, Verdict};

/// The verdict over the readings of one parcel, whatever their order; see [`super::verdict`].
pub(super) fn over(readings: &[Identification], order_of: impl Fn(&Key) -> Option<u64>) -> Verdict {
    let mut keys: Vec<&Key> = readings.iter().filter_map(|reading| reading.key.as_ref()).collect();
    keys.sort_by_key(|key| (key.rank(), *key));
    keys.dedup();

    let bound: Vec<(&Key, u64)> =
        keys.iter().filter_map(|key| order_of(key).map(|order| (*key, order))).collect();
    if let Some((first, order)) = bound.first() {
        if bound.iter().any(|(_, other)| other != order) {
            return Verdict::MultiRead(bound.into_iter().map(|(key, _)| key.clone()).collect());
        }
        // A code of another parcel, whose order is not known: two of them lie so close that they look as one.
        let strangers = |key: &&&Key| order_of(key).is_none() && names_a_parcel(readings, key);
        if keys.iter().any(|key| strangers(&key)) {
            let all = keys.iter().filter(|key| order_of(key).is_some() || strangers(key));
            return Verdict::MultiRead(all.map(|key| (*key).clone()).collect());
        }
        let carriers = carriers(readings, |key| bound.iter().any(|(bound, _)| *bound == key));
        return identity(readings, first, carriers);
    }

    keys.retain(|key| {
        readings.iter().any(|reading| reading.stands_alone && reading.key.as_ref() == Some(*key))
    });
    match keys.as_slice() {
        [] => Verdict::NoRead,
        [key] => {
            let carriers = carriers(readings, |named| named == *key);
            if carriers.len() > 1 {
                return Verdict::Ambiguous((*key).clone(), carriers.into_iter().map(str::to_owned).collect());
            }
            identity(readings, key, carriers)
        }
        _ => Verdict::MultiRead(keys.into_iter().cloned().collect()),
    }
}

/// The key is a parcel's by itself: a waybill, an SSCC, a postal item. A serialised GTIN may be what lies in
/// the parcel, tagged by its maker.
fn names_a_parcel(readings: &[Identification], key: &Key) -> bool {
    !key.names_goods()
        && readings.iter().any(|reading| reading.stands_alone && reading.key.as_ref() == Some(key))
}

/// The carriers that readings with such keys fit, sorted, each once.
fn carriers(readings: &[Identification], of: impl Fn(&Key) -> bool) -> Vec<&str> {
    let mut carriers: Vec<&str> = readings
        .iter()
        .filter(|reading| reading.key.as_ref().is_some_and(&of))
        .flat_map(|reading| reading.carriers.iter().map(String::as_str))
        .collect();
    carriers.sort_unstable();
    carriers.dedup();
    carriers
}

fn identity(readings: &[Identification], key: &Key, carriers: Vec<&str>) -> Verdict {
    // A tag gives the pure identity URI, a label the Digital Link of the same key: the tag's is taken, for
    // only it says which digits are the company's.
    let uri = readings
        .iter()
        .filter(|reading| reading.key.as_ref() == Some(key))
        .filter_map(|reading| reading.uri.as_ref())
        .min_by_key(|uri| (!super::epc::is_uri(uri), *uri));
    let carrier = match carriers.as_slice() {
        [only] => Some((*only).to_owned()),
        _ => None,
    };
    Verdict::Identity { key: key.clone(), uri: uri.cloned(), carrier }
}
