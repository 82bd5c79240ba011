//! How a pass ends: one state, one reason, out of a closed set that grows by issue only.

use serde::{Deserialize, Serialize};

use super::ChuteNo;

/// The end of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Confirmed in a chute of its destination.
    Sorted {
        /// Which.
        chute: ChuteNo,
    },
    /// In the exception chute, or somewhere it was not meant for.
    Exception {
        /// Why.
        reason: Reason,
        /// Where it is, if the PLC confirmed a place.
        chute: Option<ChuteNo>,
    },
    /// Nobody knows where it is.
    Lost,
}

/// Why a pass ended as an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the field's own and are explained in README.md")]
pub enum Reason {
    NoRead,
    MultiRead,
    UnknownParcel,
    AmbiguousCode,
    OrderCancelled,
    CodHold,
    CodMismatch,
    CustomsHold,
    Repack,
    Overweight,
    Oversize,
    WeightMismatch,
    DangerousGoods,
    NoRoute,
    CarrierCutoff,
    ChutesFull,
    RecirculationLimit,
    LateDecision,
    DivertFailed,
    Unconfirmed,
    Gap,
    TooLong,
    TrackingLost,
    Restart,
    Purge,
    Damaged,
    ReturnToSender,
    HostOfflinePolicy,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Reason; 28] = [
        Reason::NoRead,
        Reason::MultiRead,
        Reason::UnknownParcel,
        Reason::AmbiguousCode,
        Reason::OrderCancelled,
        Reason::CodHold,
        Reason::CodMismatch,
        Reason::CustomsHold,
        Reason::Repack,
        Reason::Overweight,
        Reason::Oversize,
        Reason::WeightMismatch,
        Reason::DangerousGoods,
        Reason::NoRoute,
        Reason::CarrierCutoff,
        Reason::ChutesFull,
        Reason::RecirculationLimit,
        Reason::LateDecision,
        Reason::DivertFailed,
        Reason::Unconfirmed,
        Reason::Gap,
        Reason::TooLong,
        Reason::TrackingLost,
        Reason::Restart,
        Reason::Purge,
        Reason::Damaged,
        Reason::ReturnToSender,
        Reason::HostOfflinePolicy,
    ];

    /// The name used in every published place, e.g. `no_read`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoRead => "no_read",
            Reason::MultiRead => "multi_read",
            Reason::UnknownParcel => "unknown_parcel",
            Reason::AmbiguousCode => "ambiguous_code",
            Reason::OrderCancelled => "order_cancelled",
            Reason::CodHold => "cod_hold",
            Reason::CodMismatch => "cod_mismatch",
            Reason::CustomsHold => "customs_hold",
            Reason::Repack => "repack",
            Reason::Overweight => "overweight",
            Reason::Oversize => "oversize",
            Reason::WeightMismatch => "weight_mismatch",
            Reason::DangerousGoods => "dangerous_goods",
            Reason::NoRoute => "no_route",
            Reason::CarrierCutoff => "carrier_cutoff",
            Reason::ChutesFull => "chutes_full",
            Reason::RecirculationLimit => "recirculation_limit",
            Reason::LateDecision => "late_decision",
            Reason::DivertFailed => "divert_failed",
            Reason::Unconfirmed => "unconfirmed",
            Reason::Gap => "gap",
            Reason::TooLong => "too_long",
            Reason::TrackingLost => "tracking_lost",
            Reason::Restart => "restart",
            Reason::Purge => "purge",
            Reason::Damaged => "damaged",
            Reason::ReturnToSender => "return_to_sender",
            Reason::HostOfflinePolicy => "host_offline_policy",
        }
    }
}
