//! An order whose texts stand elsewhere: in the bytes it was read from, or in an [`Order`].
//!
//! A start reads a million stored orders, each with a dozen texts that only pass through on their way into the
//! table. Read like this none of them is ever copied. The stored form is [`Order`]'s own, and a test beside
//! it reads each order both ways.

use serde::{Deserialize, Deserializer};

use super::order::{Cod, Details, Hold, Order};

/// An order; see [`Order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRef<'a> {
    /// Order number.
    pub order: &'a str,
    /// Older revisions are ignored.
    pub revision: u32,
    /// Codes that may stand on the parcel.
    pub codes: Vec<&'a str>,
    /// Destination as the sort plan names it.
    pub destination: &'a str,
    /// Carrier code.
    pub carrier: Option<&'a str>,
    /// Cancelled.
    pub cancelled: bool,
    /// Upstream holds it.
    pub hold: Option<Hold>,
    /// What else upstream tells of it.
    pub details: Option<DetailsRef<'a>>,
}

/// The details of an order, in the order in which they are stored; see [`Details`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct DetailsRef<'a> {
    /// Country of destination.
    #[serde(borrow)]
    pub country: Option<&'a str>,
    /// Postcode of destination.
    pub postcode: Option<&'a str>,
    /// Service of the carrier.
    pub service: Option<&'a str>,
    /// Who sends it.
    pub customer: Option<&'a str>,
    /// Class of the goods.
    pub goods: Option<&'a str>,
    /// Weight of the goods, g.
    pub weight_g: Option<u32>,
    /// Length, width and height of the goods, mm.
    pub size_mm: Option<[u16; 3]>,
    /// Packaging chosen for it.
    pub pack: Option<&'a str>,
    /// Money to be collected at the door.
    pub cod: Option<CodRef<'a>>,
    /// May break.
    pub fragile: Option<bool>,
    /// Holds dangerous goods.
    pub dangerous_goods: Option<bool>,
    /// Number of the order it went out with.
    pub return_of: Option<&'a str>,
}

/// Cash on delivery; see [`Cod`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CodRef<'a> {
    /// Amount in the currency's smallest unit.
    pub minor: u64,
    /// Currency.
    pub currency: &'a str,
}

/// A stored hold, value by value as `order` writes it.
#[derive(Deserialize)]
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
    Detailed {
        hold: Option<Hold>,
        #[serde(borrow)]
        details: DetailsRef<'a>,
    },
}

/// A stored order, as `order` writes it.
type Stored<'a> = (&'a str, u32, Vec<&'a str>, &'a str, Option<&'a str>, bool, Option<StoredHold<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for OrderRef<'a> {
    /// Reads the stored form only; messages are read as [`Order`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OrderRef<'a>, D::Error> {
        let (order, revision, codes, destination, carrier, cancelled, hold) =
            Stored::deserialize(deserializer)?;
        let (hold, details) = match hold {
            Some(StoredHold::Detailed { hold, details }) => (hold, Some(details)),
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
        Ok(OrderRef { order, revision, codes, destination, carrier, cancelled, hold, details })
    }
}

impl<'a> From<&'a Order> for OrderRef<'a> {
    fn from(order: &'a Order) -> OrderRef<'a> {
        OrderRef {
            order: &order.order,
            revision: order.revision,
            codes: order.codes.iter().map(String::as_str).collect(),
            destination: &order.destination,
            carrier: order.carrier.as_deref(),
            cancelled: order.cancelled,
            hold: order.hold,
            details: order.details.as_deref().map(DetailsRef::from),
        }
    }
}

impl<'a> From<&'a Details> for DetailsRef<'a> {
    fn from(details: &'a Details) -> DetailsRef<'a> {
        DetailsRef {
            country: details.country.as_deref(),
            postcode: details.postcode.as_deref(),
            service: details.service.as_deref(),
            customer: details.customer.as_deref(),
            goods: details.goods.as_deref(),
            weight_g: details.weight_g,
            size_mm: details.size_mm,
            pack: details.pack.as_deref(),
            cod: details.cod.as_ref().map(CodRef::from),
            fragile: details.fragile,
            dangerous_goods: details.dangerous_goods,
            return_of: details.return_of.as_deref(),
        }
    }
}

impl<'a> From<&'a Cod> for CodRef<'a> {
    fn from(cod: &'a Cod) -> CodRef<'a> {
        CodRef { minor: cod.minor, currency: &cod.currency }
    }
}

impl<'a> OrderRef<'a> {
    /// Every text of it.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        let details = self.details.iter().flat_map(|details| {
            let currency = details.cod.as_ref().map(|cod| cod.currency);
            let texts = [
                details.country,
                details.postcode,
                details.service,
                details.customer,
                details.goods,
                details.pack,
                currency,
                details.return_of,
            ];
            texts.into_iter().flatten()
        });
        let texts = [self.order, self.destination].into_iter().chain(self.carrier);
        texts.chain(self.codes.iter().copied()).chain(details)
    }
}
