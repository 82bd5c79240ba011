//! What the closed sets and the records mean, in Chinese: the language of most who read a claim. The words are those
//! of the status page and of the README.

use crate::line::event::{Asked, Event, Started};
use crate::line::outcome::{Outcome, Reason};
use crate::line::record::{Body, Dropped, Fact, Input, Refusal, Report, Target, Untied};
use crate::line::{ChuteNo, ReaderId};
use crate::panel::words;

/// What a reason means.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRead => "没有读取设备读到可用的条码",
        Reason::MultiRead => "读到了两件不同包裹的条码",
        Reason::UnknownParcel => "条码有效，但没有对应的订单",
        Reason::AmbiguousCode => "条码符合多家承运商的格式，没有订单可以判断",
        Reason::OrderCancelled => "订单已取消",
        Reason::CodHold => "上游扣留：代收货款有疑问",
        Reason::CodMismatch => "面单与订单的代收金额不一致",
        Reason::CustomsHold => "上游因海关原因扣留",
        Reason::Repack => "需要先重新包装",
        Reason::Overweight => "订单注明超过分拣机的重量限制",
        Reason::Oversize => "订单注明超过分拣机的尺寸限制",
        Reason::WeightMismatch => "称重结果与订单不符",
        Reason::DangerousGoods => "未申报或不允许的危险品",
        Reason::NoRoute => "分拣方案中没有该目的地的格口",
        Reason::CarrierCutoff => "到达时已过承运商的截单时间",
        Reason::ChutesFull => "该目的地的所有格口已满或关闭",
        Reason::RecirculationLimit => "回流次数已用完，仍没有空格口",
        Reason::LateDecision => "决定作出时已过命令截止点",
        Reason::DivertFailed => "分流没有执行",
        Reason::Unconfirmed => "已分流，但格口传感器没有看到",
        Reason::Gap => "与相邻包裹的间距太小，不能安全分流",
        Reason::TooLong => "测得长度超过任何包裹：可能是两件连在一起",
        Reason::TrackingLost => "在皮带上的位置不再确定",
        Reason::Restart => "sortd 或 PLC 重启时它在皮带上",
        Reason::Purge => "皮带被清空",
        Reason::Damaged => "被报告为破损",
        Reason::ReturnToSender => "退回寄件人",
        Reason::HostOfflinePolicy => "上游离线，按规则不分拣",
    }
}

/// Why a chute was not taken.
pub fn dropped(rule: Dropped) -> &'static str {
    match rule {
        Dropped::Locked => "被人工锁定",
        Dropped::Disabled => "在 PLC 中停用",
        Dropped::Faulted => "故障（卡包，或多次分流未确认）",
        Dropped::FullSensor => "满格传感器报满",
        Dropped::NoRoom => "没有空位：已落和在途的件数达到容量",
        Dropped::Closing => "正在封袋或换袋",
        Dropped::Passed => "包裹已过该格口的命令截止点",
        Dropped::LessRoom => "同一目的地的另一格口空位更多",
        Dropped::OtherBag => "袋子是按之前的分拣计划为其他目的地开的",
    }
}

/// Why a reading has no parcel.
pub fn untied(why: Untied) -> &'static str {
    match why {
        Untied::NoParcel => "读取区内没有包裹",
        Untied::TwoParcels => "读取区内有两件包裹",
        Untied::NoEncoder => "当时没有编码器数据",
    }
}

/// Why the PLC did not take a command.
pub fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::UnknownId => "PLC 不认识该跟踪号",
        Refusal::TooLate => "包裹已过命令截止点",
        Refusal::ChuteFull => "PLC 认为格口已满",
        Refusal::ChuteDisabled => "PLC 已停用该格口",
    }
}

/// What an operator reported.
pub fn report(what: Report) -> &'static str {
    match what {
        Report::Found => "已找到",
        Report::Removed => "已从皮带上人工取下",
        Report::Damaged => "破损",
    }
}

/// One sentence about a record; `None` where there is no Chinese one, and the English one stands.
pub fn sentence(body: &Body, run: &Started) -> Option<String> {
    match body {
        Body::Fact(fact) => fact_sentence(fact, run),
        Body::Input(Input::Photo { photo, shows }) => {
            let (camera, name) = (words::plain(&photo.camera), words::plain(&photo.name));
            Some(match shows {
                Ok(_) => format!("{camera} 拍摄了 {name}"),
                Err(why) => format!("{camera} 拍摄了 {name}：{}，不归任何包裹", untied(*why)),
            })
        }
        Body::Input(Input::Event(Event::Ask(ask))) => {
            let by = words::plain(&ask.by);
            let said = match &ask.what {
                Asked::ParcelFound(_) => report(Report::Found),
                Asked::ParcelRemoved(_) => report(Report::Removed),
                Asked::ParcelDamaged(_) => report(Report::Damaged),
                _ => return None,
            };
            Some(format!("{by} 报告：{said}"))
        }
        Body::Input(_) => None,
    }
}

fn chute(chute: ChuteNo, run: &Started) -> String {
    match run.chutes.iter().find(|(number, _)| *number == chute.0) {
        Some((number, name)) => format!("格口 {number}“{}”", words::plain(name)),
        None => format!("格口 {}", chute.0),
    }
}

fn reader(reader: ReaderId, run: &Started) -> String {
    let name = run.readers.get(usize::from(reader.0));
    name.map_or_else(|| format!("读取设备 {}", reader.0), |name| words::plain(name))
}

fn fact_sentence(fact: &Fact, run: &Started) -> Option<String> {
    Some(match fact {
        Fact::Inducted { length_mm, .. } => format!("通过入口光电，长 {length_mm} 毫米"),
        Fact::Blank { reader: id, .. } => format!("{} 扫描后没有读到条码", reader(*id, run)),
        Fact::Tied { reader: id, reading, rssi_dbm, .. } => {
            let (text, kind) = words::reading(reading);
            let kind = kind.map(|kind| format!("（{kind}）")).unwrap_or_default();
            let rssi = rssi_dbm.map(|rssi| format!("，{rssi} dBm")).unwrap_or_default();
            format!("{} 读到 {text}{kind}{rssi}，归于此包裹", reader(*id, run))
        }
        Fact::Untied { reader: id, reading, why } => {
            let (text, _) = words::reading(reading);
            format!("{} 读到 {text}：{}，不归任何包裹", reader(*id, run), untied(*why))
        }
        Fact::Identified { key, order, carrier, .. } => {
            let order = match order {
                Some(order) => format!("，对应订单 {}", words::plain(order)),
                None => "，没有对应的订单".to_owned(),
            };
            let carrier =
                carrier.as_ref().map(|name| format!("，承运商 {}", words::plain(name))).unwrap_or_default();
            format!("识别为 {}{order}{carrier}", words::plain(&key.0))
        }
        Fact::Decided(decided) => {
            let to = match decided.to {
                Target::Chute(to) => format!("决定送往{}", chute(to, run)),
                Target::Exception(to, why) => {
                    format!("决定送往异常口（{}），因为{}", chute(to, run), reason(why))
                }
                Target::Recirculate(why) => format!("决定再回流一圈，因为{}", reason(why)),
            };
            let destination = decided.destination.as_deref().map(words::plain);
            let destination = destination.map(|name| format!("；目的地 {name}")).unwrap_or_default();
            format!("{to}{destination}；方案 {}，命令 {}", decided.plan, decided.command)
        }
        Fact::Acknowledged { command, slack_ms, .. } if *slack_ms >= 0 => {
            format!("PLC 接受了命令 {command}，距命令截止点还有 {slack_ms} 毫秒")
        }
        Fact::Acknowledged { command, slack_ms, .. } => {
            format!("PLC 接受了命令 {command}，已过命令截止点 {} 毫秒", slack_ms.unsigned_abs())
        }
        Fact::Refused { command, why, .. } => format!("PLC 拒绝了命令 {command}：{}", refusal(*why)),
        Fact::Recirculated { lap, .. } => format!("再次回流，第 {lap} 圈"),
        Fact::Ended { outcome, .. } => match outcome {
            Outcome::Sorted { chute: to } => format!("已确认落入{}", chute(*to, run)),
            Outcome::Exception { reason: why, chute: Some(to) } => {
                format!("异常（{}）：{}；在{}", why.name(), reason(*why), chute(*to, run))
            }
            Outcome::Exception { reason: why, chute: None } => {
                format!("异常（{}）：{}；没有传感器确认它在哪里", why.name(), reason(*why))
            }
            Outcome::Lost => "没有到达应到之处，下落不明".to_owned(),
        },
        Fact::Reported { what, by, code, .. } => {
            format!("{} 报告 {}：{}", words::plain(by), words::plain(code), report(*what))
        }
        Fact::OrderRefused { order, why, .. } => {
            format!("订单 {} 被拒绝：{}", words::plain(order), words::plain(why))
        }
        Fact::ChuteEmptied { chute: emptied, parcels } => {
            format!("{}已更换，内有 {parcels} 件", chute(*emptied, run))
        }
        _ => return None,
    })
}
