//! Whether every record of a pass is here.
//!
//! The outlines of a segment name the pass of each record that is not shown, and the signed chain holds them. So where
//! one segment leads from the induction of a pass over its end to an anchor, and none of its outlines names the pass,
//! nobody has left out a record of it. What came behind the anchor, and what names the parcel's code without belonging
//! to a pass, no outline tells: that is not proven.

use serde::{Deserialize, Serialize};

use super::parcel::{Parcel, Pass, Stamp, stamp};
use super::proof::Shown;
use crate::line::PassKey;
use crate::line::record::{Body, Fact};

/// A pass of which every record is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// Pass.
    pub pass: String,
    /// Record of its induction.
    pub from: u64,
    /// Up to this record; whether a later one is of the pass is not proven.
    pub to: u64,
    /// When that one had been signed: records that came later are not spoken of.
    pub signed: Stamp,
}

/// A pass of which that is not proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// Pass.
    pub pass: String,
    /// Record that is the reason, where one is.
    pub record: Option<u64>,
    /// Why, behind "pass N: ".
    pub en: String,
    /// The same in Chinese.
    pub zh: String,
}

/// Each pass, in order.
pub fn passes(parcel: &Parcel, shown: &Shown) -> Vec<Result<Complete, Incomplete>> {
    let named = parcel.passes.iter().filter_map(|pass| Some((pass.pass.as_deref()?, pass)));
    named
        .map(|(name, pass)| {
            look(name, pass, shown).map_err(|(record, en, zh)| Incomplete {
                pass: name.to_owned(),
                record,
                en,
                zh,
            })
        })
        .collect()
}

type Why = (Option<u64>, String, String);

fn look(name: &str, pass: &Pass, shown: &Shown) -> Result<Complete, Why> {
    let key = key_of(name).ok_or_else(|| (None, "its name is none".to_owned(), "其编号无效".to_owned()))?;
    let mut records = shown.records.iter().map(|dated| &dated.record);
    let first =
        records.find(|record| record.body.pass() == Some(key)).map(|record| (record.seq, &record.body));
    let Some((from, Body::Fact(Fact::Inducted { .. }))) = first else {
        return Err((None, "its induction is not here".to_owned(), "没有入口记录".to_owned()));
    };
    let Some(about) = shown.about.get(&from) else {
        return Err((
            Some(from),
            "its records were written by a version whose chain does not say which pass a record is of"
                .to_owned(),
            "写入这些记录的版本，其哈希链不说明每条记录属于哪次经过".to_owned(),
        ));
    };
    let run = about.run.filter(|run| Some(run.seq) == pass.run.record);
    if run.is_none_or(|run| shown.starts.get(&run.seq) != Some(&run.digest)) {
        return Err((
            Some(from),
            "the start of the run it belongs to is not here: names may be those of another time".to_owned(),
            "缺少其所属的启动记录，名称可能属于另一时间".to_owned(),
        ));
    }
    let stretch = shown.stretches.iter().find(|stretch| stretch.first <= from && from <= stretch.last);
    let Some(stretch) = stretch else {
        return Err((
            Some(from),
            "no signed anchor covers its induction".to_owned(),
            "没有签名锚点覆盖其入口记录".to_owned(),
        ));
    };
    let to = stretch.last;
    if let Some(end) = pass.end.as_ref().filter(|end| end.record > to) {
        return Err((
            Some(end.record),
            format!("records {from} to {to} are accounted for, but it ended with record {}", end.record),
            format!("只核实了记录 {from} 至 {to}，而结束记录是 {}", end.record),
        ));
    }
    if let Some(left_out) = stretch.others.get(&(key.epoch, key.track)) {
        return Err((
            Some(*left_out),
            format!("record {left_out} is of this pass and is not here"),
            format!("记录 {left_out} 属于这次经过，但不在此处"),
        ));
    }
    if let Some(bare) = stretch.bare.filter(|bare| *bare > from) {
        return Err((
            Some(bare),
            format!("of record {bare} only a digest is here, which may be of this pass"),
            format!("记录 {bare} 只有摘要，可能属于这次经过"),
        ));
    }
    let signed = stamp(stretch.signed_us, &pass.run.time_zone);
    Ok(Complete { pass: name.to_owned(), from, to, signed })
}

fn key_of(name: &str) -> Option<PassKey> {
    let (epoch, track) = name.split_once('-')?;
    Some(PassKey { epoch: epoch.parse().ok()?, track: track.parse().ok()? })
}
