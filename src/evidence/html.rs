//! `evidence.html`: the evidence for people who decide claims. English and Chinese side by side, printable, no script,
//! nothing from elsewhere. Every text from outside is escaped and put into an element that isolates its direction.

use super::document::{Evidence, PhotoState};
use super::parcel::{Chute, Decision, End, Looked, Pass, Stamp};
use super::photos::is_shown;
use crate::panel::words;

const STYLE: &str = include_str!("evidence.css");

/// The page.
pub fn page(evidence: &Evidence) -> String {
    let mut page = Page(String::new());
    let code = text(&evidence.code);
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src 'self' file:; base-uri 'none'; form-action 'none'\">\n",
    );
    page.raw(&format!("<title>{code} · Claim evidence</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    page.raw("<header>\n<p class=\"kicker\">Claim evidence <span lang=\"zh-Hans\">理赔证据</span></p>\n");
    page.raw(&format!("<h1><bdi>{code}</bdi></h1>\n"));
    let last = evidence.parcel.passes.last();
    if let Some(pass) = last {
        page.answer(pass);
    }
    page.raw("</header>\n<main>\n");
    page.summary(evidence);
    page.missing(evidence);
    for (at, pass) in evidence.parcel.passes.iter().enumerate() {
        page.pass(at + 1, pass, evidence);
    }
    page.proof(evidence);
    page.raw("</main>\n</body>\n</html>\n");
    page.0
}

/// Escaped, and safe for the eye.
fn text(outside: &str) -> String {
    let mut safe = String::with_capacity(outside.len());
    for letter in words::plain(outside).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

fn both(en: &str, zh: &str) -> String {
    if en == zh {
        return en.to_owned();
    }
    format!("{en} <span lang=\"zh-Hans\">{zh}</span>")
}

fn chute(chute: &Chute) -> String {
    match &chute.name {
        Some(name) => format!("{} “<bdi>{}</bdi>”", chute.number, text(name)),
        None => chute.number.to_string(),
    }
}

fn time(stamp: &Stamp) -> String {
    format!("<time datetime=\"{}\">{}</time>", text(&stamp.utc), text(&stamp.local))
}

/// Where a pass ended, as a class, English and Chinese.
fn outcome(end: Option<&End>, tied: bool) -> (&'static str, String, String) {
    let Some(end) = end else {
        return if tied {
            ("open", "On the belt when this was made.".to_owned(), "生成本证据时仍在皮带上。".to_owned())
        } else {
            let zh = "该条码出现过，但没有与皮带上的包裹对应。".to_owned();
            ("open", "The code was seen, but never tied to a parcel on the belt.".to_owned(), zh)
        };
    };
    let place = end.chute.as_ref().map(chute);
    match (end.outcome.as_str(), &end.reason) {
        ("sorted", _) => {
            let place = place.unwrap_or_default();
            (
                "sorted",
                format!("Sorted into chute {place}, confirmed by its sensor."),
                format!("已分拣至格口 {place}，传感器已确认。"),
            )
        }
        ("exception", Some(reason)) => {
            let (name, en, zh) = (text(&reason.name), text(&reason.en), text(&reason.zh));
            let at_en = place.as_ref().map_or("; no sensor confirmed where it is".to_owned(), |place| {
                format!("; it is in chute {place}")
            });
            let at_zh = place.as_ref().map_or("；没有传感器确认它在哪里".to_owned(), |place| {
                format!("；在格口 {place}")
            });
            (
                "exception",
                format!("Exception (<code>{name}</code>): {en}{at_en}."),
                format!("异常：{zh}{at_zh}。"),
            )
        }
        ("lost", _) => {
            let en = "Lost: it did not arrive where it was due.".to_owned();
            ("exception", en, "丢失：没有到达应到之处。".to_owned())
        }
        _ => ("exception", "Exception.".to_owned(), "异常。".to_owned()),
    }
}

struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn heading(&mut self, level: u8, en: &str, zh: &str) {
        self.raw(&format!("<h{level}>{}</h{level}>\n", both(en, zh)));
    }

    /// A list of names and values; values are HTML, and those without one are left out.
    fn facts(&mut self, facts: &[(&str, &str, Option<String>)]) {
        self.raw("<dl class=\"facts\">\n");
        for (en, zh, value) in facts {
            if let Some(value) = value {
                self.raw(&format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", both(en, zh)));
            }
        }
        self.raw("</dl>\n");
    }

    fn table(&mut self, caption: (&str, &str), columns: &[(&str, &str)], rows: &[Vec<String>]) {
        self.raw(&format!(
            "<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr>",
            both(caption.0, caption.1)
        ));
        for (en, zh) in columns {
            self.raw(&format!("<th scope=\"col\">{}</th>", both(en, zh)));
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                self.raw(&format!("<td>{cell}</td>"));
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table></div>\n");
    }

    fn answer(&mut self, pass: &Pass) {
        let (class, en, zh) = outcome(pass.end.as_ref(), pass.pass.is_some());
        self.raw(&format!("<p class=\"answer {class}\">{en}<br><span lang=\"zh-Hans\">{zh}</span></p>\n"));
    }

    fn summary(&mut self, evidence: &Evidence) {
        let parcel = &evidence.parcel;
        let listed = |values: &[String]| {
            let values: Vec<String> =
                values.iter().map(|value| format!("<bdi>{}</bdi>", text(value))).collect();
            (!values.is_empty()).then(|| values.join("<br>"))
        };
        let orders: Vec<String> = parcel
            .orders
            .iter()
            .map(|order| format!("{} (revision {}) → {}", order.order, order.revision, order.destination))
            .collect();
        let run = parcel.passes.last().map(|pass| &pass.run);
        let photos = evidence.photos.len();
        let present = evidence.photos.iter().filter(|photo| photo.state == PhotoState::Present).count();
        let (anchored, records) = (evidence.proof.anchored, evidence.proof.records);
        self.raw("<section>\n");
        self.facts(&[
            ("Identity", "识别为", listed(&parcel.identities)),
            ("Orders", "订单", listed(&orders)),
            (
                "Site and line",
                "站点和线体",
                run.map(|run| format!("{} / {}", text(&run.site), text(&run.line))),
            ),
            ("Passes", "经过次数", Some(parcel.passes.len().to_string())),
            ("Photos", "照片", (photos > 0).then(|| format!("{present} / {photos}"))),
            (
                "Proof",
                "证明",
                Some(format!(
                    "{anchored} / {records} {}",
                    both("records covered by a signed anchor", "条记录由签名锚点覆盖")
                )),
            ),
        ]);
        self.raw("</section>\n");
    }

    fn missing(&mut self, evidence: &Evidence) {
        if evidence.missing.is_empty() {
            return;
        }
        self.raw("<section class=\"missing\">\n");
        self.heading(2, "What is missing or not sure", "缺失或不确定的内容");
        self.raw("<ul>\n");
        for missing in &evidence.missing {
            let mark = if missing.stated {
                format!(" <em>({})</em>", both("stated, not proven", "控制器声明，未经证实"))
            } else {
                String::new()
            };
            self.raw(&format!(
                "<li>{}<br><span lang=\"zh-Hans\">{}</span>{mark}</li>\n",
                text(&missing.en),
                text(&missing.zh)
            ));
        }
        self.raw("</ul>\n</section>\n");
    }

    fn pass(&mut self, number: usize, pass: &Pass, evidence: &Evidence) {
        self.raw("<section class=\"pass\">\n");
        self.heading(2, &format!("Pass {number}"), &format!("第 {number} 次经过"));
        self.answer(pass);
        let plain =
            |value: &Option<String>| value.as_ref().map(|value| format!("<bdi>{}</bdi>", text(value)));
        self.facts(&[
            ("Began", "开始", Some(time(&pass.began))),
            ("UTC", "协调世界时", Some(text(&pass.began.utc))),
            ("Track", "跟踪号", plain(&pass.pass)),
            ("Identity", "识别为", plain(&pass.identity)),
            ("Carrier", "承运商", plain(&pass.carrier)),
            ("Order", "订单", plain(&pass.order)),
            ("Destination", "目的地", plain(&pass.destination)),
            (
                "Slack",
                "余量",
                pass.end.as_ref().and_then(|end| end.slack_ms).map(|slack| format!("{slack} ms")),
            ),
            ("Wall clock", "系统时钟", Some(text(&pass.run.clock))),
            (
                "Program, start",
                "程序版本、启动次数",
                Some(format!("sortd {}, {}", text(&pass.run.program), pass.run.boot)),
            ),
        ]);
        self.figures(pass, evidence);
        self.reads(pass);
        for decision in &pass.decisions {
            self.decision(decision);
        }
        self.timeline(pass);
        self.events(pass, evidence);
        self.raw("</section>\n");
    }

    fn figures(&mut self, pass: &Pass, evidence: &Evidence) {
        if pass.photos.is_empty() {
            return;
        }
        self.heading(3, "Photos", "照片");
        self.raw("<div class=\"photos\">\n");
        for record in &pass.photos {
            let Some(photo) = evidence.photos.iter().find(|photo| photo.record == record.record) else {
                continue;
            };
            let (camera, name) = (text(&record.camera), text(&record.name));
            self.raw("<figure>\n");
            match (&photo.file, photo.state) {
                (Some(file), PhotoState::Present) if is_shown(file) => self.raw(&format!(
                    "<a href=\"{file}\"><img src=\"{file}\" alt=\"Photo of the parcel by {camera}, {}\"></a>\n",
                    text(&record.taken.local)
                )),
                (Some(file), PhotoState::Present) => self.raw(&format!("<p><a href=\"{file}\">{name}</a></p>\n")),
                (_, PhotoState::Changed) => self.raw(&format!(
                    "<p class=\"gone\">{}</p>\n",
                    both("The file is not what was recorded", "文件与记录不符")
                )),
                (_, PhotoState::Present | PhotoState::Missing | PhotoState::LeftOut) => {
                    self.raw(&format!("<p class=\"gone\">{}</p>\n", both("Not at hand", "文件不在")));
                }
            }
            self.raw(&format!(
                "<figcaption><bdi>{camera}</bdi> · {}<br><small><bdi>{name}</bdi><br>SHA-256 {}</small></figcaption>\n</figure>\n",
                time(&record.taken),
                text(&record.sha256)
            ));
        }
        self.raw("</div>\n");
    }

    fn reads(&mut self, pass: &Pass) {
        let mut rows = Vec::new();
        for reader in &pass.reads {
            for read in &reader.reads {
                let code = match &read.code {
                    Some(code) => format!("<bdi><code>{}</code></bdi>", text(code)),
                    None => both("nothing", "没有读到"),
                };
                let rssi = read.rssi_dbm.map(|rssi| format!(", {rssi} dBm")).unwrap_or_default();
                let kind = read.kind.as_deref().map(text).unwrap_or_default();
                let tied = match &read.not_tied {
                    Some(why) => text(why),
                    None => both("this parcel", "此包裹"),
                };
                rows.push(vec![text(&reader.reader), time(&read.at), code, format!("{kind}{rssi}"), tied]);
            }
        }
        if !rows.is_empty() {
            self.table(
                ("What each reader read", "各读取设备的结果"),
                &[
                    ("Reader", "设备"),
                    ("Time", "时间"),
                    ("Code", "条码"),
                    ("Kind", "类型"),
                    ("Belongs to", "归于"),
                ],
                &rows,
            );
        }
    }

    fn decision(&mut self, decision: &Decision) {
        let place = decision.chute.as_ref().map(chute).unwrap_or_default();
        let why = decision.reason.as_ref();
        let (en, zh) = match (decision.to.as_str(), why) {
            ("exception", Some(why)) => (
                format!("Decision: exception chute {place}, because {}", text(&why.en)),
                format!("决定：异常口 {place}，因为{}", text(&why.zh)),
            ),
            ("recirculate", Some(why)) => (
                format!("Decision: another lap, because {}", text(&why.en)),
                format!("决定：再回流一圈，因为{}", text(&why.zh)),
            ),
            _ => (format!("Decision: chute {place}"), format!("决定：格口 {place}")),
        };
        self.heading(3, &en, &zh);
        let slack = decision.slack_ms.map(|slack| format!("{slack} ms"));
        let refused = decision.refused.as_ref().map(|why| both(&text(&why.en), &text(&why.zh)));
        self.facts(&[
            ("Time", "时间", Some(time(&decision.at))),
            ("Sort plan", "分拣方案", Some(format!("<code>{}</code>", text(&decision.plan)))),
            ("Command", "命令", Some(decision.command.to_string())),
            ("After induction", "入口后", Some(format!("{} ms", decision.latency_ms))),
            ("Taken by the PLC", "PLC 接受", decision.taken.as_ref().map(time)),
            ("Before the point of no return", "距命令截止点", slack),
            ("Refused", "被拒绝", refused),
        ]);
        if !decision.candidates.is_empty() {
            let rows: Vec<Vec<String>> = decision.candidates.iter().map(candidate).collect();
            self.table(
                ("Chutes that were looked at", "考虑过的格口"),
                &[
                    ("Chute", "格口"),
                    ("In it", "已落"),
                    ("On the way", "在途"),
                    ("Capacity", "容量"),
                    ("Verdict", "结果"),
                ],
                &rows,
            );
        }
    }

    fn timeline(&mut self, pass: &Pass) {
        let rows: Vec<Vec<String>> = pass
            .records
            .iter()
            .filter(|told| !told.text.is_empty())
            .map(|told| {
                let (sign, since) =
                    if told.since_ms < 0 { ("−", -told.since_ms) } else { ("+", told.since_ms) };
                vec![
                    told.record.to_string(),
                    time(&told.at),
                    format!("{sign}{}.{:03} s", since / 1000, since % 1000),
                    format!("{}<br><span lang=\"zh-Hans\">{}</span>", text(&told.text), text(&told.text_zh)),
                ]
            })
            .collect();
        self.table(
            ("Everything that was recorded", "全部记录"),
            &[("Record", "记录"), ("Time", "时间"), ("Since induction", "入口后"), ("What", "内容")],
            &rows,
        );
    }

    fn events(&mut self, pass: &Pass, evidence: &Evidence) {
        if pass.events.is_empty() {
            return;
        }
        let rows: Vec<Vec<String>> = pass
            .events
            .iter()
            .map(|event| {
                let known = evidence.upstream.iter().find(|known| known.record == event.record);
                let acknowledged = match known.and_then(|known| known.acknowledged) {
                    Some(true) => both("yes", "是"),
                    Some(false) => both("not yet", "尚未"),
                    None => both("not known", "未知"),
                };
                let id = event.event_id.as_deref().map(text).unwrap_or_default();
                vec![
                    event.record.to_string(),
                    format!("{} / {}", event.epoch, event.event_seq),
                    format!("<code class=\"long\">{id}</code>"),
                    acknowledged,
                ]
            })
            .collect();
        self.table(
            ("Events published (EPCIS)", "已发布的事件 (EPCIS)"),
            &[
                ("Record", "记录"),
                ("Epoch / number", "存储代次 / 序号"),
                ("eventID", "eventID"),
                ("Acknowledged (stated, not proven)", "上游已确认（控制器声明，未经证实）"),
            ],
            &rows,
        );
    }

    fn proof(&mut self, evidence: &Evidence) {
        self.raw("<section>\n");
        self.heading(2, "How to verify this", "如何验证");
        self.raw(
            "<p><code>sortd verify --bundle FILE.zip --key public-key.pem</code><br>README.txt says how to do it without \
             sortd. Take the key from whoever runs the line.<br><span lang=\"zh-Hans\">不使用 sortd 的验证方法见 README.txt。\
             公钥应向分拣线的运营方索取。</span></p>\n",
        );
        for pass in &evidence.proof.complete {
            let (name, from, to, signed) = (text(&pass.pass), pass.from, pass.to, time(&pass.signed));
            self.raw(&format!(
                "<p>{}</p>\n",
                both(
                    &format!(
                        "Pass {name}: between records {from} and {to}, signed {signed}, no record of it was left out."
                    ),
                    &format!("经过 {name}：记录 {from} 至 {to}（签名时间 {signed}）之间没有遗漏任何属于它的记录。")
                )
            ));
        }
        self.raw(
            "<p>Not proven: that the code had no other pass; what was recorded later; and what is marked as stated.<br>\
             <span lang=\"zh-Hans\">未经证实：该条码没有其他经过；此后记录的内容；以及标明为声明的内容。</span></p>\n",
        );
        let keys: Vec<String> =
            evidence.proof.keys.iter().map(|key| format!("<code>{}</code>", text(key))).collect();
        self.facts(&[
            ("Records", "记录", Some(evidence.proof.records.to_string())),
            ("Signed anchors", "签名锚点", Some(evidence.proof.anchors.to_string())),
            ("Signed by key", "签名公钥", (!keys.is_empty()).then(|| keys.join(", "))),
            ("Made by", "生成程序", Some(format!("sortd {}", text(&evidence.program)))),
        ]);
        self.raw("</section>\n");
    }
}

fn candidate(looked: &Looked) -> Vec<String> {
    let verdict = match looked.verdict.as_str() {
        "chosen" => both("chosen", "选中"),
        "alternate" => both("alternate", "备用"),
        "possible" => both("possible, not needed", "可用，未用"),
        _ => both("dropped", "排除"),
    };
    let verdict = match &looked.dropped {
        Some(rule) => format!("{verdict}: {}", both(&text(&rule.en), &text(&rule.zh))),
        None => verdict,
    };
    vec![
        chute(&looked.chute),
        looked.filled.to_string(),
        looked.reserved.to_string(),
        looked.capacity.to_string(),
        verdict,
    ]
}
