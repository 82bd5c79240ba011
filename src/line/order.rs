//! An order as upstream tells it, and as it is stored.
//!
//! Stored orders stand in records, snapshots and the register, in a form that says nothing of its own fields.
//! So their form is for ever; what an order has learned to carry since, its [`Details`], stands where an old
//! order has its hold: in the last of the values that a stored hold may have. An order without details is
//! stored as it always was.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::outcome::Reason;
use crate::site::Traits;

/// An order as upstream tells it: one parcel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// Order number, upstream's own.
    pub order: String,
    /// Older revisions are ignored.
    pub revision: u32,
    /// Codes that may stand on the parcel: waybill, SSCC, EPC tag URI, …
    pub codes: Vec<String>,
    /// Destination; where the sort plan has no row for it, the rows with other conditions are asked.
    pub destination: String,
    /// Carrier code of `carriers.toml`.
    pub carrier: Option<String>,
    /// Cancelled: to the exception chute.
    pub cancelled: bool,
    /// Upstream holds it, with the outcome reason it gave.
    pub hold: Option<Hold>,
    /// What else upstream tells of it, where it tells anything.
    pub details: Option<Box<Details>>,
}

/// What upstream may tell of an order beyond where its parcel goes. What it does not tell is not known: a
/// missing declaration is never taken for "no".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Country of destination, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Postcode of destination, as the country writes it.
    pub postcode: Option<String>,
    /// Service of the carrier, e.g. `STD`, `EXP`.
    pub service: Option<String>,
    /// Who sends it: the exporter.
    pub customer: Option<String>,
    /// Class of the goods, as the packaging table names it.
    pub goods: Option<String>,
    /// Weight of the goods without packaging, g.
    pub weight_g: Option<u32>,
    /// Length, width and height of the goods without packaging, mm.
    pub size_mm: Option<[u16; 3]>,
    /// Packaging chosen for it, a code of the packaging table.
    pub pack: Option<String>,
    /// Money to be collected at the door; `None`: nothing was said of any.
    pub cod: Option<Cod>,
    /// May break.
    pub fragile: Option<bool>,
    /// Holds dangerous goods, batteries included.
    pub dangerous_goods: Option<bool>,
    /// The parcel returns: number of the order it went out with.
    pub return_of: Option<String>,
}

/// Cash on delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cod {
    /// Amount in the currency's smallest unit.
    pub minor: u64,
    /// Currency, ISO 4217.
    pub currency: String,
}

/// How an order is written in messages.
#[derive(Serialize, Deserialize)]
struct Told {
    order: String,
    revision: u32,
    codes: Vec<String>,
    destination: String,
    carrier: Option<String>,
    #[serde(default)]
    cancelled: bool,
    #[serde(default)]
    hold: Option<Hold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postcode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goods: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight_g: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_mm: Option<[u16; 3]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cod: Option<Cod>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragile: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dangerous_goods: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    return_of: Option<String>,
}

impl From<Order> for Told {
    fn from(order: Order) -> Told {
        let Order { order, revision, codes, destination, carrier, cancelled, hold, details } = order;
        let Details {
            country,
            postcode,
            service,
            customer,
            goods,
            weight_g,
            size_mm,
            pack,
            cod,
            fragile,
            dangerous_goods,
            return_of,
        } = details.map(|details| *details).unwrap_or_default();
        Told {
            order,
            revision,
            codes,
            destination,
            carrier,
            cancelled,
            hold,
            country,
            postcode,
            service,
            customer,
            goods,
            weight_g,
            size_mm,
            pack,
            cod,
            fragile,
            dangerous_goods,
            return_of,
        }
    }
}

impl From<Told> for Order {
    fn from(told: Told) -> Order {
        let details = Details {
            country: told.country,
            postcode: told.postcode,
            service: told.service,
            customer: told.customer,
            goods: told.goods,
            weight_g: told.weight_g,
            size_mm: told.size_mm,
            pack: told.pack,
            cod: told.cod,
            fragile: told.fragile,
            dangerous_goods: told.dangerous_goods,
            return_of: told.return_of,
        };
        Order {
            order: told.order,
            revision: told.revision,
            codes: told.codes,
            destination: told.destination,
            carrier: told.carrier,
            cancelled: told.cancelled,
            hold: told.hold,
            details: (details != Details::default()).then(|| Box::new(details)),
        }
    }
}

/// A hold of a stored order, in the order of [`Hold`]; or, at the end, whatever an order had no place for.
#[derive(Serialize, Deserialize)]
enum StoredHold<'a> {
    CodHold,
    CodMismatch,
    CustomsHold,
    DangerousGoods,
    ReturnToSender,
    Repack,
    WeightMismatch,
    Oversize,
    Overweight,
    Detailed { hold: Option<Hold>, details: Cow<'a, Box<Details>> },
}

/// A stored order: number, revision, codes, destination, carrier, whether it is cancelled, hold.
type Stored<'a> = (
    Cow<'a, str>,
    u32,
    Cow<'a, [String]>,
    Cow<'a, str>,
    Cow<'a, Option<String>>,
    bool,
    Option<StoredHold<'a>>,
);

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Told::from(self.clone()).serialize(serializer);
        }
        let hold = match &self.details {
            None => self.hold.map(StoredHold::from),
            Some(details) => Some(StoredHold::Detailed { hold: self.hold, details: Cow::Borrowed(details) }),
        };
        let stored: Stored<'_> = (
            Cow::Borrowed(&self.order),
            self.revision,
            Cow::Borrowed(&self.codes),
            Cow::Borrowed(&self.destination),
            Cow::Borrowed(&self.carrier),
            self.cancelled,
            hold,
        );
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Order, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(Told::deserialize(deserializer)?.into());
        }
        let (order, revision, codes, destination, carrier, cancelled, hold) =
            Stored::deserialize(deserializer)?;
        let (hold, details) = match hold {
            Some(StoredHold::Detailed { hold, details }) => (hold, Some(details.into_owned())),
            Some(StoredHold::CodHold) => (Some(Hold::CodHold), None),
            Some(StoredHold::CodMismatch) => (Some(Hold::CodMismatch), None),
            Some(StoredHold::CustomsHold) => (Some(Hold::CustomsHold), None),
            Some(StoredHold::DangerousGoods) => (Some(Hold::DangerousGoods), None),
            Some(StoredHold::ReturnToSender) => (Some(Hold::ReturnToSender), None),
            Some(StoredHold::Repack) => (Some(Hold::Repack), None),
            Some(StoredHold::WeightMismatch) => (Some(Hold::WeightMismatch), None),
            Some(StoredHold::Oversize) => (Some(Hold::Oversize), None),
            Some(StoredHold::Overweight) => (Some(Hold::Overweight), None),
            None => (None, None),
        };
        Ok(Order {
            order: order.into_owned(),
            revision,
            codes: codes.into_owned(),
            destination: destination.into_owned(),
            carrier: carrier.into_owned(),
            cancelled,
            hold,
            details,
        })
    }
}

impl From<Hold> for StoredHold<'_> {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::CodHold => StoredHold::CodHold,
            Hold::CodMismatch => StoredHold::CodMismatch,
            Hold::CustomsHold => StoredHold::CustomsHold,
            Hold::DangerousGoods => StoredHold::DangerousGoods,
            Hold::ReturnToSender => StoredHold::ReturnToSender,
            Hold::Repack => StoredHold::Repack,
            Hold::WeightMismatch => StoredHold::WeightMismatch,
            Hold::Oversize => StoredHold::Oversize,
            Hold::Overweight => StoredHold::Overweight,
        }
    }
}

impl Order {
    /// Its details; those of an order that has none say nothing.
    pub fn details(&self) -> &Details {
        self.details.as_deref().unwrap_or(&NOTHING)
    }

    /// What a sort plan may ask of it.
    pub fn traits(&self) -> Traits<'_> {
        let details = self.details();
        Traits {
            destination: &self.destination,
            country: details.country.as_deref(),
            postcode: details.postcode.as_deref(),
            carrier: self.carrier.as_deref(),
            service: details.service.as_deref(),
            customer: details.customer.as_deref(),
            goods: details.goods.as_deref(),
        }
    }
}

/// Details that say nothing.
static NOTHING: Details = Details {
    country: None,
    postcode: None,
    service: None,
    customer: None,
    goods: None,
    weight_g: None,
    size_mm: None,
    pack: None,
    cod: None,
    fragile: None,
    dangerous_goods: None,
    return_of: None,
};

impl Details {
    /// The texts, by the names that messages give them.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let texts = [
            ("country", &self.country),
            ("postcode", &self.postcode),
            ("service", &self.service),
            ("customer", &self.customer),
            ("goods", &self.goods),
            ("pack", &self.pack),
            ("return_of", &self.return_of),
        ];
        let currency = self.cod.as_ref().map(|cod| ("cod.currency", &cod.currency));
        texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))).chain(currency)
    }
}

/// Why upstream holds a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Money at the door is in question.
    CodHold,
    /// Label and order disagree about money.
    CodMismatch,
    /// Customs.
    CustomsHold,
    /// Dangerous goods not declared or not permitted.
    DangerousGoods,
    /// Goes back.
    ReturnToSender,
    /// To be repacked first.
    Repack,
    /// The scale says otherwise than the order.
    WeightMismatch,
    /// Too large for the sorter.
    Oversize,
    /// Too heavy for the sorter.
    Overweight,
}

impl Hold {
    /// The reason with which a parcel that is held ends.
    pub fn reason(self) -> Reason {
        match self {
            Hold::CodHold => Reason::CodHold,
            Hold::CodMismatch => Reason::CodMismatch,
            Hold::CustomsHold => Reason::CustomsHold,
            Hold::DangerousGoods => Reason::DangerousGoods,
            Hold::ReturnToSender => Reason::ReturnToSender,
            Hold::Repack => Reason::Repack,
            Hold::WeightMismatch => Reason::WeightMismatch,
            Hold::Oversize => Reason::Oversize,
            Hold::Overweight => Reason::Overweight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::borrowed::OrderRef;
    use super::*;

    /// The form of all orders stored before there were details.
    #[derive(Serialize)]
    struct First {
        order: String,
        revision: u32,
        codes: Vec<String>,
        destination: String,
        carrier: Option<String>,
        cancelled: bool,
        hold: Option<Hold>,
    }

    fn bytes(value: &impl Serialize) -> Vec<u8> {
        bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("it is encoded")
    }

    fn order(hold: Option<Hold>) -> Order {
        let codes = vec!["A".to_owned()];
        Order {
            order: "o".to_owned(),
            revision: 3,
            codes,
            destination: "TH".to_owned(),
            hold,
            ..Order::default()
        }
    }

    const HOLDS: [Hold; 9] = [
        Hold::CodHold,
        Hold::CodMismatch,
        Hold::CustomsHold,
        Hold::DangerousGoods,
        Hold::ReturnToSender,
        Hold::Repack,
        Hold::WeightMismatch,
        Hold::Oversize,
        Hold::Overweight,
    ];

    #[test]
    fn orders_without_details_are_stored_as_they_always_were() {
        for hold in HOLDS.into_iter().map(Some).chain([None]) {
            let Order { order, revision, codes, destination, carrier, cancelled, hold, .. } = order(hold);
            let first = First { order, revision, codes, destination, carrier, cancelled, hold };
            assert_eq!(bytes(&self::order(hold)), bytes(&first));
        }
    }

    #[test]
    fn every_order_comes_back_from_both_forms() {
        let details = Details {
            country: Some("TH".to_owned()),
            postcode: Some("10110".to_owned()),
            service: Some("STD".to_owned()),
            customer: Some("acme".to_owned()),
            goods: Some("ceramics".to_owned()),
            weight_g: Some(740),
            size_mm: Some([200, 150, 90]),
            pack: Some("FOAM-2".to_owned()),
            cod: Some(Cod { minor: 129_900, currency: "THB".to_owned() }),
            fragile: Some(true),
            dangerous_goods: Some(false),
            return_of: Some("SO-1".to_owned()),
        };
        for hold in HOLDS.into_iter().map(Some).chain([None]) {
            for details in [None, Some(Box::new(Details::default())), Some(Box::new(details.clone()))] {
                let order = Order { details, ..order(hold) };
                let config = bincode::config::standard();
                let bytes = bytes(&order);
                let (stored, _): (Order, usize) =
                    bincode::serde::decode_from_slice(&bytes, config).expect("it is decoded");
                assert_eq!(stored, order);
                let (borrowed, used): (OrderRef<'_>, usize) =
                    bincode::serde::borrow_decode_from_slice(&bytes, config).expect("it is decoded");
                assert_eq!((borrowed, used), (OrderRef::from(&order), bytes.len()));
                if order.details.as_deref().is_some_and(|details| *details == Details::default()) {
                    // A message that tells nothing tells no details either.
                    continue;
                }
                let told = serde_json::to_value(&order).expect("it is written");
                assert_eq!(serde_json::from_value::<Order>(told).expect("it is read"), order);
            }
        }
    }
}
